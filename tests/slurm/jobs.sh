# jobs.sh: sourced after tests/common.sh and cluster.sh. A tiny run, the templates of jobs/ that carry it, and what must be so at
# the end: COMPLETED, the bits of a run that nothing has happened to, every step logged once.
export KMASK
export OMPI_MCA_mpi_yield_when_idle=1 # the nodes share this machine's cores, which the templates cannot know
ulimit -c 0
STEPS=${STEPS:-300}
PATIENCE=${PATIENCE:-600} # seconds for a job

make_job_config() { # -> tok/, corpus.h5, c.json: 64 micro-batches, one for each of 64 ranks
    make_corpus
    cat >c.json <<END
{"run": {"dir": "run", "seed": 3},
 "model": {"type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
           "intermediate_size": 16, "max_position_embeddings": 64, "initializer_range": 0.05},
 "data": {"train": "corpus.h5", "length": 40},
 "mask": {"splits": 4},
 "train": {"steps": $STEPS, "sequences": 16, "micro_batch": 1},
 "optimizer": {"lr": 2e-3},
 "schedule": {"warmup": 4},
 "checkpoint": {"every": 10, "keep": 2}}
END
}

make_reference() { # -> whole/, whole.lines, $reference
    "$LAUNCH" 2 "$KMASK" pretrain c.json --set run.dir=whole >whole.txt 2>&1
    reference=$(last_hash whole 2>/dev/null)
    lines whole >whole.lines
    [ -n "$reference" ] && [ "$(wc -l <whole.lines)" -ge "$STEPS" ] || { fail "no run to compare with: $(tail -n 3 whole.txt)"; finish; }
}

# start TEMPLATE RUN RANKS NODES|MIN-MAX [sbatch's options] -- [kmask's]: submits the template as it is -> $job, $log.
# Several runs may be under way: `about RUN` makes $job and $log those of the last job that was submitted for it.
declare -A started=()
start() {
    local template=$1 run=$2 ranks=$3 nodes=$4 options=()
    shift 4
    while [ $# -gt 0 ] && [ "$1" != -- ]; do options+=("$1") && shift; done
    shift
    case $nodes in
        *-*) options=(--nodes="$nodes" "${options[@]}") ;; # ranks are then those of the nodes that it gets
        *) options=(--nodes="$nodes" --ntasks="$ranks" --ntasks-per-node=$(((ranks + nodes - 1) / nodes)) "${options[@]}") ;;
    esac
    submit "${options[@]}" \
        "$SOURCE/jobs/$template.sbatch" c.json --set run.dir="$run" "$@" || finish
    started[$run]=$job
    about "$run"
}
about() {
    job=${started[$1]}
    log=$(field "$job" StdOut)
}

# completed WHAT RUN RESTARTS: the job's end; RESTARTS is how many there were at least.
completed() {
    local what=$1 run=$2 restarts=${3:-0} state
    ended "$job" "$PATIENCE" || { fail "$what: job $job is $(field "$job" JobState) after $PATIENCE s ($(tail -n 5 "$log"))"; scancel "$job"; return 1; }
    state=$(field "$job" JobState)
    [ "$state" = COMPLETED ] && [ "$(field "$job" ExitCode)" = 0:0 ] ||
        fail "$what: $state, $(field "$job" ExitCode): $(tail -n 8 "$log")"
    [ "$(field "$job" Restarts)" -ge "$restarts" ] || fail "$what: $(field "$job" Restarts) restarts, expected $restarts or more"
    is_whole "$what" "$run"
}

is_whole() { # WHAT RUN
    local hash
    hash=$(last_hash "$2")
    [ "$hash" = "$reference" ] || fail "$1: weights_hash $hash instead of $reference"
    lines "$2" | cmp -s - whole.lines || fail "$1: another log ($(lines "$2" | diff - whole.lines | head -n 4))"
    grep -q '"status":[[:space:]]*0,' "$2/status.json" || fail "$1: status.json: $(cat "$2/status.json")"
    [ "$failures" -ne 0 ] || echo "$1: COMPLETED, $(field "$job" Restarts) restarts, weights_hash $hash"
}

job_minutes() { # since $job's start, from SLURM's [D-]HH:MM:SS
    field "$job" RunTime | awk -F '[-:]' '{ print $(NF - 1) + 60 * $(NF - 2) }'
}

# refused WHAT STATUS WORDS: the job has failed with the status and the words in its log, and was not started again.
refused() {
    local from
    from=$(date +%s)
    ended "$job" "$PATIENCE" || fail "$1: job $job is $(field "$job" JobState) after $PATIENCE s"
    [ "$(field "$job" JobState) $(field "$job" ExitCode) $(field "$job" Restarts)" = "FAILED $2:0 0" ] ||
        fail "$1: $(field "$job" JobState) $(field "$job" ExitCode), $(field "$job" Restarts) restarts: $(tail -n 5 "$log")"
    grep -qF -- "$3" "$log" || fail "$1: no '$3' in the log: $(tail -n 5 "$log")"
    echo "$1: failed within $(($(date +%s) - from)) s"
}
