#!/usr/bin/env bash
# hosts.sh: sourced after tests/common.sh. Pretend hosts on one machine: each has network, host name and process ids of its own,
# a /dev/shm, and a wire to a common bridge; files are shared, as over NFS. Needs root.
#   hosts_up N       hosts host1..hostN with addresses 10.213.77.1..N, or status 1 with a word why not
#   on_host I CMD... runs a command there
#   hosts_agent FILE writes what mpirun starts its daemons by: FILE ADDRESS CMD...; mpirun itself runs outside of the hosts
#   hosts_cut I      its wire drops everything from now on, without a word to anyone
#   hosts_part I J   likewise between these two alone; hosts_join I J mends it
#   hosts_down       removes all; also to be trapped on EXIT
hosts_net=10.213.77
hosts_bridge=kmtest$$
hosts_folder=$(mktemp -d)
declare -a hosts_pid=()

# on_host I COMMAND...
on_host() {
    local pid=${hosts_pid[$1]}
    shift
    nsenter -t "$pid" -n -u -p -m -i -- "$@"
}

hosts_first() { # I PARENT: once it is ready
    [ -s "$hosts_folder/ready$1" ] && grep -so '[0-9]*' "/proc/$2/task/$2/children"
}
hosts_one() { # I: its first process, whose death ends all others there
    setsid unshare --net --uts --mount --ipc --pid --fork --mount-proc --kill-child --propagation private bash -c '
        hostname "host$1"
        mount -t tmpfs -o size=512m,mode=1777 shm /dev/shm
        mount --bind "$2/names" /etc/hosts
        ip link set lo up
        echo ready >"$2/ready$1"
        trap : CHLD TERM
        while :; do sleep 3600 & wait $!; done' holder "$1" "$hosts_folder" </dev/null >/dev/null 2>&1 &
    local parent=$! pid
    disown "$parent"
    echo "$parent" >>"$hosts_folder/parents"
    pid=$(within 60 hosts_first "$1" "$parent") || return 1
    hosts_pid[$1]=$pid
    ip link add "$hosts_bridge-$1" type veth peer name eth0 netns "$pid" &&
        ip link set "$hosts_bridge-$1" master "$hosts_bridge" up &&
        on_host "$1" ip addr add "$hosts_net.$1/24" dev eth0 && on_host "$1" ip link set eth0 up
}

hosts_up() {
    [ "$(id -u)" -eq 0 ] || { echo "no root: no pretend hosts"; return 1; }
    unset OMPI_MCA_btl_vader_backing_directory # a folder of this machine's /dev/shm; hosts take theirs with them
    local tool i
    for tool in ip nsenter unshare bridge; do
        command -v "$tool" >/dev/null || { echo "no $tool: no pretend hosts"; return 1; }
    done
    unshare --net --uts --mount --ipc --pid --fork true 2>/dev/null || { echo "no namespaces: no pretend hosts"; return 1; }
    echo "127.0.0.1 localhost" >"$hosts_folder/names"
    for i in $(seq "$1"); do echo "$hosts_net.$i host$i" >>"$hosts_folder/names"; done
    ip link add "$hosts_bridge" type bridge 2>/dev/null || { echo "no bridge: no pretend hosts"; return 1; }
    ip addr add "$hosts_net.254/24" dev "$hosts_bridge"
    ip link set "$hosts_bridge" up
    for i in $(seq "$1"); do
        hosts_one "$i" || { echo "host $i does not start: no pretend hosts"; return 1; }
    done
}

hosts_agent() {
    local i
    {
        echo '#!/bin/sh'
        echo 'address=$1; shift'
        echo 'case $address in'
        for i in "${!hosts_pid[@]}"; do echo "$hosts_net.$i) pid=${hosts_pid[$i]} ;;"; done
        echo 'esac'
        echo 'exec nsenter -t "$pid" -n -u -p -m -i -- /bin/sh -c "$*"'
    } >"$1"
    chmod +x "$1"
}

hosts_part() { bridge link set dev "$hosts_bridge-$1" isolated on && bridge link set dev "$hosts_bridge-$2" isolated on; }
hosts_join() { bridge link set dev "$hosts_bridge-$1" isolated off && bridge link set dev "$hosts_bridge-$2" isolated off; }
hosts_cut() { bridge link set dev "$hosts_bridge-$1" state 0; }

hosts_down() {
    local parent i
    while read -r parent; do kill -9 "$parent" 2>/dev/null; done < <(cat "$hosts_folder/parents" 2>/dev/null)
    for i in "${!hosts_pid[@]}"; do kill -9 "${hosts_pid[$i]}" 2>/dev/null; ip link del "$hosts_bridge-$i" 2>/dev/null; done
    ip link del "$hosts_bridge" 2>/dev/null
    rm -rf "$hosts_folder"
}
