#!/usr/bin/env bash
# Wires that are cut without a word, between pretend hosts: every rank of every host has ended within the timeout, the culprit is
# named (by each side the other), and the run goes on afterwards.
. "$SOURCE/tests/common.sh"
. "$SOURCE/tests/hosts/hosts.sh"
trap hosts_down EXIT
hosts_up 3 || exit 0
make_corpus
make_config c.json run
timeout=8 # seconds, as given to the runs

hosts_agent "$PWD/agent.sh"
cat >rank.sh <<EOF
#!/bin/sh
cd $PWD
exec "$KMASK" pretrain c.json --set run.dir=\$1 --set train.steps=1000000 --set checkpoint.every=50 --set eval.every=0 \\
    --set parallel.timeout=$timeout 2>err-\$1.\$OMPI_COMM_WORLD_RANK
EOF
chmod +x rank.sh

# start RUN RANKS ADDRESS:SLOTS...: until it trains. Sets launcher and pids.
start() {
    local run=$1 ranks=$2
    shift 2
    printf '%s\n' "$@" | sed 's/:/ slots=/' >machines
    OMPI_MCA_mpi_yield_when_idle=1 mpirun --hostfile machines -n "$ranks" --map-by slot --bind-to none --oversubscribe \
        --mca plm_rsh_agent "$PWD/agent.sh" --mca btl self,vader,tcp --mca btl_tcp_if_include "$hosts_net.0/24" \
        --mca oob_tcp_if_include "$hosts_net.0/24" "$PWD/rank.sh" "$run" >"mpirun-$run.txt" 2>&1 &
    launcher=$!
    log=mpirun-$run.txt until_step "$run" 60
    sleep 2 # a beat or two
    pids=$(ranks_of "$run")
    [ "$(wc -w <<<"$pids")" -ge "$ranks" ] ||
        { fail "$run: found $(wc -w <<<"$pids") ranks: $(tail -n 5 "mpirun-$run.txt" "err-$run".*)"; finish; }
}

# ended RUN: all ranks are gone in time; their launcher, which may wait for a host for minutes, is ended.
ended() {
    ended_within $((timeout * 1000 + 1000)) "$1" $pids
    kill -9 "$launcher" 2>/dev/null
    wait "$launcher" 2>/dev/null
    grep -q '"status":[[:space:]]*1,' "$1/status.json" || fail "$1: status.json: $(cat "$1/status.json")"
    expect 75 "resumed" "$KMASK" pretrain c.json --set "run.dir=$1" --set train.steps=1000000 --set run.max_hours=0.0005
}

# Between two hosts that both reach rank 0: nobody is silent, and nothing goes on.
start parted 3 "$hosts_net.1:1" "$hosts_net.2:1" "$hosts_net.3:1"
hosts_part 2 3
ended parted
[ "$(cat err-parted.* | grep -cE '^kmask: (no )?rank')" -eq 1 ] || fail "parted: not one sentence: $(grep -H ^kmask: err-parted.*)"
grep -q '^kmask: no rank has made progress for .*rank.*waiting for others.*(step [0-9]*)' err-parted.0 ||
    fail "parted: $(tail -n 2 err-parted.0)"
hosts_join 2 3

start cut 4 "$hosts_net.1:2" "$hosts_net.2:2"
hosts_cut 2
ended cut
[ "$(cat err-cut.* | grep -cE '^kmask: (no )?rank')" -eq 2 ] || fail "cut: not two sentences: $(grep -H ^kmask: err-cut.*)"
grep -q '^kmask: rank [23] on host2 (pid [0-9]*) and 1 more rank(s) gave no sign of life.*at step ' err-cut.0 ||
    fail "cut, host1: $(tail -n 2 err-cut.0)"
cat err-cut.2 err-cut.3 | grep -q '^kmask: rank 0 on host1 (pid [0-9]*) gave no sign of life.*at step ' ||
    fail "cut, host2: $(tail -n 2 err-cut.2 err-cut.3)"
finish
