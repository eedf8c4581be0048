#!/usr/bin/env bash
# The templates of jobs/ on a real SLURM cluster, unchanged but for variables: by srun and by mpirun, over several nodes; runs that
# are stopped, killed and short of time and finish by themselves; what is not to be started again. tools/long_slurm.sh is the
# long form.
. "$SOURCE/tests/common.sh"
. "$SOURCE/tests/slurm/cluster.sh"
cluster_up 4 16 || exit "$(${cluster_is_broken:-false} && echo 1 || echo 77)"
. "$SOURCE/tests/slurm/jobs.sh"
make_job_config
make_reference

export KMASK_LAUNCHER=srun
# A wrong config, a file that is not there, no config at all.
start multi-node wrong 8 4 -- --set optimizer.larning=1
refused "a wrong key" 2 "optimizer.larning: unknown key"
start 32-processes wrong 8 2 -- --set data.train=nothing.h5
refused "no corpus" 1 "nothing.h5"
[ ! -e wrong/restarts ] || fail "a wrong config was about to be started again"

start 64-processes whole-job 8 4 --
completed "64-processes by srun" whole-job

# The time limit becomes two minutes from now while it runs: SLURM gives notice, at once, and again when it goes on, where kmask stops by the
# end of the job alone. The ranks wait for the first notice, so that the machine's speed does not matter.
start single-node short 8 4 --
until_step short 25
kill -STOP $(ranks_of short)
scontrol update JobId="$job" TimeLimit=$(($(job_minutes) + 2))
until_logged "SIGUSR1 at"
kill -CONT $(ranks_of short)
completed "single-node by srun with a limit that shrinks" short 1

# A rank that is killed, a signal: it goes on by itself.
export KMASK_LAUNCHER=mpirun
start multi-node killed 8 4 --cpus-per-task=2 --
until_step killed 25
kill -9 "$(ranks_of killed | tail -n 2 | head -n 1)"
completed "multi-node by mpirun, a rank killed" killed 1
grep -q '"threads":[[:space:]]*2' killed/config.json || fail "multi-node: not two threads a rank"

start continual signalled 8 2 --
until_step signalled 25
scancel --signal=USR1 "$job"
completed "continual by mpirun, scancel --signal=USR1" signalled 1
line=$(tail -n 1 "$log")
[ -s signalled/model/model.safetensors ] && [ "${line#from transformers import*from_pretrained(\'$PWD/signalled/model}" != "$line" ] ||
    fail "continual: no exported model, or no line that loads it: $line"

# The array evaluates the two checkpoints that the run has left.
submit --array=0-1 --ntasks=2 --ntasks-per-node=2 "$SOURCE/jobs/evaluate.sbatch" short corpus.holdout.h5 || finish
ended "$job" 120 || fail "evaluate: $(squeue)"
[ "$(cat short/eval/corpus.holdout/step-*.json | grep -c '"loss"')" -eq 2 ] || fail "evaluate: $(ls short/eval/*; tail -n 5 kmask-eval-*)"
finish
