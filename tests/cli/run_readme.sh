#!/usr/bin/env bash
# README.md is true: its tour's commands run as printed, in order, in an empty folder, on a small text; its tables name the keys that
# a run writes; links of all documents lead somewhere; documents name every script, folder and verb that is there. Only the tour's
# numbers of steps and of steps of warmup are made smaller.
. "$SOURCE/tests/common.sh"
readme=$SOURCE/README.md
STEPS=100

[ "$(wc -l <"$readme")" -le 200 ] || fail "README.md has more than 200 lines"

# The program and the text are where the tour expects them.
mkdir -p build/release first
ln -s "$KMASK" build/release/kmask
make_text >first/text.txt
if [ -n "${KMASK_MPIEXEC:-}" ]; then # another MPI than Open MPI (tests/launch.sh)
    printf '#!/bin/sh\nexec %s "$@"\n' "$KMASK_MPIEXEC" >build/release/mpirun
    chmod +x build/release/mpirun
fi
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_mpi_yield_when_idle=1
export OMPI_MCA_btl=self,vader,tcp OMPI_MCA_btl_tcp_if_include=lo OMPI_MCA_oob_tcp_if_include=lo

# What stands in ```sh between the tour's heading and the next one.
awk '/^## /{tour = /A first model of your own/} tour && /^```/{code = /^```sh/; next} tour && code' "$readme" >printed.sh
steps=$(sed -nE 's/.*"steps": *([0-9]+).*/\1/p' printed.sh)
[ -n "$steps" ] && [ "$steps" -gt $STEPS ] || fail "the tour has no config with more than $STEPS steps: '$steps'"
sed -E "s/(\"warmup\": *)[0-9]+/\110/; s/\"steps\": *$steps/\"steps\": $STEPS/; s/$(printf %08d "$steps")/$(printf %08d $STEPS)/g" printed.sh >tour.sh
for verb in tokenizer corpus plan pretrain eval fill inspect report export; do
    grep -qE "(^|mpirun -n 2 )kmask $verb " tour.sh || fail "the tour does not show kmask $verb"
done
{
    echo 'set -eE -o pipefail'
    echo 'trap '\''echo "status $? of: $BASH_COMMAND" >&2'\'' ERR'
    cat tour.sh
} >run.sh
bash run.sh >out.txt 2>err.txt || { fail "a command of README.md: $(tail -n 3 err.txt)"; finish; }
cd first || exit 1

# What the tour promises is there, and as the tables after it say.
line=$(tail -n 1 runs/first/metrics.jsonl)
[[ $line == "{\"step\":$STEPS,"* ]] || fail "metrics.jsonl ends with $line"
for key in $(grep -oE '"[a-z_]+":' <<<"$line" | tr -d '":'); do
    grep -qE "^\| .*\`$key\`.* \|" "$readme" || fail "README.md does not explain $key of metrics.jsonl"
    grep -qE "^    .*\"$key\":" "$readme" || fail "README.md's line of metrics.jsonl has no $key"
done
for key in $(grep -oE '"[a-z_]+":' <(grep -E '^    \{"step":' "$readme") | tr -d '":'); do
    grep -qF "\"$key\":" <<<"$line" || fail "metrics.jsonl has no $key, which README.md shows"
done
for key in $(grep -oE '"[a-z_]+":' runs/first/status.json | tr -d '":'); do
    grep -qE "^    .*\"$key\":" "$readme" || fail "README.md's status.json has no $key"
done
for file in config.json status.json metrics.jsonl checkpoints/step-"$(printf %08d $STEPS)".h5; do
    [ -s "runs/first/$file" ] || fail "no runs/first/$file"
done
compgen -G 'runs/first/rows-*.idx' >/dev/null || fail "no runs/first/rows-*.idx"
[ -s report.html ] || fail "no report.html"
[ -s my-model/model.safetensors ] && [ -s my-model/config.json ] || fail "no exported model"

# The commands outside of the tour name what is there: scripts, presets, files.
while read -r command; do
    read -ra words <<<"$command"
    case ${words[0]} in
        tools/*) [ -x "$SOURCE/${words[0]}" ] || fail "README.md runs ${words[0]}, which is not there" ;;
        cmake) grep -qF "\"${words[2]}\"" "$SOURCE/CMakePresets.json" || fail "README.md names the preset ${words[2]}, which is not there" ;;
        spack) [ -r "$SOURCE/${words[4]}" ] || fail "README.md names ${words[4]}, which is not there" ;;
    esac
done < <(sed -nE 's/^    ((tools\/|cmake --preset |spack env create).*)/\1/p' "$readme")

# Links between documents, and to the places in them.
anchors() { sed -nE 's/^#+ (.*)/\1/p' "$1" | tr 'A-Z ' 'a-z-' | tr -cd 'a-z0-9_\n-'; }
links=0
for document in "$SOURCE"/*.md "$SOURCE"/{src,tests,tools,jobs,.github}/*.md; do
    while read -r link; do
        links=$((links + 1))
        file=$(dirname "$document")/${link%%#*}
        [ "${link%%#*}" ] || file=$document
        [ -e "$file" ] || { fail "${document#"$SOURCE"/}: no $link"; continue; }
        [[ $link != *'#'* ]] || anchors "$file" | grep -qx -- "${link#*#}" || fail "${document#"$SOURCE"/}: no heading for $link"
    done < <(grep -oE '\]\([^)]*\)' "$document" | sed -E 's/^\]\((.*)\)$/\1/' | grep -vE '^(https?|mailto):')
done
# Lists of what is there.
named() { # DOCUMENT WHAT: a table or a sentence names it
    grep -qE "\`$2(\`|[ /])" "$SOURCE/$1" || fail "$1 does not name $2"
}
for script in "$SOURCE"/tools/*.{sh,py,c,png}; do named tools/README.md "$(basename "$script")"; done
for file in "$SOURCE"/jobs/*.{json,sbatch,def}; do named jobs/README.md "$(basename "$file")"; done
for folder in "$SOURCE"/src/*/; do named src/README.md "$(basename "$folder")"; done
for verb in $("$KMASK" --help | sed -nE '/^From text/q; s/^  ([a-z]+) .*/\1/p' | grep -vx kmask); do named src/README.md "$verb"; done
[ $links -ge 10 ] || fail "only $links links were found"
finish
