#!/usr/bin/env bash
# The buttons of the report page in a real browser, pressed with the mouse and under the page's own policy: SVG saves the figure, CSV its
# numbers. The browser is driven through its DevTools protocol, whose messages go through two pipes and end with a zero byte.
source "$SOURCE/tests/common.sh"

browser=
for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null && browser=$name && break
done
[ -n "$browser" ] || { echo "skipped: no chromium here"; exit 77; }

for run in first second; do
    mkdir -p "$run"
    for step in 1 2 3 4; do
        echo "{\"step\":$step,\"loss\":$((5 - step)).5,\"lr\":0.1,\"grad_norm\":1,\"tokens\":$((step * 64)),\"masked\":7,\"tokens_per_s\":9,\"seconds\":1,\"comm_seconds\":0.1,\"eval_loss\":2.$step,\"eval_accuracy\":0.5,\"unigram_entropy\":6.75}"
    done >"$run/metrics.jsonl"
    echo "{\"run\": {\"seed\": 1, \"dir\": \"$run\"}}" >"$run/config.json" # of one seed: they are not averaged
done
expect 0 "2 folders on one page" "$KMASK" report first second --out page.html

# ---- The browser ----

mkdir saved
mkfifo to from
HOME=$WORK timeout 120 "$browser" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --user-data-dir="$WORK/profile" \
    --window-size=1200,900 --remote-debugging-pipe 3<to 4>from >browser.log 2>&1 &
chromium=$!
trap 'kill $chromium 2>/dev/null; wait $chromium 2>/dev/null' EXIT
exec 5>to 6<from

number=0
session=
# ask METHOD [PARAMETERS]: sends a message; $answer becomes the one that answers it, which events may come before.
ask() {
    number=$((number + 1))
    printf '{"id":%d,%s"method":"%s","params":%s}\0' $number "${session:+\"sessionId\":\"$session\",}" "$1" "${2:-{\}}" >&5
    answer=
    while IFS= read -r -d '' -t 60 answer <&6; do
        [[ $answer == "{\"id\":$number,"* ]] && break
    done
    [[ $answer == *'"result"'* ]]
}
value() { sed -nE "s/.*\"$1\":\"?([^\",}]*).*/\1/p" <<<"$answer"; } # of a key in the answer
ask Browser.getVersion || { echo "skipped: $browser does not start here ($(tail -n 1 browser.log))"; exit 77; }
echo "$(value product)"
ask Browser.setDownloadBehavior "{\"behavior\":\"allow\",\"downloadPath\":\"$WORK/saved\"}" || fail "downloads: $answer"
ask Target.createTarget "{\"url\":\"file://$WORK/page.html\"}" || fail "no page: $answer"
ask Target.attachToTarget "{\"targetId\":\"$(value targetId)\",\"flatten\":true}" || fail "no page: $answer"
session=$(value sessionId)

# press BUTTON CHART: moves the mouse onto the chart's button and clicks.
press() {
    local find="(() => { const box = [...document.querySelectorAll('.chart')].find(c => c.querySelector('h2').firstChild.data === '$2'),"
    find+=" button = [...box.querySelectorAll('button')].find(b => b.textContent === '$1'); button.scrollIntoView({ block: 'center' });"
    find+=" const place = button.getBoundingClientRect(); return place.x + place.width / 2 + ' ' + (place.y + place.height / 2); })()"
    local x y type
    for _ in $(seq 100); do # until the page is drawn
        ask Runtime.evaluate "{\"expression\":\"$find\"}" && [[ $answer == *'"type":"string"'* ]] && break
        sleep 0.1
    done
    read -r x y <<<"$(value value)"
    [ -n "$y" ] || { fail "the chart $2 has no button $1: $answer"; finish; }
    for type in mouseMoved mousePressed mouseReleased; do
        ask Input.dispatchMouseEvent "{\"type\":\"$type\",\"x\":$x,\"y\":$y,\"button\":\"left\",\"clickCount\":1}" || fail "$type: $answer"
    done
}
there() { [ -s "saved/$1" ] && ! compgen -G 'saved/*.crdownload' >/dev/null; }

press SVG Loss
within 60 there loss.svg || { fail "no figure was saved: $(ls saved)"; finish; }
press CSV Loss
within 60 there loss.csv || { fail "no numbers were saved: $(ls saved)"; finish; }

# ---- What was saved ----

head -c 4 saved/loss.svg | grep -q '<svg' && grep -q 'xmlns="http://www.w3.org/2000/svg"' saved/loss.svg &&
    grep -q '</svg>$' saved/loss.svg || fail "the figure: $(head -c 300 saved/loss.svg)"
grep -q 'var(--' saved/loss.svg && fail "the figure has colours that only the page knows: $(grep -o '.\{20\}var(--[a-z]*' saved/loss.svg | head -n 1)"
head -n 1 saved/loss.csv | grep -qx 'run,step,loss,eval_loss' || fail "the numbers' head: $(head -n 1 saved/loss.csv)"
for line in '"first",1,4.5,' '"second",4,1.5,' '"first",3,,2.3'; do
    grep -qxF -- "$line" saved/loss.csv || fail "the numbers have no line $line: $(cat saved/loss.csv)"
done

# The figure is one: the browser opens it and finds its curves.
session=
ask Target.createTarget "{\"url\":\"file://$WORK/saved/loss.svg\"}" || fail "the figure: $answer"
ask Target.attachToTarget "{\"targetId\":\"$(value targetId)\",\"flatten\":true}" || fail "the figure: $answer"
session=$(value sessionId)
drawn() {
    ask Runtime.evaluate '{"expression":"document.documentElement.tagName + document.querySelectorAll(\"path,polyline\").length + \" \" + document.readyState"}'
    value value | grep -qE '^svg[1-9][0-9]* complete$'
}
within 30 drawn || fail "the browser does not open the figure: $answer"
finish
