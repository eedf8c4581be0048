# Sourced by the scripts: an empty $WORK, a small corpus, and functions that check.
set -u
rm -rf "$WORK"
mkdir -p "$WORK"
cd "$WORK" || exit 1
unset OMPI_COMM_WORLD_RANK OMPI_COMM_WORLD_SIZE
unset OPENBLAS_CORETYPE # a weak kernel that somebody chose is warned of, where a test expects silence
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
failures=0

fail() { echo "FAILED: $*"; failures=$((failures + 1)); }
finish() { [ "$failures" -eq 0 ] && echo "all well"; exit "$((failures > 0))"; }

# expect STATUS "words of the message" command...: the status, one sentence that has the words, no crash.
expect() {
    local want=$1 words=$2 got
    shift 2
    "$@" >out.txt 2>err.txt
    got=$?
    [ "$got" -eq "$want" ] || fail "status $got instead of $want: $* ($(tail -n 3 err.txt))"
    grep -qF -- "$words" err.txt || fail "no '$words' in the message of: $* ($(tail -n 3 err.txt))"
}

# Text to train on: 140 documents, 800 KB, the same bytes everywhere.
make_text() { awk -v documents=140 -f "$SOURCE/tests/text.awk" </dev/null; }

make_corpus() { # -> tok/, corpus.h5, corpus.holdout.h5
    make_text >text.txt
    "$KMASK" tokenizer train --type wordpiece --vocab-size 600 --out tok text.txt >/dev/null 2>log.txt &&
        "$KMASK" corpus build --tokenizer tok --holdout 0.1 --out corpus.h5 text.txt >/dev/null 2>>log.txt ||
        { cat log.txt; fail "no corpus"; finish; }
}

# config FILE RUN_DIR [python-free additions are made with --set]
make_config() {
    cat >"$1" <<EOF
{"run": {"dir": "$2", "seed": 3},
 "model": {"type": "bert", "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
           "intermediate_size": 96, "max_position_embeddings": 64, "initializer_range": 0.05},
 "data": {"train": "corpus.h5", "eval": "corpus.holdout.h5", "length": 40},
 "mask": {"splits": 4},
 "train": {"steps": 20, "sequences": 6, "micro_batch": 3},
 "optimizer": {"lr": 2e-3},
 "schedule": {"warmup": 4},
 "checkpoint": {"every": 5}}
EOF
}

last_hash() { # RUN_DIR
    grep -o '"weights_hash":"[0-9a-f]*"' "$1/metrics.jsonl" | tail -n 1 | cut -d'"' -f4
}

# What the log says apart from times, a step a line.
lines() { grep -E '"step":' "$1/metrics.jsonl" | sed -E 's/"(tokens_per_s|gflops|[a-z_]*seconds|weights_hash)":[^,}]*//g; s/,+/,/g'; }

# within SECONDS COMMAND...: tries it until it succeeds, for so long.
within() {
    local until=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$until" ] || return 1
        sleep 0.02
    done
}

# What is waited for has $PATIENCE seconds, or it is a failure, told with the end of $log.
log=log.txt
until_step() { # RUN STEP
    within "${PATIENCE:-60}" grep -qs "\"step\":$2," "$1/metrics.jsonl" || fail "$1: no step $2 in ${PATIENCE:-60} s ($(tail -n 4 "$log"))"
}
until_logged() { # WORDS
    within "${PATIENCE:-60}" grep -qsF -- "$1" "$log" || fail "no '$1' in ${PATIENCE:-60} s ($(tail -n 4 "$log"))"
}

# processes_of RUN: what works for a run of this folder, its launchers too.
processes_of() {
    local pid
    for pid in $(pgrep -f "(pretrain|variance|finetune) .*--set run.dir=$1( |\$)"); do
        [ "/proc/$pid/cwd" -ef "$WORK" ] && echo "$pid"
    done
}
ranks_of() { # RUN: without launchers
    local pid
    for pid in $(processes_of "$1"); do
        grep -qsxE 'kmask(_faults)?' "/proc/$pid/comm" && echo "$pid"
    done
}
stopped_of() { # RUN: a rank that stopped itself
    local pid
    for pid in $(ranks_of "$1"); do
        grep -qsE '^State:[[:space:]]+T' "/proc/$pid/status" && echo "$pid" && return
    done
    return 1
}

kill_run() { # RUN: at once, its launchers too
    local pids
    pids=$(processes_of "$1")
    [ -z "$pids" ] || kill -9 $pids 2>/dev/null
}

now() { echo $(($(date +%s%N) / 1000000)); } # ms

# A process that is neither gone nor dead and not collected yet: one look, as it may go between two.
alive() { grep -qsE '^State:[[:space:]]+[^ZX[:space:]]' "/proc/$1/status"; }

# ended_within MS NAME PID...: waits for them; one that is still there then is a failure, and is killed.
ended_within() {
    local limit=$1 name=$2 from pid
    shift 2
    from=$(now)
    for pid in "$@"; do
        while alive "$pid" && [ $(($(now) - from)) -le "$limit" ]; do sleep 0.05; done
        alive "$pid" && fail "$name: process $pid is there after $limit ms ($(grep -s State: "/proc/$pid/status"))" && kill -9 "$pid"
    done
    echo "$name: all ended in $(($(now) - from)) ms"
}
