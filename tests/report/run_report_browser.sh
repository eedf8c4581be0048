#!/usr/bin/env bash
# kmask report in a real browser: hostile names in every place of a page stay text, and the page's policy stops none of its own scripts.
source "$SOURCE/tests/common.sh"

browser=
for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null && browser=$name && break
done
[ -n "$browser" ] || { echo "skipped: no chromium here"; exit 77; }
# dom PAGE: what the browser made of it, with the page's complaints in browser.log.
dom() {
    HOME=$WORK timeout 60 "$browser" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --user-data-dir="$WORK/profile" \
        --enable-logging=stderr --v=0 --virtual-time-budget=3000 --dump-dom "file://$WORK/$1" 2>browser.log
}
echo '<p id="works">yes</p>' >probe.html
dom probe.html | grep -q works || { echo "skipped: $browser does not start here ($(tail -n 1 browser.log))"; exit 77; }

bad="<img src=x onerror=document.title='broken'>"
json_bad="<img src=x onerror=\\\"document.title='broken'\\\">\\u003cscript>document.title='broken'</script>"
# log FOLDER LOSS: three steps, an evaluation, and a hostile hash.
log() {
    mkdir -p "$1"
    for step in 1 2 3; do
        echo "{\"step\":$step,\"loss\":$2.$step,\"lr\":0.1,\"grad_norm\":1,\"tokens\":$((step * 64)),\"masked\":7,\"tokens_per_s\":9,\"seconds\":1,\"comm_seconds\":0.1,\"eval_loss\":2.5,\"eval_accuracy\":0.5,\"unigram_entropy\":2.75,\"weights_hash\":\"<img src=x>\"}"
    done >"$1/metrics.jsonl"
    printf '%s\n' "{\"started\":\"$json_bad\",\"step\":2,\"host\":\"$json_bad\",\"cpu\":\"$json_bad\",\"ranks\":2,\"threads\":1,\"corpus\":\"$json_bad\",\"tokenizer_hash\":\"${1%/*}\"}" \
        "{\"ended\":\"$json_bad\",\"step\":3,\"status\":0}" torn >"$1/starts.jsonl"
}
for panel in "${bad}1" "${bad}2"; do # two panels, each with two seeds of one arm
    for seed in 1 2; do
        log "$panel/${bad}seed$seed" "$seed"
        cat >"$panel/${bad}seed$seed/config.json" <<END
{"run": {"seed": $seed, "dir": "$json_bad"}, "mask": {"splits": "$json_bad", "policy": "$json_bad", "unit": "$json_bad", "ratio": {"$json_bad": 1}},
 "$json_bad": {"$json_bad": "$json_bad"}, "train": {"sequences": "$json_bad", "steps": "$json_bad", "note": "$panel"}}
END
    done
done
mkdir -p "${bad}v" && cat >"${bad}v/variance.json" <<END
{"models": ["$json_bad", "b"], "estimates": [{"model": "$json_bad", "policy": "random", "unit": "$json_bad", "splits": 2, "var": 1.5}],
 "ratios": [{"model": "$json_bad", "unit": "$json_bad", "splits": 2, "ratio": 0.75, "ratio_low": 0.5, "ratio_high": 1}],
 "distance": [{"model": "$json_bad", "h": 0, "cov": 2, "cov_low": 1, "cov_high": 3, "pairs": "$json_bad"}],
 "histograms": [{"model": "$json_bad", "tensor": "$json_bad", "h": 1, "low": -1, "high": 1, "counts": [1, "$json_bad", 2]}]}
END
mkdir -p "${bad}f"
{
    echo "{\"task\": \"$json_bad\", \"metric\": \"$json_bad\", \"chosen\": {}, \"runs\": ["
    for init in 1 2 3; do
        for seed in 1 2; do
            [ $init$seed = 11 ] || echo ,
            echo "{\"init\": \"$json_bad/snapshots/step-0000000$init.h5\", \"seed\": $seed, \"lr\": 1, \"batch\": 8, \"dev\": {\"$json_bad\": 0.$init$seed}}"
        done
    done
    echo '], "inits": [ '
    for init in 1 2 3; do
        [ $init = 1 ] || echo ,
        echo "{\"init\": \"$json_bad/snapshots/step-0000000$init.h5\", \"step\": $init, \"policy\": \"$json_bad\", \"unit\": \"$json_bad\", \"splits\": $init}"
    done
    echo '], "chosen_by_init": ['
    for init in 1 2 3; do
        [ $init = 1 ] || echo ,
        echo "{\"init\": \"$json_bad/snapshots/step-0000000$init.h5\", \"lr\": 1, \"batch\": 8}"
    done
    echo ']}'
} >"${bad}f/results.json"
mkdir -p "${bad}m" && cat >"${bad}m/masks.json" <<END
{"corpora": [{"path": "$json_bad", "tokens": 9, "tags": {"$json_bad": 0.75, "b": 0.25}, "untagged": 0, "pieces": ["$json_bad", "b"]}],
 "policies": [{"name": "$json_bad", "corpus": 0, "rows": "$json_bad", "tags": {"$json_bad": 0.5, "b": 0.5}, "untagged": 0,
  "tag_intervals": {"$json_bad": ["$json_bad", 1]}, "ranks": [[1, 0.75, 0.5], [2, 0.25, 0.5]]}]}
END
expect 0 "7 folders on one page" "$KMASK" report "${bad}1"/* "${bad}2"/* "${bad}v" "${bad}f" "${bad}m" --out page.html
dom page.html >seen.html

grep -q '<title>kmask report</title>' seen.html || fail "a name ran as a script"
body=$(sed -e 's/<script.*<\/script>//' -e '/<script/,/<\/script>/d' seen.html)
grep -q '<img' <<<"$body" && fail "a name became an element: $(grep -o '.\{60\}<img.\{40\}' <<<"$body" | head -n 1)"
grep -q '&lt;img src=x onerror' <<<"$body" || fail "the names are not on the page"
for part in 'id="charts"><div class="card chart' 'id="finals"><table>' 'id="configs"><table>' 'id="arms"><h3>' \
    'id="variances"><div class="card chart' 'id="scores"><div class="card chart' 'against pre-training' 'id="score-table"><table>' '<select><option>' '<clipPath' 'id="masks"><div class="card chart' '<rect x=' 'stroke-width="1.8"' 'word frequencies alone 2.75' 'started again at step 2' 'id="places"><table>' 'different tokenizers' 'SVG</button>'; do
    grep -qF -- "$part" <<<"$body" || fail "not drawn: $part"
done
grep -iE 'content security|refused|trusted|uncaught' browser.log && fail "the browser complains of the page"

# The table of scores: the best is bold, and ~ marks what a paired t-test does not find worse. p is that of scipy.stats.ttest_rel.
mkdir -p table && awk 'BEGIN {
    split("best near worse", name, " ")
    split("0.5 0.6 0.7 0.8 0.45 0.62 0.66 0.71 0.4 0.5 0.58 0.7", score, " ")
    printf "{\"task\": \"t\", \"metric\": \"em\", \"chosen\": {}, \"runs\": ["
    for (i = 0; i < 12; i++)
        printf "%s{\"init\": \"%s.h5\", \"seed\": %d, \"lr\": 1, \"batch\": 8, \"test\": {\"em\": %s}}", i ? ", " : "", name[int(i / 4) + 1], i % 4, score[i + 1]
    printf "], \"chosen_by_init\": ["
    for (i = 1; i <= 3; i++) printf "%s{\"init\": \"%s.h5\", \"lr\": 1, \"batch\": 8, \"test\": {\"em\": {\"mean\": 1}}}", (i > 1 ? ", " : ""), name[i]
    print "]}" }' >table/results.json
expect 0 "1 folder on one page" "$KMASK" report table --out table.html
dom table.html | grep -o 'id="score-table">.*' | sed 's/<[^>]*>/ /g' | tr -s ' ' >cells.txt
for cell in 'best.h5 0 – – – 0.6500 ± 0.1291 n 4' 'near.h5 0 – – – 0.6100 ± 0.1128 ~ n 4, p 0.18' 'worse.h5 0 – – – 0.5450 ± 0.1269 n 4, p 0.00024'; do
    grep -qF -- "$cell" cells.txt || fail "no $cell in the table of scores: $(cat cells.txt)"
done
dom table.html | grep -q '<b>0.6500' || fail "the best of the table is not bold"

# Figures and data as files: the text that a click saves. The page's policy would stop this test's script, so it is taken out here.
sed -e '/http-equiv="Content-Security-Policy"/d' \
    -e 's|</body>|<script>document.title = [svgOf(active[0]).slice(0, 5), csvOf(active[0]).split("\\n").slice(0, 1)].join(" ");</script>&|' page.html >files.html
dom files.html | grep -qF '<title>&lt;svg  run,step,' || fail "no figure, or no data: $(dom files.html | grep -o '<title>.*</title>')"

# The policy is what stops a script that gets in all the same.
sed 's|<div class="charts" id="variances">|<script>document.title = "broken"</script><img src="x" onerror="document.title = 1">&|' page.html >forced.html
dom forced.html | grep -q '<title>kmask report</title>' || fail "the policy let a foreign script run"
finish
