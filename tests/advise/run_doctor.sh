#!/usr/bin/env bash
# doctor finds what is wrong with hosts, and says it in a line with its cure: each trouble is made here.
. "$SOURCE/tests/common.sh"
. "$SOURCE/tests/hosts/hosts.sh"
trap hosts_down EXIT
unset OPENBLAS_CORETYPE OMP_NUM_THREADS
first=$(taskset -pc $$ | sed -E 's/.*: *([0-9]+).*/\1/') # a CPU that may be used

# sick "words" COMMAND...: status 1, a verdict, and a problem with these words and a cure.
sick() {
    local words=$1
    shift
    expect 1 "problem(s) found" "$@"
    head -n 1 out.txt | grep -qE '^[0-9]+ problem\(s\): ' || fail "no verdict first: $* ($(head -n 2 out.txt))"
    grep -E '^problem: .*Cure: .+' out.txt | grep -qE -- "$words" || fail "no '$words': $* ($(grep -a ^problem out.txt))"
}

# Alone, and well: a verdict, the tables, as text and as JSON; nothing is left behind.
mkdir well
"$KMASK" doctor --folder well >out.txt 2>err.txt || fail "alone: status $? ($(grep ^problem out.txt) $(cat err.txt))"
head -n 1 out.txt | grep -qx 'all well: 1 rank(s) on 1 host(s)' || fail "alone: $(head -n 1 out.txt)"
grep -qE '^0 +[^ ]+ +[0-9]+ +1 +[0-9]+ +[0-9.]+ ' out.txt || fail "no table of ranks: $(cat out.txt)"
grep -qE '^folder +well: [0-9]+ MB/s' out.txt || fail "no word of the folder: $(cat out.txt)"
[ -z "$(ls -A well)" ] || fail "files are left behind: $(ls -A well)"
"$KMASK" doctor --json >out.txt 2>err.txt || fail "--json: status $? ($(cat err.txt))"
for key in well problems notes transport hosts ranks links folder; do grep -q "\"$key\":" out.txt || fail "no key $key"; done
"$LAUNCH" 2 taskset -c 0-4095 "$KMASK" doctor >out.txt 2>err.txt
grep -qE '^MPI +Open MPI .* over ' out.txt || fail "transport: $(grep ^MPI out.txt)"
[ "$(grep -cE '^[01] +[^ ]+ +[0-9]+ +1 ' out.txt)" -eq 2 ] || fail "not two ranks: $(cat out.txt)"
grep -qE ' [0-9.]+us +[0-9.]+$' out.txt || fail "no latency and bandwidth between the ranks: $(cat out.txt)"

# A forced weak kernel.
if [ "$("$KMASK" doctor --json | grep -o '"loops":.*"' | head -n 1 | grep -c generic)" -eq 0 ]; then
    sick "kernel [A-Za-z]* \(OPENBLAS_CORETYPE=Prescott\), this CPU could run" env OPENBLAS_CORETYPE=Prescott "$KMASK" doctor
fi

# Cores: threads of one rank, two ranks on one core, all of a host's ranks.
sick "rank 0 on .*: 2 threads on 1 core\(s\) \($first\), 2x oversubscribed" taskset -c "$first" "$KMASK" doctor --threads 2
sick "ranks 0-1 on .*: 2 threads on 1 core\(s\) \($first\), 2x" "$LAUNCH" 2 taskset -c "$first" "$KMASK" doctor
make_config c.json run
sick "rank 0 on .*: 3 threads on 1 core\(s\) \($first\), 3x" taskset -c "$first" "$KMASK" doctor c.json --set parallel.threads=3
ranks=$((2 * $(nproc)))
[ "$ranks" -gt 16 ] || sick "ranks 0-$((ranks - 1)) on .*: $ranks threads on " "$LAUNCH" "$ranks" "$KMASK" doctor

# The run folder: a file's place, below a file, read-only.
: >file
sick "file: .*a file of that name is there" "$KMASK" doctor --folder file
sick "a file of that name is there" "$KMASK" doctor --folder file/below
if [ "$(id -u)" -eq 0 ] && unshare --mount true 2>/dev/null; then
    mkdir -p ro/run
    cat >ro.sh <<EOF
mount --bind ro ro && mount -o remount,ro,bind ro && exec "\$@"
EOF
    sick "ro: .*Read-only file system" unshare --mount bash ro.sh "$KMASK" doctor --folder ro
    sick "ro/run: .*Read-only file system" unshare --mount bash ro.sh "$KMASK" doctor c.json --set run.dir=ro/run
    sick "ro: .*Read-only file system" unshare --mount bash ro.sh "$KMASK" doctor --folder ro/new/run
elif [ "$(id -u)" -ne 0 ]; then
    mkdir -m 555 ro
    sick "ro: .*Permission denied" "$KMASK" doctor --folder ro
    sick "ro: .*Permission denied" "$KMASK" doctor --folder ro/new/run
fi

# A config that is wrong is a problem among others; a wrong command line is none.
sick "optimizer.lrr" "$KMASK" doctor c.json --set optimizer.lrr=1
expect 2 "doctor takes one config file" "$KMASK" doctor a.json b.json

# Hosts that do not reach each other, found and named within a minute, whoever they are.
hosts_up 3 || finish
hosts_agent "$PWD/agent.sh"
on_hosts() { # [RANKS]
    printf '%s\n' "$hosts_net".{1,2,3}" slots=2" >machines
    OMPI_MCA_mpi_yield_when_idle=1 timeout -k 5 100 mpirun --hostfile machines -n "${1:-3}" --map-by node --bind-to none \
        --oversubscribe --mca plm_rsh_agent "$PWD/agent.sh" --mca btl self,vader,tcp --mca btl_tcp_if_include "$hosts_net.0/24" \
        --mca oob_tcp_if_include "$hosts_net.0/24" "$KMASK" doctor --folder "$PWD"
}
on_hosts 6 >out.txt 2>err.txt
grep -q 'does not reach\|no message of MPI' out.txt && fail "whole wires are said to be cut: $(grep ^problem out.txt)"
[ "$(grep -cE '^host[123] +host[123] +[0-9.]+ +[0-9]+us +[0-9.]+us +[0-9.]+$' out.txt)" -eq 6 ] ||
    fail "six links with their speed were expected: $(cat out.txt err.txt)"
hosts_part 2 3
sick "host2 does not reach host3" on_hosts
grep -q '^problem: host3 does not reach host2' out.txt || fail "the way back: $(grep ^problem out.txt)"
grep -q 'host1 does not reach' out.txt && fail "host1 reaches all: $(grep ^problem out.txt)"
hosts_join 2 3
hosts_part 1 2 # rank 0's
sick "host1 does not reach host2" on_hosts 6
hosts_join 1 2
on_host 2 ip route add unreachable "$hosts_net.3/32"
sick "host2 does not reach host3" on_hosts
finish
