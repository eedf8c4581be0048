#!/usr/bin/env bash
# floors.sh PROJECT: a file includes headers of lower floors only; each third-party library is seen by one folder.
set -u
cd "$1" || exit 1
declare -A floor=([base]=0 [text]=1 [store]=1 [kernel]=1 [comm]=1 [data]=2 [model]=2 [train]=3 [cli]=4)
bad=0
complain() { echo "$1"; bad=1; }

for file in src/*/*.[ch] include/kmask/*.h; do
    case $file in
        src/*) folder=$(basename "$(dirname "$file")") ;;
        *) folder=$(basename "$file" .h) ;;
    esac
    [ "$folder" = batch ] && continue
    mine=${floor[$folder]:-}
    [ -n "$mine" ] || { complain "$file: a folder without a floor"; continue; }
    while read -r header; do
        [ "$header" = batch ] && continue
        theirs=${floor[$header]:-}
        if [ -z "$theirs" ]; then complain "$file includes kmask/$header.h, which is no floor's"; continue; fi
        [ "$header" = "$folder" ] || [ "$theirs" -lt "$mine" ] ||
            complain "$file (floor $mine) includes kmask/$header.h (floor $theirs)"
    done < <(sed -nE 's/^#include "kmask\/([a-z_]+)\.h".*/\1/p' "$file")
    # A private header is included by its own folder only.
    while read -r header; do
        [ -e "$(dirname "$file")/$header" ] || [[ $header = report_*.h ]] ||
            complain "$file includes $header, which is not in its folder"
    done < <(sed -nE 's/^#include "([^"]*)".*/\1/p' "$file" | grep -v '^kmask/')
done

only() { # only HEADER FOLDER
    local found
    found=$(grep -lE "#include [<\"]$1" -r src include | grep -v "^src/$2/")
    [ -z "$found" ] || complain "$1 belongs to src/$2 alone, not to: $found"
}
only 'mpi\.h' comm
only 'hdf5\.h' store
only 'cblas\.h' kernel
only '(oneapi/dnnl/)?dnnl' kernel
only 'cjson/' base
only 'utf8proc\.h' text
only 'unicode/' text
only 'xxhash\.h' base
only 'zlib\.h' data
exit $bad
