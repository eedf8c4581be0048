#!/usr/bin/env bash
# The order of the calls that make a file safe, as torn's account of a short run has it: no file gets its name before its content
# is on the disk, and nothing else happens to the run before the folder that holds the new name is on the disk too.
. "$SOURCE/tests/common.sh"
. "$SOURCE/tests/faults/faults.sh"
make_tiny
mkdir disk
KMASK_TORN_FOLDER=$PWD/disk KMASK_TORN_LOG=$PWD/account faulty disk/run 0 --set checkpoint.snapshots='[7]' >log.txt 2>&1 ||
    fail "the run: $(tail -n 3 log.txt)"
# A line of the account: number, call, path; of a rename the new path, the old one has .tmp at its end.
awk '
    { call = $2; path = $3 }
    call == "write" || call == "resize" { dirty[path]++ }
    call == "fsync" { last[path] = dirty[path] + 0; delete dirty[path]; for (p in named) if (p ~ "^" path "/[^/]*$") delete named[p] }
    call == "rename" {
        renames++
        if (path ".tmp" in dirty) print path " got its name with content that was not synced"
        if (path ~ /\.h5$/) {
            named[path] = 1
            if (last[path ".tmp"] != 1) print path ": its checksum was written before all else was on the disk"
        }
    }
    call == "unlink" && path ~ /checkpoints\/step-[0-9]+\.h5$/ { for (p in named) print path " was removed before " p " was safe" }
    END {
        for (p in named) print p ": its folder was not synced"
        if (renames < 6) print "only " renames + 0 " renames: the account is not what this test expects"
    }' account >found.txt
[ -s found.txt ] && fail "$(head -n 5 found.txt)"
finish
