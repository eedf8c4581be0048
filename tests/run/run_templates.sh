#!/usr/bin/env bash
# A template of jobs/ finds kmask's run.sh, and takes no other file of that name for it. SLURM reads a script from standard input too: then
# no folder is beside it.
. "$SOURCE/tests/common.sh"
mkdir -p bin project moved
echo "--set a=b" >arms
printf '#!/bin/sh\necho "   Command=${COMMAND:-(null)}"\n' >bin/scontrol
chmod +x bin/scontrol
echo 'touch "$SLURM_SUBMIT_DIR/sourced"; echo "an unrelated run.sh"' >project/run.sh
job() { # TEMPLATE SUBMITTED_FROM [COMMAND]: standard input of a job, whose program is missing
    (cd "$2" && env -u KMASK SLURM_SUBMIT_DIR="$PWD" SLURM_JOB_ID=1 COMMAND="${3:-}" PATH="$WORK/bin:$PATH" bash -s -- a "$WORK/arms" c d <"$1") >out.txt 2>&1
}

templates=0
for template in "$SOURCE"/jobs/*.sbatch; do
    templates=$((templates + 1))
    name=$(basename "$template")
    job "$template" project && fail "$name: status 0 without a run.sh of kmask"
    grep -q "no run.sh of kmask beside this file.*set KMASK_JOBS" out.txt || fail "$name: $(tail -n 2 out.txt)"
    [ ! -e project/sourced ] || fail "$name: an unrelated run.sh was sourced"
    rm -f project/sourced
    # Beside the file that was submitted, where sbatch was called, and where KMASK_JOBS says.
    cp "$template" moved/
    cp "$SOURCE/jobs/run.sh" moved/
    sed -i 's/^kmask_find_program() {/kmask_find_program() { echo "kmask looks for its program"; return 1; }\nkmask_old() {/' moved/run.sh
    for from in "project $WORK/moved/$name" "moved" "."; do
        jobs=
        [ "$from" = . ] && jobs=$WORK/moved
        KMASK_JOBS=$jobs job "$template" ${from} && fail "$name: status 0 without a program"
        grep -q 'kmask looks for its program' out.txt || fail "$name from $from: $(tail -n 2 out.txt)"
    done
    [ ! -e project/sourced ] || fail "$name: an unrelated run.sh was sourced before kmask's"
done
[ "$templates" -ge 9 ] || fail "$templates templates"
finish
