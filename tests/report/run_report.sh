#!/usr/bin/env bash
# kmask report: the page holds the runs' figures, is one file that loads nothing, and bad input is a sentence.
source "$SOURCE/tests/common.sh"

# metrics FOLDER LINES LOSS: a log as pretrain writes it, with an evaluation at the start and at the end.
metrics() {
    mkdir -p "$1"
    awk -v n="$2" -v loss="$3" 'BEGIN {
        print "{\"step\":0,\"eval_loss\":9.25,\"eval_accuracy\":0}"
        for (s = 1; s <= n; s++) {
            end = s == n ? ",\"eval_loss\":" loss - 1 ",\"eval_accuracy\":0.5,\"weights_hash\":\"00112233445566778899aabbccddeeff\"" : ""
            printf "{\"step\":%d,\"epoch\":0.5,\"loss\":%.4f,\"lr\":0.001,\"grad_norm\":1.5,\"tokens\":%d,\"masked\":7," \
                "\"tokens_per_s\":%d,\"gflops\":2,\"seconds\":0.5,\"comm_seconds\":0.125%s}\n", s, loss, s * 64, s, end
        }
    }' >"$1/metrics.jsonl"
}
# data PAGE: the JSON that the page draws from.
data() { sed -n '/^<script type="application\/json" id="runs">/,/<\/script>/p' "$1"; }
holds() { data "$1" | grep -qF -- "$2" || fail "$1 lacks $2"; }

metrics first 5 3.5
metrics other/second 9 4.25
echo '{"run":{"dir":"first"},"mask":{"policy":"fully_explored","splits":4},"note":"</script><b>"}' >first/config.json
echo '{"run":{"dir":"second"},"mask":{"policy":"random","splits":2}}' >other/second/config.json

# What a run says of its starts is on the page; older runs say nothing.
printf '%s\n' '{"started":"2026-01-02T03:04:05Z","step":0,"host":"node7","ranks":2}' '{"ended":"2026-01-02T03:05:05Z","step":5,"status":0}' '{"torn' >first/starts.jsonl
expect 0 "page.html: 2 folders on one page" "$KMASK" report first other/second/ --out page.html
holds page.html '"name":"first"'
holds page.html '"name":"second"'
holds page.html '"step":[1,2,3,4,5]'
holds page.html '"loss":[3.5,3.5,3.5,3.5,3.5]'
holds page.html '"comm_share":[0.25,0.25,0.25,0.25,0.25]'
holds page.html '"seconds":[0.5,1,1.5,2,2.5]'
holds page.html '"eval_loss":[9.25,2.5]'
holds page.html '"best_eval_loss":3.25'
holds page.html '"tokens_per_s":3,' # the median
holds page.html '"weights_hash":"00112233445566778899aabbccddeeff"'
holds page.html '"splits":4'
holds page.html '"host":"node7"'
holds page.html '"starts":[]'
holds page.html '"unigram_entropy":[null,null]'
[ ! -e page.html.tmp ] || fail "a temporary file is left"

# One file that loads nothing, and no text of a config ends the script.
sed 's|http://www.w3.org/2000/svg||' page.html | grep -qE 'https?:|src=|@import|url\((\x27|")?[^#)]' && fail "the page loads something"
[ "$(grep -o '</script>' page.html | wc -l)" -eq 8 ] || fail "a text ends the script"
holds page.html '\u003c/script>'
grep -qE '@(RUNS|VARIANCES|VARIANCE_SCRIPT|MASKS|MASKS_SCRIPT|SCORES|SCORE_SCRIPT)@' page.html && fail "the marker is still there"

# The same input gives the same page.
"$KMASK" report first other/second/ --out again.html 2>/dev/null
cmp -s page.html again.html || fail "two pages of the same runs differ"

# Torn, foreign and overlong lines are left out with a warning.
cp -r first torn
{ echo 'not json'; head -c 100000 /dev/zero | tr '\0' x; echo; printf '\0\n[1]\n{"loss":1}\n{"step":6,"lo'; } >>torn/metrics.jsonl
expect 0 "6 of 12 lines cannot be read and are left out, the first is line 7" "$KMASK" report torn --out torn.html
holds torn.html '"step":[1,2,3,4,5]'
rm torn/config.json
expect 0 "the page does without it" "$KMASK" report torn --out torn.html

# Steps without a line are told; lines that stand for several steps are no hole.
metrics holes 20 2
sed -i -E '/"step":(5|6|7),/d; s/"tokens_per_s":[0-9]+/"tokens_per_s":128/' holes/metrics.jsonl
expect 0 "3 step(s) have no line, the first is step 5" "$KMASK" report holes --out holes.html
holds holes.html '"missing_steps":3'
metrics all 20 2
mkdir sums && awk -F '[:,]' '$2 % 4 == 0' all/metrics.jsonl | sed -E 's/"tokens_per_s":[0-9]+/"tokens_per_s":256/; s/"seconds":0.5/"seconds":1/' >sums/metrics.jsonl
"$KMASK" report sums --out sums.html 2>err.txt
grep -q 'have no line' err.txt && fail "lines of several steps are taken for holes: $(cat err.txt)"

# Long logs are thinned: all is counted, few points are drawn.
metrics long 20000 2
expect 0 "long.html: 1 folder" "$KMASK" report long --out long.html
holds long.html '"lines":20001'
holds long.html '"width":8'
[ "$(data long.html | grep -o '"lr":\[[^]]*' | tr ',' '\n' | wc -l)" -eq 2500 ] || fail "not thinned to 2500 points"

# Two runs of one name go by their paths.
cp -r first other/first
"$KMASK" report first other/first --out same.html 2>/dev/null
holds same.html '"name":"other/first"'

# What `kmask variance` measured, beside runs or alone; the folder, the run folder, or the file itself.
mkdir -p measured/variance
cat >measured/variance/variance.json <<'END'
{"sequences": 2, "estimates": [{"model": "</script>", "policy": "random", "unit": "word", "splits": 2, "var": 1.5}],
 "ratios": [{"model": "</script>", "unit": "word", "splits": 2, "ratio": 0.75, "ratio_low": 0.5, "ratio_high": 1}],
 "distance": [{"model": "</script>", "h": 0, "cov": 2, "cov_low": 1, "cov_high": 3, "pairs": 9}], "histograms": []}
END
variances() { sed -n '/^<script type="application\/json" id="variance-data">/,/<\/script>/p' "$1"; }
for source in measured measured/variance measured/variance/variance.json; do
    expect 0 "v.html: 2 folders" "$KMASK" report first "$source" --out v.html
    variances v.html | grep -qE '"ratio":[[:space:]]*0.75' || fail "$source: the ratio is not on the page"
    [ "$(grep -o '</script>' v.html | wc -l)" -eq 8 ] || fail "$source: a text ends the script"
done
expect 0 "v.html: 1 folder" "$KMASK" report measured --out v.html
mkdir -p counted/masks
cat >counted/masks/masks.json <<'END'
{"corpora": [{"path": "c.h5", "tokens": 9, "tags": {"</script>": 1}, "untagged": 0, "pieces": ["a"]}],
 "policies": [{"name": "random", "corpus": 0, "tags": {"</script>": 1}, "untagged": 0, "ranks": [[1, 1, 0.625]]}]}
END
expect 0 "m.html: 1 folder" "$KMASK" report counted --out m.html
sed -n '/id="masks-data">/,/<\/script>/p' m.html | grep -q '0.625' || fail "what policies hide is not on the page"
[ "$(grep -o '</script>' m.html | wc -l)" -eq 8 ] || fail "a tag ends the script"
echo '{"estimates": []}' >half.json
expect 1 "half.json: found no estimates" "$KMASK" report half.json --out x.html
echo '{"estimates": [' >cut.json
expect 1 "cut.json" "$KMASK" report cut.json --out x.html

# What `kmask finetune` found: the folder or its results.json, beside runs or alone.
mkdir -p tuned
cat >tuned/results.json <<'END'
{"task": "</script>", "metric": "accuracy", "inits": [{"init": "first/snapshots/step-00000004.h5", "step": 4, "policy": "random", "unit": "span", "splits": 2}],
 "runs": [{"init": "first/snapshots/step-00000004.h5", "seed": 1, "lr": 0.1, "batch": 8, "dev": {"accuracy": 0.625}}],
 "chosen": {}, "chosen_by_init": [{"init": "first/snapshots/step-00000004.h5", "lr": 0.1, "batch": 8, "dev": {"accuracy": {"mean": 0.625}}}]}
END
scores() { sed -n '/^<script type="application\/json" id="score-data">/,/<\/script>/p' "$1"; }
for source in tuned tuned/results.json; do
    expect 0 "s.html: 2 folders" "$KMASK" report first "$source" --out s.html
    scores s.html | grep -qE '"accuracy":[[:space:]]*0.625' || fail "$source: the score is not on the page"
    scores s.html | grep -qE '"splits":[[:space:]]*2' || fail "$source: K is not on the page"
    [ "$(grep -o '</script>' s.html | wc -l)" -eq 8 ] || fail "$source: a text ends the script"
done
expect 0 "s.html: 1 folder" "$KMASK" report tuned --out s.html
mkdir -p half && echo '{"metric": "f1"}' >half/results.json
expect 1 "half/results.json: found no runs" "$KMASK" report half --out x.html

# Bad input.
expect 2 "at least one run folder" "$KMASK" report --out x.html
expect 2 "needs --out" "$KMASK" report first
expect 1 "absent: cannot open" "$KMASK" report absent --out x.html
expect 1 "page.html" "$KMASK" report page.html --out x.html
mkdir none empty
: >empty/metrics.jsonl
expect 1 "none/metrics.jsonl: cannot open" "$KMASK" report none --out x.html
expect 1 "no line of a step" "$KMASK" report first empty --out x.html
[ ! -e x.html ] || fail "bad input left a page"
expect 1 "absent/x.html" "$KMASK" report first --out absent/x.html
expect 1 "none" "$KMASK" report first --out none
# Pipes, devices and files that never end are named, also in place of a run's files; a log may grow while it is read.
mkfifo pipe
expect 1 "pipe: found a named pipe, expected a run folder or a file" timeout 10 "$KMASK" report pipe --out odd.html
expect 1 "/dev/zero: found a device, expected a run folder or a file" timeout 10 "$KMASK" report /dev/zero --out odd.html
for name in metrics.jsonl starts.jsonl config.json; do
    rm -rf odd
    cp -r first odd
    rm -f "odd/$name"
    mkfifo "odd/$name"
    expect 1 "odd/$name: found a named pipe, expected a file" timeout 10 "$KMASK" report odd --out odd.html
    rm "odd/$name"
    ln -s /dev/zero "odd/$name"
    expect 1 "odd/$name: found a device, expected a file" timeout 10 "$KMASK" report odd --out odd.html
done
rm -rf odd
cp -r first odd
mkfifo odd/variance.json
expect 1 "variance.json: found a named pipe" timeout 10 "$KMASK" report odd --out odd.html
rm -rf odd
cp -r first odd
truncate -s 1T odd/metrics.jsonl
expect 1 "odd/metrics.jsonl: line 7 has more than 16 MiB, expected the log of a run" timeout 60 "$KMASK" report odd --out odd.html
[ -e odd.html ] && fail "a page of what is no run"
rm -rf odd
cp -r first odd
while sed 1d first/metrics.jsonl; do :; done >>odd/metrics.jsonl 2>/dev/null &
writer=$!
expect 0 "odd.html: 1 folder on one page" timeout 60 "$KMASK" report odd --out odd.html
kill "$writer"

finish
