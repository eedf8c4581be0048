#!/usr/bin/env bash
# doctor under srun: well on a whole network, also among neighbours who attack what it listens on (STRANGERS_SECONDS=60 is the long form,
# tools/long_slurm.sh strangers); a wire that is cut between two nodes is named, before MPI, whose start would not survive
# it.
. "$SOURCE/tests/common.sh"
[ -e "$SOURCE/tests/slurm/cluster.sh" ] || { echo "no test cluster"; exit 0; }
. "$SOURCE/tests/slurm/cluster.sh"
. "$SOURCE/tests/hosts/strangers.sh"
unset OPENBLAS_CORETYPE OMP_NUM_THREADS
cluster_up 3 2 || exit "$(${cluster_is_broken:-false} && echo 1 || echo 77)"

cat >job.sh <<EOF
#!/usr/bin/env bash
export OMPI_MCA_btl=self,vader,tcp OMPI_MCA_btl_tcp_if_include=$hosts_net.0/24 OMPI_MCA_mpi_yield_when_idle=1 ${strangers_mpi[*]}
srun --mpi=pmix --distribution=block "$KMASK" doctor --folder "$PWD"
echo "status \$?"
EOF
examine() { # STATUS
    submit -N 3 -n 6 --time=10 --open-mode=truncate --chdir="$PWD" -o job.log job.sh || finish
    ended "$job" 300 || { fail "it does not end: $(cat job.log)"; scancel "$job"; }
    grep -qx "status $1" job.log || fail "not status $1: $(cat job.log)"
}

examine 0
grep -qx 'all well: 6 rank(s) on 3 host(s)' job.log || fail "verdict: $(cat job.log)"
[ "$(grep -cE '^host[123] +host[123] +[0-9.]+ +[0-9]+us +[0-9.]+us +[0-9.]+$' job.log)" -eq 6 ] ||
    fail "six links with their speed were expected: $(cat job.log)"
grep -q '^time  *the job ends in' job.log || fail "no time left: $(cat job.log)"

strangers_come 4 "$hosts_net".{1,2,3}
examinations=0 until=$((SECONDS + ${STRANGERS_SECONDS:-1}))
while [ "$examinations" = 0 ] || [ $SECONDS -lt $until ]; do
    examine 0
    grep -qx 'all well: 6 rank(s) on 3 host(s)' job.log || fail "verdict among strangers: $(cat job.log)"
    examinations=$((examinations + 1))
done
strangers_go
echo "$examinations verdicts among strangers"

hosts_part 2 3
examine 1
for way in "host2 does not reach host3" "host3 does not reach host2"; do
    grep -q "^problem: $way: .* Cure: " job.log || fail "no '$way': $(cat job.log)"
done
grep -q '^problem: host1' job.log && fail "host1 reaches all: $(cat job.log)"
finish
