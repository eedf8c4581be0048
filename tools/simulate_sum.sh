#!/usr/bin/env bash
# simulate_sum.sh [RANKS[xNODE_RANKS]:ELEMENTS[:gather|:messages] ...]: a step's communication as src/comm does it, by SimGrid's SMPI (Debian:
# libsimgrid-dev), on nodes of NODE_RANKS (16) ranks with 10 and 100 Gbit/s, beside what `kmask plan` reckons for the same nodes. A line
# a case: ranks, nodes, Gbit/s, parameters, and for the sum, the gathering of the weights, small reductions and all: simulated and
# planned seconds, error.
#
# The simulated time of a message is latency + size / bandwidth, bandwidth being shared by all that use a wire at once: a rank's
# own (5 GB/s, 0.5 us), and a node's (each way). Ranks of a node read each other's memory at 5 GB/s; with `messages` they send each other
# all shares. What ends within a microsecond ends at once, but for `gather` alone,
# where so many small turns would be too short. SimGrid's time grows with the square of the messages under way between nodes,
# RANKS (nodes - 1) a bucket of 4,194,304 elements: the larger of the cases that it takes by itself have one bucket.
set -euo pipefail
cd "$(dirname "$0")/.."
for tool in smpicc smpirun; do
    command -v $tool >/dev/null || { echo "$tool is missing (Debian: libsimgrid-dev)" >&2; exit 1; }
done
cases=("${@:-}")
[ -n "${cases[0]}" ] || cases=(32:33554432 64:33554432 512:4194304 1024x64:4194304)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
core=5e9 near=1 # bytes a second, microseconds

flags=(-std=gnu11 -O2 -D_GNU_SOURCE -Iinclude -Isrc/base -Isrc/comm -Isrc/train -Isrc/advise)
smpicc "${flags[@]}" -Dkm_allocate=km_allocate_own -c src/base/memory.c -o "$work/memory.o"
smpicc "${flags[@]}" -Dkm_process_read=km_process_read_own -c src/base/process.c -o "$work/process.o"
base=(src/base/*.c) # the driver has memory of its own, and its own way to read that of others
base=("${base[@]/src\/base\/memory.c/$work/memory.o}")
base=("${base[@]/src\/base\/process.c/$work/process.o}")
smpicc "${flags[@]}" -o "$work/simulate" tools/simulate_sum.c src/advise/plan_cost.c src/comm/{address,comm,failure_detector}.c \
    src/comm/{exchange,heartbeat}*.c "${base[@]}" -lcjson -lxxhash -lsodium -lm

half() { awk -v a="$1" 'BEGIN { printf "%.9g", a / 2 * 1e-6 }'; } # microseconds of two hops -> seconds of one

# NODES NETWORK LATENCY. In a node every two cores meet by both their wires; between nodes the network card takes bytes from
# memory by itself.
platform() {
    local n i j
    echo '<?xml version="1.0"?><!DOCTYPE platform SYSTEM "https://simgrid.org/simgrid.dtd">'
    echo '<platform version="4.1"><zone id="world" routing="Floyd"><zone id="switch" routing="Full"><router id="middle"/></zone>'
    for ((n = 0; n < $1; n++)); do
        echo "<zone id=\"n$n\" routing=\"Full\"><router id=\"r$n\"/>"
        for ((i = 0; i < node_ranks; i++)); do
            echo "<host id=\"n$n-$i\" speed=\"1Gf\"/>"
            echo "<link id=\"c$n-$i\" bandwidth=\"${core}Bps\" latency=\"$(half $near)s\" sharing_policy=\"SPLITDUPLEX\"/>"
        done
        echo "<link id=\"d$n\" bandwidth=\"1e15Bps\" latency=\"0s\" sharing_policy=\"FATPIPE\"/>"
        for ((i = 0; i < node_ranks; i++)); do
            echo "<route src=\"n$n-$i\" dst=\"r$n\"><link_ctn id=\"d$n\"/></route>"
            for ((j = 0; j < i; j++)); do
                echo "<route src=\"n$n-$i\" dst=\"n$n-$j\"><link_ctn id=\"c$n-$i\" direction=\"UP\"/>" \
                    "<link_ctn id=\"c$n-$j\" direction=\"DOWN\"/></route>"
            done
        done
        echo "</zone><link id=\"l$n\" bandwidth=\"$2Bps\" latency=\"$(half "$3")s\" sharing_policy=\"SPLITDUPLEX\"/>"
    done
    for ((n = 0; n < $1; n++)); do
        echo "<zoneRoute src=\"n$n\" dst=\"switch\" gw_src=\"r$n\" gw_dst=\"middle\"><link_ctn id=\"l$n\" direction=\"UP\"/></zoneRoute>"
    done
    echo '</zone></platform>'
}

simulate() { # RANKS ELEMENTS NETWORK LATENCY [gather|messages]
    local nodes=$(($1 / node_ranks)) precision n i
    platform $nodes "$3" "$4" >"$work/platform.xml"
    for ((n = 0; n < nodes; n++)); do
        for ((i = 0; i < node_ranks; i++)); do echo "n$n-$i"; done
    done >"$work/hosts"
    precision=1e-6 # seconds
    [ "${5:-}" != gather ] || precision=1e-9
    smpirun -np "$1" -platform "$work/platform.xml" -hostfile "$work/hosts" --cfg=network/model:CM02 \
        --cfg=network/bandwidth-factor:1 --cfg=network/latency-factor:1 --cfg=network/crosstraffic:0 \
        --cfg=smpi/coll-selector:ompi --cfg=smpi/simulate-computation:no --cfg=smpi/test:1e-9 --cfg=smpi/grow-injected-times:no --cfg=surf/precision:$precision \
        --cfg=smpi/shared-malloc-blocksize:33554432 --cfg=smpi/tmpdir:"$work" --log=root.thresh:error \
        "$work/simulate" "$2" $node_ranks "$3" "${4}e-6" $core "${near}e-6" ${5:-} 2>"$work/err" || { cat "$work/err" >&2; return 1; }
}

printf '%6s %5s %6s %11s  %-30s %-30s %-30s %-30s\n' ranks nodes Gbit/s parameters "sum: simulated planned" \
    "gather: simulated planned" "reductions" "all"
for case in "${cases[@]}"; do
    for network in 1.25e9:20 12.5e9:3; do # bytes a second, microseconds
        IFS=: read -r ranks elements part <<<"$case"
        IFS=x read -r ranks node_ranks <<<"$ranks"
        node_ranks=${node_ranks:-16}
        simulate "$ranks" "$elements" "${network%:*}" "${network#*:}" "$part" >"$work/out"
        awk -v ranks="$ranks" -v elements="$elements" -v net="${network%:*}" -v locals=$node_ranks '
            { cell[NR] = $3 > 0 ? sprintf("%.4g %.4g (%+.1f %%)", $2, $3, 100 * ($3 / $2 - 1)) : "-" }
            END { printf "%6d %5d %6g %11d  %-30s %-30s %-30s %-30s\n", ranks, ranks / locals, net * 8e-9, elements, cell[1], cell[2],
                      cell[3], cell[4] }' "$work/out"
    done
done
