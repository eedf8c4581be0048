#!/usr/bin/env bash
# long_slurm.sh [all|templates|limit|faults|strangers]: the long form of the SLURM tests, about an hour on two cores. Needs root, SLURM's daemons
# (tools/install.sh --test) and a release build. Real daemons on four pretend nodes; every template of jobs/ unchanged, by srun and
# by mpirun:
#   templates  each one to COMPLETED with 32 and with 64 ranks over four nodes, all with the same weights_hash
#   limit      a time limit of one minute for a run of several; it finishes through requeues, and through a chain
#   faults     scontrol requeue, scancel --signal=USR1, a rank that is killed, each at a random moment; a node that loses its power, be
#              it the one with the batch script or another; wrong configs
#   strangers  not part of all: 60 s (STRANGERS_SECONDS) of scans, floods, forged and slow messages against a run, and against doctor
# SEED=n draws other moments; LAUNCHERS=srun leaves mpirun out, ONLY=PATTERN all whose name it does not match (ONLY='power|kill').
# Set KMASK_PYTHON to a Python with transformers: the exported model is then loaded by the line that the continual template prints.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
export SOURCE=$PWD KMASK=${KMASK:-$PWD/build/release/kmask} LAUNCH=$PWD/tests/launch.sh WORK=${WORK:-$PWD/build/release/tests/runs/long_slurm}
what=${1:-all}
case $what in all | templates | limit | faults | strangers) ;; *) sed -n '2,11p' "$0"; exit 2 ;; esac
if [ "$what" = strangers ]; then
    export STRANGERS_SECONDS=${STRANGERS_SECONDS:-60}
    WORK=$WORK-run bash tests/hosts/run_strangers.sh && WORK=$WORK-doctor exec bash tests/slurm/run_doctor.sh
    exit 1
fi
. tests/common.sh
. "$SOURCE/tests/slurm/cluster.sh"
cluster_up 4 32 || exit "$(${cluster_is_broken:-false} && echo 1 || echo 77)"
STEPS=${STEPS:-100} PATIENCE=${PATIENCE:-900}
. "$SOURCE/tests/slurm/jobs.sh"
make_job_config
make_reference
RANDOM=${SEED:-1} # bash's own generator, seeded
LAUNCHERS=${LAUNCHERS:-srun mpirun}
wanted() { [ "$what" = all ] || [ "$what" = "$1" ]; }
chosen() { grep -qE -- "${ONLY:-.}" <<<"$1"; }

# ---- Each template, 32 and 64 ranks, srun and mpirun ----

chain_completed() { # WHAT RUN: the first job's chain
    local i
    for i in $(seq $((PATIENCE * 2))); do
        [ -n "$(squeue -h -n kmask-chain)" ] || break
        sleep 0.5
    done
    [ -z "$(squeue -h -n kmask-chain)" ] || fail "$1: $(squeue -n kmask-chain)"
    is_whole "$1" "$2"
}

evaluated() { # RANKS: all losses that any number of ranks has found for a checkpoint are one
    local run=evaluated-$KMASK_LAUNCHER-$1 losses
    chosen "$run" || return
    cp -r whole "$run"
    submit --array=0-1 --nodes=4 --ntasks="$1" --ntasks-per-node=$(($1 / 4)) "$SOURCE/jobs/evaluate.sbatch" "$run" corpus.holdout.h5 || finish
    ended "$job" "$PATIENCE" || fail "evaluate with $1 ranks: $(squeue)"
    losses=$(cat "$run"/eval/corpus.holdout/step-*.json)
    [ "$(grep -c '"loss"' <<<"$losses")" -eq 2 ] || fail "evaluate with $1 ranks: $losses $(tail -n 4 kmask-eval-"$job"-*.log)"
    [ "${all_losses:=$losses}" = "$losses" ] || fail "evaluate with $1 ranks: $losses instead of $all_losses"
    echo "evaluate, $1 ranks by $KMASK_LAUNCHER: $(squeue -h | wc -l) left in the queue, $(sed -n '1s/,.*//p' <<<"$losses")"
}

loads_in_python() { # RUN
    [ -n "${KMASK_PYTHON:-}" ] || return
    "$KMASK_PYTHON" -c "$(grep '^from transformers' "$log"); print(type(model).__name__, model.num_parameters())" 2>python.txt |
        grep BertForMaskedLM || fail "$1: the printed line does not load the model: $(tail -n 3 python.txt)"
}

if wanted templates; then
    for KMASK_LAUNCHER in $LAUNCHERS; do
        export KMASK_LAUNCHER
        for ranks in 32 64; do
            for template in single-node 32-processes 64-processes multi-node continual chain; do
                run=$template-$KMASK_LAUNCHER-$ranks
                chosen "$run" || continue
                threads=1
                [ "$template" = multi-node ] && threads=2
                start "$template" "$run" "$ranks" 4 --cpus-per-task="$threads" --
                if [ "$template" = chain ]; then chain_completed "$run" "$run"; else completed "$run" "$run"; fi
                [ "$template" != continual ] || loads_in_python "$run"
            done
            evaluated "$ranks"
        done
    done
fi

# ---- Faults ----

lengthen() { # STEPS: of the runs from now on, with a whole one to compare with
    STEPS=$1
    rm -rf whole
    sed -i "s/\"steps\": [0-9]*/\"steps\": $STEPS/" c.json
    make_reference
}
somewhere() { echo $((RANDOM % (STEPS / 2) + 5)); }

export KMASK_PER_NODE=4
fault() { # NAME COMMAND...: at a random step of a run by the template multi-node with 16 ranks on four nodes
    local name=$1-$KMASK_LAUNCHER step
    shift
    step=$(somewhere)
    chosen "$name" || return
    start multi-node "$name" 16 2-4 --cpus-per-task=1 --
    until_step "$name" "$step"
    "$@" "$name"
    completed "$name at step $step" "$name" 1
}
requeue() { scontrol requeue "$job"; }
signal() { scancel --signal=USR1 "$job"; }
signal_batch() { scancel --batch --signal=USR1 "$job"; }
kill_one() { kill -9 "$(ranks_of "$1" | shuf -n 1 --random-source=<(yes $RANDOM))"; }
power_off() { cluster_poweroff "$node"; }

# Long enough not to be over before something has happened to them, however late this script sees that it is time.
if wanted faults; then
    lengthen 600
    for KMASK_LAUNCHER in $LAUNCHERS; do
        export KMASK_LAUNCHER
        for i in 1 2 3; do fault "requeue$i" requeue; done
        fault signal signal
        fault batch-signal signal_batch
        for i in 1 2 3; do fault "kill$i" kill_one; done
        for node in 1 3; do
            fault "power$node" power_off
            chosen "power$node-$KMASK_LAUNCHER" || continue
            cluster_poweron "$node"
            cluster_idle 4 || fail "host$node does not come back"
        done
        chosen wrong || continue
        start multi-node wrong 16 4 -- --set optimizer.larning=1
        refused "a wrong key by $KMASK_LAUNCHER" 2 "optimizer.larning: unknown key"
        start continual wrong 32 4 -- --set data.train=nothing.h5
        refused "no corpus by $KMASK_LAUNCHER" 1 "nothing.h5"
        start chain wrong 32 4 -- --set mask.splits=0
        refused "a wrong value in a chain by $KMASK_LAUNCHER" 2 "mask.splits"
        sleep 1
        [ -z "$(squeue -h)" ] || fail "a wrong chain goes on: $(squeue)"
    done
fi

# ---- A time limit far too short ----

# A run of three minutes by this cluster's speed, with a whole one of its own to compare with.
if wanted limit; then
    export KMASK_LAUNCHER=mpirun
    start 32-processes pace 8 4 --
    completed pace pace
    each=$(sed -nE 's/.*"seconds":([^,}]*).*/\1/p' pace/metrics.jsonl | sort -g | awk '{ s[NR] = $1 } END { print s[int((NR + 1) / 2)] }')
    lengthen "$(awk "BEGIN { print int(180 / $each) }")"
    echo "a limit of one minute for $STEPS steps of $each s"
    for KMASK_LAUNCHER in $LAUNCHERS; do
        export KMASK_LAUNCHER
        chosen "limit-$KMASK_LAUNCHER" || continue
        start 32-processes "limit-$KMASK_LAUNCHER" 8 4 --time=1 --
        completed "a minute, by $KMASK_LAUNCHER" "limit-$KMASK_LAUNCHER" 1
    done
    chosen chain || finish
    start chain limit-chain 8 4 --time=1 --
    chain_completed "a minute, a chain by $KMASK_LAUNCHER" limit-chain
    [ "$(grep -c 'goes on$' "$log")" -ge 1 ] || fail "the chain had one link only"
fi
finish
