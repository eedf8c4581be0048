#!/usr/bin/env bash
# run_policies.sh in bf16; skipped where the build or the CPU has none. POLICY_RANKS="2 3 5 8" tries more ranks.
. "$SOURCE/tests/common.sh"
. "$SOURCE/tests/run/bits.sh"
. "$SOURCE/tests/run/policies.sh"
"$KMASK" pretrain c.json --set run.dir=refused --set train.precision=bf16 --set train.steps=1 >why.txt 2>&1
if grep -E "^kmask: train.precision: found" why.txt; then
    echo "skipped"
    [ "$failures" -eq 0 ] || finish
    exit 77
fi
same_everywhere "${POLICY_RANKS:-3}" --set train.precision=bf16
finish
