#!/usr/bin/env bash
# cluster.sh: sourced after tests/common.sh. A real SLURM cluster on one machine: munged and slurmctld on a pretend host of
# their own (tests/hosts/hosts.sh), a slurmd on each other one. Needs root; files are shared.
#   cluster_up NODES CPUS  nodes host1..hostN, each with CPUS pretended cores; 1 with a word why there can be none
#   cluster_poweroff I     the node's wire drops everything, then all that runs there is dead; cluster_poweron I: it is back
#   cluster_down           removes all; it is called on EXIT, and by a watcher should the script itself be killed
#   submit ARGUMENTS...    sbatch -> the job's number in $job
#   field JOB NAME         what `scontrol show job` says
#   ended JOB SECONDS      waits until it has left the queue for good; 1: it has not
. "$SOURCE/tests/hosts/hosts.sh"
hosts_net=10.213.$((100 + $$ % 150)) # several clusters may be up
cluster=
cluster_select=CR_Core # what a job takes of a node; CR_Core_Memory: its memory too
cluster_more=          # further lines of slurm.conf
cluster_task_plugin=task/none # task/affinity binds, where the nodes' cores are not pretended
export PATH=$PATH:/usr/sbin:/sbin

cluster_lacks() { # says what is missing
    local program
    [ "$(id -u)" -eq 0 ] || { echo "no root"; return 0; }
    for program in munged slurmctld slurmd sbatch srun scontrol squeue scancel; do
        command -v "$program" >/dev/null || { echo "no $program"; return 0; }
    done
    [ -n "$(find /usr/lib /usr/lib64 /usr/local/lib -name 'mpi_pmix*.so' -print -quit 2>/dev/null)" ] ||
        { echo "SLURM without PMIx"; return 0; }
    return 1
}

cluster_configure() { # NODES CPUS
    cat >"$cluster/slurm.conf" <<END
ClusterName=kmask
SlurmctldHost=host$cluster_head($hosts_net.$cluster_head)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$cluster/munge.socket,cred_expire=5
SlurmctldPidFile=$cluster/slurmctld.pid
SlurmdPidFile=$cluster/slurmd-%n.pid
StateSaveLocation=$cluster/state
SlurmdSpoolDir=$cluster/spool-%n
SlurmctldLogFile=$cluster/slurmctld.log
SlurmdLogFile=$cluster/slurmd-%n.log
TmpFS=$cluster/tmp-%n
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=$cluster_task_plugin
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=$cluster_select
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2,sched_min_interval=0,batch_sched_delay=0
SlurmdParameters=config_overrides
PropagateResourceLimits=NONE
ReturnToService=2
SlurmdTimeout=10
MessageTimeout=10
KillWait=5
OverTimeLimit=0
MinJobAge=3600
$cluster_more
NodeName=host[1-$1] NodeAddr=$hosts_net.[1-$1] CPUs=$2 Boards=1 SocketsPerBoard=1 CoresPerSocket=$2 ThreadsPerCore=1 RealMemory=4000 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
END
    echo "CgroupPlugin=cgroup/v1" >"$cluster/cgroup.conf" # none is used
}

cluster_slurmd() { # I
    mkdir -p "$cluster/spool-host$1" "$cluster/tmp-host$1"
    on_host "$1" slurmd -N "host$1" -f "$cluster/slurm.conf" </dev/null >>"$cluster/start.log" 2>&1
}

# Should the script die without a word, its hosts must not outlive it.
cluster_watch() {
    local script=$$
    (
        trap '' INT TERM HUP
        while kill -0 "$script" 2>/dev/null && [ -e "$cluster" ]; do sleep 1; done
        [ -e "$cluster" ] && cluster_down
    ) </dev/null >/dev/null 2>&1 &
    disown $!
}

cluster_up() {
    local nodes=$1 cpus=$2 i why
    why=$(cluster_lacks) && { echo "$why: no test cluster"; return 1; }
    trap cluster_down EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    cluster=$(mktemp -d /tmp/kmask-slurm-XXXXXX) # short: a socket's path has 107 letters
    chmod 755 "$cluster"
    cluster_head=$((nodes + 1))
    hosts_up "$cluster_head" || return 1
    cluster_watch
    cluster_configure "$nodes" "$cpus"
    export SLURM_CONF=$cluster/slurm.conf
    mkdir -p -m 700 "$cluster/munge"
    mkdir -p "$cluster/state" "$cluster/tmp"
    export TMPDIR=$cluster/tmp # what killed launchers leave behind goes with the cluster
    (umask 077 && head -c 128 /dev/urandom >"$cluster/munge/key")
    on_host "$cluster_head" munged --force --key-file="$cluster/munge/key" --socket="$cluster/munge.socket" \
        --pid-file="$cluster/munge/pid" --log-file="$cluster/munge/log" --seed-file="$cluster/munge/seed" \
        </dev/null >>"$cluster/start.log" 2>&1 || { cluster_broken "munged"; return 1; }
    on_host "$cluster_head" slurmctld -c -f "$SLURM_CONF" </dev/null >>"$cluster/start.log" 2>&1 ||
        { cluster_broken "slurmctld"; return 1; }
    for i in $(seq "$nodes"); do cluster_slurmd "$i" || { cluster_broken "slurmd on host$i"; return 1; }; done
    cluster_idle "$nodes" || { cluster_broken "nodes are not idle: $(sinfo -h -N -o '%N %t' | tr '\n' ' ')"; return 1; }
}

cluster_broken() {
    echo "FAILED: the test cluster does not start: $1"
    tail -n 5 "$cluster"/*.log "$cluster/munge/log" 2>/dev/null
    cluster_is_broken=true
}

cluster_idle() { # NODES: until so many are
    local i
    for i in $(seq 600); do
        [ "$(sinfo -h -N -o '%t' 2>/dev/null | grep -c '^idle$')" -eq "$1" ] && return 0
        sleep 0.1
    done
    return 1
}

cluster_poweroff() {
    hosts_cut "$1"
    kill -9 "${hosts_pid[$1]}"
}
cluster_poweron() {
    ip link del "$hosts_bridge-$1" 2>/dev/null # it goes with its namespace, a moment later
    rm -f "$hosts_folder/ready$1"
    hosts_one "$1" && cluster_slurmd "$1"
}

cluster_down() {
    [ -n "$cluster" ] || { hosts_down; return; }
    hosts_down
    rm -rf "$cluster"
}

submit() {
    job=$(sbatch --parsable "$@") || { fail "sbatch $*"; return 1; }
    job=${job%%;*}
}
field() { scontrol -o show job "$1" 2>/dev/null | tr ' ' '\n' | sed -n "s/^$2=//p" | head -n 1; }
ended() {
    local until=$(($(date +%s) + $2))
    while [ -n "$(squeue -h -j "$1" 2>&1)" ]; do
        [ "$(date +%s)" -lt "$until" ] || return 1
        sleep 0.3
    done
}
