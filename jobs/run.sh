# run.sh: what the templates (*.sbatch) share, sourced inside of a SLURM job. There is nothing to edit here.
#
#   kmask_pretrain CONFIG.json [--set key=value ...]   trains to the end of the time, then requeues the job; returns kmask's status
#       with kmask_verb="policy train" it trains a masking policy
#   kmask_launch VERB ARGUMENTS...                     any verb on all ranks of the job; sets $status
#   kmask_requeue REASON                               puts the job back into the queue; 1: it cannot be
#   kmask_say WORDS...                                 a line in the job's log
#
# Variables, from the template or from outside:
#   KMASK            the program (found on the PATH, or beside this folder)
#   KMASK_MODULES    modules to load, separated by blanks
#   KMASK_LAUNCHER   srun (with PMIx) or mpirun
#   KMASK_MPI        what `srun --mpi=` is given: pmix
#   KMASK_DOCTOR     anything: `kmask doctor` looks at nodes, cores, network and folder first, on all ranks
#   KMASK_CHAIN, KMASK_LINK   set by chain.sbatch: the chain's first job, and which one of it this is; nothing is requeued

kmask_say() { echo "job ${SLURM_JOB_ID:-?}: $*" >&2; }
kmask_job() { echo "${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_JOB_ID:+_$SLURM_ARRAY_TASK_ID}"; } # one number is all of an array
kmask_field() { scontrol show job "$(kmask_job)" 2>/dev/null | tr ' ' '\n' | sed -n "s/^$1=//p" | head -n 1; }

# How often this job has been started before; in a chain, how many jobs came before.
kmask_restart() { echo $((${SLURM_RESTART_COUNT:-0} + ${KMASK_LINK:-1} - 1)); }

# ---- What the job has ----

kmask_load_modules() {
    [ -n "${modules:-${KMASK_MODULES:-}}" ] || return 0
    if ! command -v module >/dev/null; then # a batch shell may not have read what defines it
        local file
        for file in /etc/profile.d/modules.sh /etc/profile.d/lmod.sh /usr/share/lmod/lmod/init/bash /usr/share/modules/init/bash; do
            # shellcheck disable=SC1090
            [ -r "$file" ] && . "$file" && break
        done
    fi
    local name
    for name in ${modules:-${KMASK_MODULES:-}}; do
        module load "$name" || { kmask_say "module load $name failed"; return 1; }
    done
}

kmask_find_program() { # -> $kmask
    local here
    here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
    for kmask in ${KMASK:+"$KMASK"} "$here/build/release/kmask" "$here/../../bin/kmask" "$(command -v kmask)"; do
        [ -x "$kmask" ] && return
    done
    kmask_say "found no program kmask, neither on the PATH nor in $here/build/release: set KMASK=/path/to/kmask"
    return 1
}

# The job's end, also for kmask: ranks' nodes may not have squeue, and older SLURMs do not say it.
kmask_find_end() {
    local text
    text=$(kmask_field EndTime)
    [ -n "$text" ] && text=$(date -d "$text" +%s 2>/dev/null) && export SLURM_JOB_END_TIME=$text
    kmask_began=$(date +%s)
}

# Ranks, threads, cores -> $launch, the launcher with its options. Ranks of a node are neighbours (block), so that sums cross
# the network once a node.
kmask_plan_launch() {
    local cores each spread=()
    launcher=${launcher:-${KMASK_LAUNCHER:-srun}}
    threads=${SLURM_CPUS_PER_TASK:-1}
    # A job that asks for tasks on each node goes on asking for as many nodes as it once had: it could not do with fewer.
    if [ -z "${SLURM_NTASKS:-}" ] && [ -n "${per_node:-}" ]; then
        export SLURM_NTASKS=$((SLURM_JOB_NUM_NODES * per_node)) SLURM_TASKS_PER_NODE="$per_node(x$SLURM_JOB_NUM_NODES)"
        spread=(--ntasks-per-node="$per_node")
    fi
    ranks=${SLURM_NTASKS:-$((SLURM_JOB_NUM_NODES * ${SLURM_NTASKS_PER_NODE:-1}))}
    each=${SLURM_TASKS_PER_NODE:-$ranks}
    each=${each%%[(,]*} # 16(x4),8: of the first node
    cores=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)
    bind=cores
    if [ $((each * threads)) -gt "$cores" ]; then
        kmask_say "$each ranks x $threads threads on the $cores cores of $(hostname -s): nothing is bound, and it will be slow"
        bind=none
        export OMPI_MCA_mpi_yield_when_idle=1
    fi
    # OpenBLAS runs on one thread everywhere: threads of a rank are parallel.threads.
    export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
    export SLURM_EXPORT_ENV=ALL # also after sbatch --export=NONE
    case $launcher in
        srun)
            export SRUN_CPUS_PER_TASK=$threads # srun does not take it from the job since SLURM 22.05
            # With SLURM's other kinds of fence Open MPI 4.1 crashed in a twentieth of the starts over several nodes: a message
            # came to a rank that was not yet ready for one.
            export SLURM_PMIX_FENCE=${SLURM_PMIX_FENCE:-ring}
            # A rank that ends first is no reason to kill the others, which are saving; one minute later it is.
            launch=(srun --mpi="${KMASK_MPI:-pmix}" --ntasks="$ranks" "${spread[@]}" --cpus-per-task="$threads" --distribution=block
                --cpu-bind="$bind" --kill-on-bad-exit=0 --wait=60)
            ;;
        mpirun)
            unset SRUN_CPUS_PER_TASK # mpirun starts its daemons by srun, one a node, and they need all of the node's cores
            launch=(mpirun -n "$ranks")
            # Jobs that share a node which nobody has divided would all be bound to its first cores.
            if [ "$bind" = none ] || [ "${SLURM_CPUS_ON_NODE:-$cores}" -lt "$cores" ]; then launch+=(--bind-to none); else
                launch+=(--map-by "slot:PE=$threads" --bind-to core)
            fi
            ;;
        *)
            kmask_say "KMASK_LAUNCHER: found $launcher, expected srun or mpirun"
            return 1
            ;;
    esac
}

kmask_prepared=false
kmask_prepare() { # once a job
    $kmask_prepared && return
    [ -n "${SLURM_JOB_ID:-}" ] || { echo "this is a job: submit it with sbatch"; return 2; }
    kmask_load_modules && kmask_find_program && kmask_plan_launch || return 2
    kmask_find_end
    kmask_prepared=true
    kmask_say "$(date '+%F %T'), restart $(kmask_restart): $ranks ranks x $threads threads on $SLURM_JOB_NODELIST, by $launcher," \
        "until $(date -d "@${SLURM_JOB_END_TIME:-x}" '+%F %T' 2>/dev/null || echo 'an unknown time')"
}

# ---- Running, and passing signals on ----

# SLURM sends its notice (--signal) early where the whole limit is shorter than it: at the start. kmask knows the job's end
# and stops in time by itself, so that such a notice is no reason to stop after one step.
kmask_is_early_notice() {
    local end=${SLURM_JOB_END_TIME:-0} now short=660
    now=$(date +%s)
    [ "$1" = USR1 ] && ! $kmask_noticed && [ $((end - kmask_began)) -gt 0 ] && [ $((end - kmask_began)) -lt "$short" ] &&
        [ $((end - now)) -gt $(((end - kmask_began) / 2)) ]
}

# Both launchers end their ranks on SIGTERM but pass SIGUSR1 on; either asks kmask to save and stop.
kmask_pass_on() {
    kmask_interrupted=true
    if kmask_is_early_notice "$1"; then
        kmask_say "SLURM's notice comes at the start, as the time limit is so short: kmask stops by itself before the end"
    else
        kmask_say "SIG$1 at $(date +%T): kmask is asked to save and stop"
        kill -USR1 "$kmask_pid" 2>/dev/null
        kmask_told=true
    fi
    kmask_noticed=true
}

kmask_launch() {
    kmask_prepare || { status=$?; return "$status"; }
    kmask_noticed=false
    kmask_told=false
    kmask_interrupted=false
    kmask_pid=
    retry=false
    kmask_log=$(readlink "/proc/$$/fd/2")
    kmask_log_from=$(stat -c %s "$kmask_log" 2>/dev/null)
    trap 'kmask_pass_on USR1' USR1
    trap 'kmask_pass_on TERM' TERM
    "${launch[@]}" "$kmask" "$@" &
    kmask_pid=$!
    wait "$kmask_pid"
    status=$?
    while $kmask_interrupted; do # the signal ended the wait, not the launcher
        kmask_interrupted=false
        wait "$kmask_pid"
        status=$?
    done
    trap - USR1 TERM
    return "$status"
}

# ---- Again? ----

kmask_requeue() {
    local state reason
    state=$(kmask_field JobState)
    reason=$(kmask_field Reason)
    if [ "$state" != RUNNING ] && [ "$reason" != TimeLimit ]; then
        kmask_say "it is $state: what becomes of it is left to SLURM" # cancelled, or requeued already
        return 1
    fi
    kmask_say "$1: back into the queue" # said before, as SLURM then ends this script
    scontrol requeue "$(kmask_job)" || { kmask_say "but SLURM does not requeue it: submit it again, or use chain.sbatch"; return 1; }
}

# ---- Pre-training ----

kmask_run_dir() { # ARGUMENTS...: run.dir as kmask will see it; --set wins over the file
    local config='' set=()
    while [ $# -gt 0 ]; do
        case $1 in
            --set) set+=(--set "${2:-}"); shift ;;
            --set=*) set+=("$1") ;;
            -*) ;;
            *) config=${config:-$1} ;;
        esac
        shift
    done
    "$kmask" config run.dir "$config" "${set[@]}"
}

# The step of the newest checkpoint: what a restart goes on from; -1: there is none.
kmask_saved_step() {
    local file newest=-1
    for file in "$run_dir"/checkpoints/step-*.h5; do
        file=${file##*/step-}
        file=${file%.h5}
        [[ $file =~ ^[0-9]+$ ]] && [ $((10#$file)) -gt "$newest" ] && newest=$((10#$file))
    done
    echo "$newest"
}

kmask_status_mark() { stat -c '%i %y' "$run_dir/status.json" 2>/dev/null; }
kmask_status_field() { # NAME PATTERN-OF-ITS-VALUE
    sed -nE "s/^[[:space:]{]*\"$1\":[[:space:]]*\"?($2)\"?,?[[:space:]}]*\$/\1/p" "$run_dir/status.json" 2>/dev/null | head -n 1
}

# The launcher's status is kmask's, but where the launcher was itself told to end, or has killed ranks that were ending.
# status.json has it then, if it is of this run.
kmask_true_status() { # MARK-BEFORE
    reason=
    [ -n "$run_dir" ] && [ "$(kmask_status_mark)" != "$1" ] && [ -r "$run_dir/status.json" ] || return
    local said
    said=$(kmask_status_field status '[0-9]+')
    status=${said:-$status}
    reason=$(kmask_status_field reason '.*[^",]')
    [ "$(kmask_status_field retry '[a-z]+')" = true ] && retry=true
}

# Restarts of this job that have saved nothing new, up to now; one is noted in the run folder at each end.
kmask_count_idle() { # BEFORE AFTER
    local notes="$run_dir/restarts" name=${KMASK_CHAIN:-$SLURM_JOB_ID} job restart before after idle=0
    [ -d "$run_dir" ] || { kmask_restart; return; } # it never got so far
    echo "job $name restart $(kmask_restart) from $1 to $2 status $status" >>"$notes"
    while read -r _ job _ restart _ before _ after _; do
        [ "$job" = "$name" ] || continue
        if [ "$after" -gt "$before" ]; then idle=0; elif [ "$restart" -gt 0 ]; then idle=$((idle + 1)); fi
    done <"$notes"
    echo "$idle"
}

# What fails in kmask itself is said in one sentence; without one the launcher has failed: it could not start ranks on a node, or
# has lost one. Where the log is no file, nobody knows.
kmask_spoke() {
    [ -f "$kmask_log" ] || return 0
    tail -c "+$((${kmask_log_from:-0} + 1))" "$kmask_log" | grep '^kmask: ' | grep -qv '^kmask: warning: '
}

# 75; a rank that was killed or lost; a launcher that failed, or was told to end and broke off what it had begun. Wrong configs (2),
# checkpoints that are no good (3) and failures that would come again are not run again.
kmask_may_go_on() {
    case $status in
        75) return 0 ;;
        0 | 2 | 3 | 126 | 127) return 1 ;; # also where there is no program, or a library is missing
        *) $retry || $kmask_told || [ "$status" -gt 128 ] || ! kmask_spoke ;;
    esac
}

kmask_pretrain() { # sets $run_dir, and $again where the run may go on
    local before after mark idle most=2
    again=false
    [ $# -ge 1 ] || { echo "usage: sbatch TEMPLATE CONFIG.json [--set key=value ...]"; return 2; }
    kmask_prepare || return
    run_dir=$(kmask_run_dir "$@")
    if [ -n "${KMASK_DOCTOR:-}" ] && "$kmask" --help | grep -q '^  doctor '; then
        kmask_launch doctor --set parallel.threads="$threads" "$@" || kmask_say "kmask doctor ended with status $status; the run starts all the same"
    fi
    mark=$(kmask_status_mark)
    before=$(kmask_saved_step)
    # shellcheck disable=SC2086
    kmask_launch ${kmask_verb:-pretrain} --set parallel.threads="$threads" "$@"
    kmask_true_status "$mark"
    after=$(kmask_saved_step)
    kmask_say "kmask ended with status $status${reason:+ ($reason)}$([ "$after" -ge 0 ] && echo ", saved up to step $after")"
    kmask_may_go_on || return "$status"
    idle=$(kmask_count_idle "$before" "$after")
    if [ "$idle" -ge "$most" ]; then
        kmask_say "$idle restarts in a row have saved nothing new: it is not started again"
        return "$status"
    fi
    again=true
    [ -n "${KMASK_CHAIN:-}" ] || kmask_requeue "it can go on from its last checkpoint"
    return "$status"
}
