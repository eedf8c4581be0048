#!/usr/bin/env bash
# A run on two hosts among neighbours who scan all ports, flood those of kmask, forge what is sent there, send it slowly and read
# nothing: it ends in the weights of a run that nobody disturbed. STRANGERS_SECONDS=60 is the long form (tools/long_slurm.sh strangers).
. "$SOURCE/tests/common.sh"
. "$SOURCE/tests/hosts/hosts.sh"
. "$SOURCE/tests/hosts/strangers.sh"
seconds=${STRANGERS_SECONDS:-5}
command -v python3 >/dev/null || { echo "no python3: skipped"; exit 77; }
trap hosts_down EXIT
hosts_up 3 || exit 77
make_corpus
make_config c.json run
options=(--set checkpoint.every=1000000 --set eval.every=0 --set schedule.name=constant --set schedule.warmup=0)
hosts_agent "$PWD/agent.sh"
cat >rank.sh <<END
#!/bin/sh
cd $PWD
exec env ${strangers_mpi[*]} "$KMASK" pretrain c.json ${options[*]} --set train.steps=100000000 --set parallel.timeout=60 \\
    --set run.max_hours=$(awk "BEGIN { print ($seconds + 20) / 3600 }")
END
chmod +x rank.sh

strangers_come 3 "$hosts_net.1" "$hosts_net.2"
printf '%s slots=2\n' "$hosts_net.1" "$hosts_net.2" >machines
OMPI_MCA_mpi_yield_when_idle=1 mpirun --hostfile machines -n 4 --map-by slot --bind-to none --oversubscribe \
    --mca plm_rsh_agent "$PWD/agent.sh" --mca btl self,vader,tcp --mca btl_tcp_if_include "$hosts_net.0/24" \
    --mca oob_tcp_if_include "$hosts_net.0/24" "$PWD/rank.sh" >log.txt 2>&1 &
launcher=$!
until_step run 1
sleep "$seconds"
kill -USR1 "$launcher" # saves and ends
wait "$launcher"
strangers_go
grep -q '"reason":[^,]*"stopped\|"status":[[:space:]]*75' run/status.json || fail "the run did not stop in order: $(cat run/status.json; tail -n 5 log.txt)"
step=$(grep -oE '"step":[[:space:]]*[0-9]+' run/status.json | grep -oE '[0-9]+')
[ "${step:-0}" -ge 2 ] || fail "no steps were made: $(cat run/status.json)"

# The same steps alone.
"$KMASK" pretrain c.json "${options[@]}" --set run.dir=alone --set train.steps="$step" >log2.txt 2>&1 || fail "alone: $(tail -n 3 log2.txt)"
[ -n "$(last_hash run)" ] && [ "$(last_hash run)" = "$(last_hash alone)" ] || fail "step $step: $(last_hash run), alone $(last_hash alone)"
echo "$step steps in $seconds s among strangers, weights $(last_hash run)"
finish
