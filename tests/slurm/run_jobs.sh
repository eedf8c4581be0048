#!/usr/bin/env bash
# The templates of jobs/ on a real SLURM cluster, unchanged but for variables: by srun and by mpirun, over several nodes; runs that
# are stopped, killed and short of time and finish by themselves; what is not to be started again. tools/long_slurm.sh is the
# long form. A job that starts again waits for SLURM most of its time: what can, runs side by side.
. "$SOURCE/tests/common.sh"
. "$SOURCE/tests/slurm/cluster.sh"
cluster_up 8 16 || exit "$(${cluster_is_broken:-false} && echo 1 || echo 77)"
STEPS=150 PATIENCE=300
. "$SOURCE/tests/slurm/jobs.sh"
make_job_config
make_reference

# A wrong config, a file that is not there.
export KMASK_LAUNCHER=srun
start multi-node wrong-key 8 4 -- --set optimizer.larning=1
start 32-processes no-corpus 8 2 -- --set data.train=nothing.h5
about wrong-key
refused "a wrong key" 2 "optimizer.larning: unknown key"
about no-corpus
refused "no corpus" 1 "nothing.h5"
[ ! -e wrong-key/restarts ] && [ ! -e no-corpus/restarts ] || fail "a wrong config was about to be started again"

# A rank that is killed, a signal: it goes on by itself, as the ones below.
export KMASK_LAUNCHER=mpirun
start multi-node killed 8 4 --cpus-per-task=2 --
until_step killed 25
kill -9 "$(ranks_of killed | tail -n 2 | head -n 1)"
start continual signalled 8 2 --
until_step signalled 25
scancel --signal=USR1 "$job"

# The time limit becomes two minutes from now while it runs: SLURM gives notice, at once, and again when it goes on, where kmask stops by the
# end of the job alone. The ranks wait for the first notice, so that the machine's speed does not matter.
export KMASK_LAUNCHER=srun
start single-node short 8 4 --
until_step short 25
kill -STOP $(ranks_of short)
scontrol update JobId="$job" TimeLimit=$(($(job_minutes) + 2))
until_logged "SIGUSR1 at"
kill -CONT $(ranks_of short)

start 64-processes whole-job 8 4 --
completed "64-processes by srun" whole-job
about killed
completed "multi-node by mpirun, a rank killed" killed 1
grep -q '"threads":[[:space:]]*2' killed/config.json || fail "multi-node: not two threads a rank"
about signalled
completed "continual by mpirun, scancel --signal=USR1" signalled 1
line=$(tail -n 1 "$log")
[ -s signalled/model/model.safetensors ] && [ "${line#from transformers import*from_pretrained(\'$PWD/signalled/model}" != "$line" ] ||
    fail "continual: no exported model, or no line that loads it: $line"
about short
completed "single-node by srun with a limit that shrinks" short 1

# The array evaluates the two checkpoints that the run has left.
submit --array=0-1 --ntasks=2 --ntasks-per-node=2 "$SOURCE/jobs/evaluate.sbatch" short corpus.holdout.h5 || finish
ended "$job" 120 || fail "evaluate: $(squeue)"
[ "$(cat short/eval/corpus.holdout/step-*.json | grep -c '"loss"')" -eq 2 ] || fail "evaluate: $(ls short/eval/*; tail -n 5 kmask-eval-*)"
finish
