#!/usr/bin/env bash
# strangers.sh: sourced after hosts.sh. Neighbours who attack what kmask listens on (strangers.py).
#   strangers_come HOST ADDRESS...  from that pretend host, at these addresses. What is attacked has $strangers_mpi in its environment, so
#                                   that MPI's own ports, whose strangers are not kmask's to answer, can be left out
#   strangers_go                    ends them; what they did is in $strangers, and it must have been something
strangers_mpi=(OMPI_MCA_btl_tcp_port_min_v4=47000 OMPI_MCA_btl_tcp_port_range_v4=900)
strangers_come() {
    local host=$1
    shift
    rm -f strangers.log ports
    python3 "$SOURCE/tests/hosts/strangers.py" watch "$PWD/ports" &
    strangers_watch=$!
    nsenter -t "${hosts_pid[$host]}" -n -u -p -m -i -- python3 "$SOURCE/tests/hosts/strangers.py" attack "$PWD/ports" "$@" >strangers.log 2>&1 &
    strangers_attack=$!
}
strangers_go() {
    kill "$strangers_watch" $(cat "/proc/$strangers_attack/task/$strangers_attack/children")
    wait "$strangers_attack" "$strangers_watch" 2>/dev/null
    strangers=$(tail -n 1 strangers.log)
    echo "$strangers"
    grep -qE '^strangers: [0-9]*[1-9][0-9]* scanned, [0-9]*[1-9][0-9]* connections, [0-9]*[1-9][0-9]* forged, [0-9]*[1-9][0-9]* slow' <<<"$strangers" ||
        fail "no strangers came: $(tail -n 5 strangers.log)"
}
