#!/usr/bin/env bash
# From a task's examples to a table of scores: submits a chain of jobs that wait for each other, and prints their numbers.
#
#   jobs/policies.sh [--configs DIR] [--arms "base rand ssm supervised meta"] TASK.json [options of sbatch ...]
#
#   1. policy.sbatch DIR/policy-ARM.json    trains the policy, for arms that have such a config
#   2. continual.sbatch DIR/bart-ARM.json   pre-trains under it, and exports the model
#   3. finetune.sbatch TASK.json            fine-tunes the models of all arms, and the one that all began with (arm base)
#   4. kmask compare --table                the table, in the log of the last job
#
# An arm is a pair of configs in DIR (jobs/): policy-ARM.json may be missing. What has finished before says so and costs a minute. Options of
# sbatch, such as -p NAME -A NAME -t TIME, are given to every job; the templates' own settings hold else. A job that fails takes with it those
# that wait for it.
set -euo pipefail
folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
configs=$folder arms="base supervised meta" task=
while [ $# -gt 0 ]; do
    case $1 in
        --configs) configs=$2 && shift ;;
        --arms) arms=$2 && shift ;;
        -*) break ;;
        *) [ -z "$task" ] || break; task=$1 ;;
    esac
    shift
done
[ -r "$task" ] || { echo "usage: jobs/policies.sh [--configs DIR] [--arms \"ARM ...\"] TASK.json [options of sbatch ...]" >&2; exit 2; }
export KMASK_JOBS=$folder
. "$folder/run.sh"
kmask_load_modules && kmask_find_program || exit 2

submit() { # WHAT JOBS-TO-WAIT-FOR TEMPLATE ARGUMENTS... -> $job
    local what=$1 after=$2
    shift 2
    job=$(sbatch --parsable ${after:+--dependency="afterok:$after" --kill-on-invalid-dep=yes} "${options[@]}" "$@")
    job=${job%%;*}
    echo "job $job: $what${after:+, after ${after//:/ and }}"
}

options=("$@") models=() wait=
for arm in $arms; do
    config=$configs/bart-$arm.json after='' with=()
    if [ "$arm" = base ]; then
        continue
    fi
    [ -r "$config" ] || { echo "policies.sh: arm $arm: no $config" >&2; exit 2; }
    if [ -r "$configs/policy-$arm.json" ]; then
        submit "policy $arm" '' "$folder/policy.sbatch" "$configs/policy-$arm.json"
        after=$job
        with=(--set "mask.model=$("$kmask" config run.dir "$configs/policy-$arm.json")/policy.h5")
    fi
    submit "pre-training $arm" "$after" "$folder/continual.sbatch" "$config" "${with[@]}"
    wait=$wait${wait:+:}$job
    models+=("\"$("$kmask" config run.dir "$config")/model\"")
    first=${first:-$config}
done
if [[ " $arms " == *" base "* ]]; then
    models=("\"$("$kmask" config model.init "${first:-$configs/bart-supervised.json}")\"" "${models[@]}")
fi
list=$(IFS=,; echo "[${models[*]}]")
submit "fine-tuning of $list" "$wait" "$folder/finetune.sbatch" "$task" --set "finetune.init=$list"
results=$("$kmask" config run.dir "$task")/results.json
submit "the table" "$job" --ntasks=1 --time=10 --job-name=kmask-table --output=%x-%j.log \
    --wrap=". '$folder/run.sh'; kmask_load_modules; '$kmask' compare --table '$results'"
