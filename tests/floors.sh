#!/usr/bin/env bash
# floors.sh PROJECT: holds the folders of src against the allow-list in src/floors.cmake. A file includes public headers of the
# folders on its folder's line only, private headers of its own folder only; no includes go in a circle; a header's file does not
# come back to it through another file; each third-party library is seen by one folder; no folder is too large to be read; every file
# begins with a comment that says what it is.
set -u
cd "$1" || exit 1
most_lines=5000
bad=0
complain() { echo "$1"; bad=1; }

declare -A may
folders=$(sed -nE 's/^set\(KM_FOLDERS (.*)\)/\1/p' src/floors.cmake)
for folder in $folders; do
    may[$folder]=" $folder $(sed -nE "s/^set\(KM_MAY_INCLUDE_$folder ?(.*)\)/\1/p" src/floors.cmake) "
done
may[cli]=" $folders "
may[batch]=" "
[ -n "$folders" ] || complain "src/floors.cmake: no line 'set(KM_FOLDERS ...)'"

for file in src/*/*.[ch] include/kmask/*.h; do
    case $file in
        src/*) folder=$(basename "$(dirname "$file")") ;;
        *) folder=$(basename "$file" .h) ;;
    esac
    [ -n "${may[$folder]:-}" ] || { complain "$file: src/floors.cmake has no line for the folder $folder"; continue; }
    while read -r header; do
        [ "$header" = batch ] || [[ ${may[$folder]} == *" $header "* ]] ||
            complain "$file includes kmask/$header.h, which the line of $folder in src/floors.cmake does not name"
    done < <(sed -nE 's/^#include "kmask\/([a-z_]+)\.h".*/\1/p' "$file")
    while read -r header; do
        [ -e "$(dirname "$file")/$header" ] || [[ $header = report_*.h ]] ||
            complain "$file includes $header, which is not in its folder"
    done < <(sed -nE 's/^#include "([^"]*)".*/\1/p' "$file" | grep -v '^kmask/')
done

# Circles between files. A .c and the .h of its name are one file here; the folder's public header is not counted, because every
# file of a folder may define what it declares.
circles=$(
    for file in src/*/*.[ch]; do
        folder=$(dirname "$file")
        sed -nE 's/^#include "([^"]*)".*/\1/p' "$file" | grep -v '^kmask/' | while read -r header; do
            [ "${file%.*}" = "$folder/${header%.h}" ] || echo "${file%.*} $folder/${header%.h}"
        done
    done | sort -u | tsort 2>&1 >/dev/null | sed -nE 's/^tsort: (src.*)/\1/p'
)
[ -z "$circles" ] || complain "includes go in a circle: $(echo $circles)"

while read -r file; do
    [ "$(head -c 2 "$file")" = '/*' ] || complain "$file does not begin with a comment that says what the file is"
done < <(find src include -name '*.[ch]' | sort)

for folder in src/*/; do
    lines=$(cat "$folder"*.[ch] | wc -l)
    [ "$lines" -le $most_lines ] || complain "$folder has $lines lines, expected at most $most_lines: make two folders of it"
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
only 'pcre2\.h' text
only 'xxhash\.h' base
only 'sodium\.h' base
only 'zlib\.h' input
only 'archive' input
exit $bad
