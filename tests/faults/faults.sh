# Sourced by the scripts of this folder, after tests/common.sh. A run of a tiny model on a few ranks that takes half a second,
# faults in it, and what must be the same afterwards.
STEPS=20
export OMPI_MCA_odls_base_sigkill_timeout=0 # mpirun kills what is left of a run at once, not after a second
export OMPI_MCA_ess_singleton_isolated=1       # a run without mpirun starts none behind our back
alone() { OMPI_MCA_btl=self "$@"; }            # and shares no memory, whose files many such runs side by side might mix up
PLACES="snapshot send open write flush fsync close checksum rename dirsync verify prune"

make_tiny() { # -> tok/, corpus.h5, c.json
    make_corpus
    cat >c.json <<END
{"run": {"dir": "run", "seed": 3},
 "model": {"type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
           "intermediate_size": 16, "max_position_embeddings": 64, "initializer_range": 0.05},
 "data": {"train": "corpus.h5", "length": 40},
 "mask": {"splits": 4},
 "train": {"steps": $STEPS, "sequences": 6, "micro_batch": 3},
 "optimizer": {"lr": 2e-3},
 "schedule": {"warmup": 4},
 "checkpoint": {"every": 5, "keep": 2}}
END
}

# Steps in order and once each, up to $2.
counted() {
    [ "$(grep -oE '"step":[0-9]+' "$1/metrics.jsonl" | cut -d: -f2 | tr '\n' ' ')" = "$(seq "$2" | tr '\n' ' ')" ]
}

train() { # DIR RANKS [options]: a run without faults; 0 ranks: without mpirun
    local dir=$1 ranks=$2
    shift 2
    if [ "$ranks" -eq 0 ]; then
        alone timeout -k 5 "${PATIENCE:-100}" "$KMASK" pretrain c.json --set "run.dir=$dir" "$@"
    else
        timeout -k 5 "${PATIENCE:-100}" "$LAUNCH" "$ranks" "$KMASK" pretrain c.json --set "run.dir=$dir" "$@"
    fi
}

# faulty DIR RANKS [options]: the same with places that fail (KMASK_FAULT) and, where KMASK_TORN_FOLDER is set, with torn.
faulty() {
    local dir=$1 ranks=$2 program=("$KMASK_FAULTS")
    shift 2
    [ -n "${KMASK_TORN_FOLDER:-}" ] && program=(env "LD_PRELOAD=$TORN" "$KMASK_FAULTS")
    if [ "$ranks" -eq 0 ]; then
        alone timeout -k 5 "${PATIENCE:-100}" "${program[@]}" pretrain c.json --set "run.dir=$dir" "$@"
    else
        timeout -k 5 "${PATIENCE:-100}" "$LAUNCH" "$ranks" "${program[@]}" pretrain c.json --set "run.dir=$dir" "$@"
    fi
}

make_reference() { # -> whole/, reference
    train whole 2 >log.txt 2>&1 || fail "the whole run: $(tail -n 3 log.txt)"
    reference=$(last_hash whole)
    lines whole >whole.lines
    [ -n "$reference" ] && counted whole "$STEPS" || { fail "no whole run to compare with"; finish; }
}

# ends_well WHAT DIR RANKS: the run goes on to its end, with the bits, the log and the files of the whole one.
ends_well() {
    local what=$1 dir=$2 ranks=$3
    train "$dir" "$ranks" >resume.txt 2>&1 || { fail "$what: resuming on $ranks ranks: status $? ($(tail -n 3 resume.txt))"; return; }
    is_whole "$what" "$dir"
}

# A run that was finished when the power failed: the removal of an older generation may not have reached the disk, and a
# finished run removes nothing.
keeps_more() { # DIR
    local file
    grep -q "is finished" resume.txt 2>/dev/null || return 1
    for file in $(ls whole/checkpoints); do [ -e "$1/checkpoints/$file" ] || return 1; done
}

is_whole() { # WHAT DIR
    local hash
    hash=$(last_hash "$2")
    [ "$hash" = "$reference" ] || fail "$1: weights_hash $hash instead of $reference"
    lines "$2" | cmp -s - whole.lines || fail "$1: another log ($(lines "$2" | diff - whole.lines | head -n 4))"
    [ "${SAVES_FAILED:-no}" = yes ] || [ "$(ls "$2/checkpoints")" = "$(ls whole/checkpoints)" ] || keeps_more "$2" ||
        fail "$1: checkpoints are $(ls "$2/checkpoints" | tr '\n' ' ')"
    # A run that is finished changes nothing, not even what the power has left of its last status.
    local left
    left=$(find "$2" -name '*.tmp*' ! -name status.json.tmp | tr '\n' ' ')
    [ -z "$left" ] || fail "$1: left behind: $left"
}

# The newest checkpoint that inspect finds whole, its step; 0 where there is none.
newest_valid() { # DIR
    local file
    for file in $(ls -r "$1/checkpoints" 2>/dev/null | grep -E '^step-[0-9]+\.h5$'); do
        if "$KMASK" inspect "$1/checkpoints/$file" >/dev/null 2>&1; then
            echo "$((10#$(echo "$file" | tr -dc 0-9 | cut -c1-8)))"
            return
        fi
    done
    echo 0
}

# passages PLACE RANK: how often the whole run passes a place; from the log that `count_passages` makes.
count_passages() { # RANKS
    KMASK_FAULT_LOG=$PWD/passages faulty counted "$1" >log.txt 2>&1 || fail "the run that counts: $(tail -n 3 log.txt)"
    [ "$(last_hash counted)" = "$reference" ] || fail "the program with places gives another hash"
}
passages() { grep -c "^save.$1 $2\$" passages; }
# The passage in the middle of the third of four saves.
third_save() { # PLACE RANK
    local all
    all=$(passages "$1" "$2")
    echo $(((all * 5 + 7) / 8))
}

draws=${SEED:-1}
draw() { # BELOW -> $drawn, by the seed alone
    draws=$(((draws * 1103515245 + 12345) % 2147483648))
    drawn=$((draws / 65536 % $1))
}
