#!/usr/bin/env bash
# quickstart.sh [--out DIR] [TEXT...]: from nothing to a model that fills in blanks, in a few minutes on two cores.
# Installs what is missing, builds kmask, learns a vocabulary from the text files (Debian's manual pages when none
# are given), trains a small BERT on two ranks, is interrupted and resumes, evaluates, fills blanks, draws a report.
# All output goes to DIR (./quickstart); what it says it checks, and it fails with a sentence when that is not so.
set -euo pipefail
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

out=$PWD/quickstart
if [ "${1:-}" = --out ]; then
    [ $# -ge 2 ] || { echo "quickstart.sh: --out needs a folder" >&2; exit 2; }
    out=$2
    shift 2
fi
texts=()
for text; do
    [ -r "$text" ] || { echo "quickstart.sh: $text: no such text file" >&2; exit 2; }
    texts+=("$(realpath "$text")")
done

own_text=false
[ ${#texts[@]} -eq 0 ] || own_text=true

fail() { echo "quickstart.sh: $*" >&2; exit 1; }
say() { printf '\n== %s\n' "$*"; }
run() { # shows a command as it can be typed, then runs it
    local word line='$'
    for word; do
        case $word in *[!A-Za-z0-9_./=-]*) word="'$word'" ;; esac
        line+=" $word"
    done
    echo "$line"
    "$@"
}

job=
stop_job() {
    [ -z "$job" ] || { kill "$job" 2>/dev/null && wait "$job" 2>/dev/null; } || true
}
trap stop_job EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Also as root (containers), on fewer than two cores, and beside other programs.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_mpi_yield_when_idle=1

# watch LOG COMMAND...: runs a command whose output goes to LOG, and says every ten seconds how far it is: its last line.
watch() {
    local log=$1 status=0 ticks=0
    shift
    "$@" >>"$log" 2>&1 &
    job=$!
    while kill -0 "$job" 2>/dev/null; do
        sleep 0.5
        ticks=$((ticks + 1))
        [ $((ticks % 20)) -ne 0 ] || printf '   %4d s  %.100s\n' $((ticks / 2)) "$(tail -n 1 "$log" | tr -d '\r')"
    done
    wait "$job" || status=$?
    job=
    return $status
}

# ---- The folder: only one that this script made is emptied.
if [ -e "$out" ] && [ ! -e "$out/.made-by-quickstart" ] && [ -n "$(ls -A "$out")" ]; then
    fail "$out: not empty, and not made by this script. Name another folder with --out."
fi
mkdir -p "$out"
out=$(cd "$out" && pwd)
touch "$out/.made-by-quickstart"
echo '*' >"$out/.gitignore"
rm -rf "$out"/{install.log,run,tokenizer,pages,text,corpus.h5,corpus.holdout.h5,config.json,report.html,eval.json,fill}

say "Installing what is missing"
needs=(--verbose)
$own_text || needs+=(--quickstart)
: >"$out/install.log"
watch "$out/install.log" bash "$project/tools/install.sh" "${needs[@]}" ||
    { tail -n 5 "$out/install.log" >&2; fail "not everything could be installed; $out/install.log has all of it"; }
grep '^Installing ' "$out/install.log" || tail -n 1 "$out/install.log"

say "Building"
generator=()
command -v ninja >/dev/null && [ ! -e "$project/build/release/CMakeCache.txt" ] && generator=(-G Ninja)
options=()
[ -e "$project/build/release/CMakeCache.txt" ] || options=(-DKMASK_TESTS=OFF)
(cd "$project" && cmake --preset release "${generator[@]}" "${options[@]}" >"$out/build.log" 2>&1) &&
    watch "$out/build.log" cmake --build "$project/build/release" --target kmask -j "$(nproc)" ||
    { tail -n 30 "$out/build.log" >&2; fail "the build failed; $out/build.log has all of it"; }
export PATH=$project/build/release:$PATH
cd "$out"

# ---- Text: a page is a document, a paragraph is a line, a blank line ends the document.
render() { # FILE...: to standard output; every ten seconds says how far it is
    local page done=0 next=$((SECONDS + 10))
    for page; do
        done=$((done + 1))
        [ "$SECONDS" -lt "$next" ] || { printf '   %d of %d pages\n' "$done" $# >&2 && next=$((SECONDS + 10)); }
        # Pages that only name another one are left out.
        [ -L "$page" ] && continue
        gzip -dc "$page" | head -c 4 | grep -q '^\.so ' && continue
        # Overstrikes (bold), margins, rules of tables, the head line and the foot line are taken away.
        mandoc -T ascii -O width=1000 < <(gzip -dc "$page") 2>/dev/null |
            LC_ALL=C sed -e 's/.\x08//g' -e 's/\([-=_.*]\)\1\1\1\1*/ /g' -e 's/  */ /g' -e 's/^ *//' |
            awk '/[A-Za-z0-9]/ { if (n++ > 1) print last; last = $0 } END { print "" }' || true
    done
}
if ! $own_text; then
    say "Rendering Debian's manual pages as text"
    list() { dpkg-query -L manpages manpages-dev; }
    if [ ! -e /usr/share/man/man2/open.2.gz ] || [ ! -e /usr/share/man/man3/printf.3.gz ]; then
        # Containers leave manual pages out when packages are installed: unpack them here.
        mkdir -p pages
        fetch() { (cd pages && apt-get -q download manpages manpages-dev >apt.log 2>&1); }
        update() { if [ "$(id -u)" = 0 ]; then apt-get -q update; else sudo -n apt-get -q update; fi; }
        fetch || { update >pages/update.log 2>&1 && fetch; } || {
            tail -n 3 pages/apt.log >&2
            fail "Debian's manual pages could not be fetched. Give text files of your own: tools/quickstart.sh TEXT..."
        }
        for package in pages/*.deb; do dpkg-deb -x "$package" pages; done
        list() { find pages/usr/share/man -type f; }
    fi
    mapfile -t files < <(list | grep -E '/man/man[2-8]/[^/]*\.gz$' | LC_ALL=C sort)
    render "${files[@]}" >text
    texts=("$out/text")
fi
bytes=$(cat "${texts[@]}" | wc -c)
[ "$bytes" -ge 1000000 ] || fail "only $bytes bytes of text; a model needs a million or more to learn from"
echo "$bytes bytes of text"

say "Learning a vocabulary of 2,000 pieces"
run kmask tokenizer train --type wordpiece --vocab-size 2000 --out tokenizer "${texts[@]}"

say "Building the corpus, on two ranks; one document in fifty is held out"
run mpirun -n 2 kmask corpus build --tokenizer tokenizer --holdout 0.02 --out corpus.h5 "${texts[@]}"

say "Pre-training on two ranks, until it is interrupted"
sed "s#quickstart/##g" "$project/jobs/quickstart.json" >config.json
steps=$(sed -nE 's/.*"steps": *([0-9]+).*/\1/p' config.json)
last_step() { sed -nE '$s/.*"step":[[:space:]]*([0-9]+).*/\1/p' run/metrics.jsonl 2>/dev/null || true; }
echo '$ mpirun -n 2 kmask pretrain config.json'
mpirun -n 2 kmask pretrain config.json &
job=$!
until [ "$(last_step)0" -ge $((steps / 3))0 ]; do
    kill -0 "$job" 2>/dev/null || { wait "$job" || status=$?; job=; fail "pretrain ended too early, with status ${status:-0}"; }
    sleep 0.2
done
echo "Interrupting it: mpirun passes SIGUSR1 on to its ranks."
kill -USR1 "$job"
status=0
wait "$job" || status=$?
job=
[ $status = 75 ] || fail "interrupted, pretrain ended with status $status instead of 75 (stopped early, saved)"
stopped=$(last_step)
[ "$stopped" -lt "$steps" ] || fail "pretrain was to be interrupted before its last step"
echo "Status 75: stopped at step $stopped of $steps with a checkpoint saved. (mpirun calls that an aborted job; nothing is lost.)"
echo "The same command goes on:"
run mpirun -n 2 kmask pretrain config.json
[ "$(last_step)" = "$steps" ] || fail "metrics.jsonl ends at step $(last_step) instead of $steps"
[ "$(sed -nE 's/.*"step":[[:space:]]*([0-9]+).*/\1/p' run/metrics.jsonl | uniq -d | wc -l)" = 0 ] ||
    fail "metrics.jsonl has steps twice"

say "The held-out text, every token masked once"
model=run/checkpoints/step-$(printf %08d "$steps").h5
run kmask eval "$model" --corpus corpus.holdout.h5 --json | tee eval.json
number() { sed -nE "s/.*\"$1\":[[:space:]]*([-+.0-9eE]+).*/\1/p" eval.json | head -n 1; }
loss=$(number loss)
entropy=$(number unigram_entropy)
echo "Loss $loss nats a token; guessing by frequency alone would cost $entropy."
if ! awk -v loss="$loss" -v entropy="$entropy" 'BEGIN { exit !(loss > 0 && entropy - loss >= 1) }'; then
    $own_text || fail "held-out loss $loss is not a nat below the $entropy nats of guessing by frequency"
    echo "That is little for $steps steps. The README's tour trains longer on the same text, and learns more of it."
fi

say "Filling in blanks"
hits=0
blank() { # blank WORD TEXT: WORD is to be among the likeliest fillers
    run kmask fill "$model" "$2" | tee fill
    if grep -qw -- "$1" <(tail -n +2 fill); then hits=$((hits + 1)); fi
}
if $own_text; then # the fifth word of some lines that look like sentences of 8 to 10 words; one of many rare words may not fit into a row
    lines=$(cat "${texts[@]}" | LC_ALL=C grep -E '^[^[:punct:] ][^][ ]*( [^][ ]+){6,8} [^][ ]*[.]$' |
        LC_ALL=C awk '$5 !~ /[[:punct:][:digit:]]/ && n++ % 50 == 0' | tail -n 3) || true
    while read -ra words && [ ${#words[@]} -gt 5 ]; do
        echo "(there stands: ${words[4]})"
        blank "${words[4]}" "${words[*]:0:4} [MASK] ${words[*]:5}" || true
    done <<<"$lines"
else
    blank returned 'On success, zero is [MASK].'
    blank terms 'For an explanation of the [MASK] used in this section, see attributes(7).'
    blank see 'For an explanation of the terms used in this section, [MASK] attributes(7).'
    [ $hits -ge 2 ] || fail "only $hits of 3 blanks have the manual pages' word among the likeliest"
fi

say "Drawing the report"
run kmask report run --out report.html
[ -s report.html ] || fail "report.html is empty"
printf '\nDone. %s/report.html shows the run; the model is %s\n' "$out" "$out/$model"
printf 'To use kmask in this shell:  export PATH=%q:$PATH\n' "$project/build/release"
