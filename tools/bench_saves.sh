#!/usr/bin/env bash
# bench_saves.sh [RANKS] (2): what saves and the heartbeat cost a run. A BERT of 3.5 M parameters (checkpoints of 42 MB) trains with a
# save every 15 steps, and strace notes when rank 0 writes each step's line: the time from line to line has everything in it, the
# copy, the pieces on their way and the waiting. Steps while a save is under way are compared with those before it. Then the CPU
# time of each rank's heartbeat thread. Needs strace; the project is built in build/release ($BUILD).
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
build=${BUILD:-build/release}
ranks=${1:-2}
command -v strace >/dev/null || { echo "bench_saves.sh: no strace: install it first" >&2; exit 2; }
export KMASK=$PWD/$build/kmask SOURCE=$PWD LAUNCH=$PWD/tests/launch.sh WORK
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
. tests/common.sh
make_corpus
cat >c.json <<END
{"run": {"dir": "run", "seed": 1},
 "model": {"type": "bert", "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024,
           "max_position_embeddings": 128},
 "data": {"train": "corpus.h5", "length": 64},
 "mask": {"splits": 4},
 "train": {"steps": 70, "sequences": 4, "micro_batch": 4},
 "optimizer": {"lr": 1e-4},
 "checkpoint": {"every": 15}}
END
cat >rank.sh <<'END'
#!/bin/sh
[ "${OMPI_COMM_WORLD_RANK:-0}" = 0 ] || exec "$KMASK" pretrain c.json
exec strace --seccomp-bpf -f -y -ttt -e trace=pwrite64,rename,openat -o trace "$KMASK" pretrain c.json
END
chmod +x rank.sh
"$LAUNCH" "$ranks" ./rank.sh >log.txt 2>&1 &
launcher=$!
heartbeats() { # nanoseconds on a CPU of the heartbeats' threads
    local task
    for task in /proc/[0-9]*/task/*; do # in the order of processes
        [ "$(readlink "${task%/task/*}/cwd")" = "$WORK" ] && [ "$(cat "$task/comm" 2>/dev/null)" = kmask-heartbeat ] &&
            cut -d' ' -f1 "$task/schedstat"
    done | paste -s -d' '
}
lines() { { wc -l <run/metrics.jsonl; } 2>/dev/null || echo 0; }
while [ "$(lines)" -lt 20 ] && kill -0 "$launcher" 2>/dev/null; do sleep 0.1; done
before=$(heartbeats)
from=$(date +%s%N)
while [ "$(lines)" -lt 65 ] && kill -0 "$launcher" 2>/dev/null; do sleep 0.2; done
after=$(heartbeats)
wall=$(($(date +%s%N) - from))
wait "$launcher" || { tail -n 5 log.txt; exit 1; }
# Lines of the log and the opening and renaming of checkpoints, in order of time.
awk '
    /metrics.jsonl>/ && /pwrite64/ { step++; if (step > 1) { gap = $2 - last; print step, gap, (saving > 0 ? "saving" : "free") }; last = $2
        if (saving == 1) saving = 0 }
    /openat.*step-[0-9]*.h5.tmp.*O_CREAT/ { saving = 2; begun = $2 }
    /rename.*step-[0-9]*.h5.tmp/ { if (saving) { saving = 1; print "save", $2 - begun > "/dev/stderr" } }' trace >gaps 2>saves
awk '$1 > 5 { print $2, $3 }' gaps | sort -n | awk '
    { all[$2] = all[$2] " " $1; n[$2]++ }
    END { for (k in n) { split(all[k], v, " "); printf "%-7s %3d steps: median %.1f ms, longest %.1f ms\n", k, n[k], 1000 * v[int((n[k] + 1) / 2)], 1000 * v[n[k]] } }' | sort
awk '{ n++; s += $2; if ($2 > m) m = $2 } END { printf "a save, from its opening to its renaming: mean %.0f ms, longest %.0f ms, of %d\n", 1000 * s / n, 1000 * m, n }' saves
grep "waited for the save" log.txt
echo "heartbeat: $(awk -v w="$wall" -v b="$before" -v a="$after" 'BEGIN { k = split(b, x, " "); split(a, y, " ")
    for (i = 1; i <= k; i++) printf "%s%.4f %%", (i > 1 ? ", " : ""), 100 * (y[i] - x[i]) / w }') of a core, rank by rank"
