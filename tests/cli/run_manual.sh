#!/usr/bin/env bash
# The man pages: each verb and each key is in them, formatters have nothing to say against them, and the build has made them.
. "$SOURCE/tests/common.sh"

pages="kmask kmask-config"
for page in $pages; do
    "$KMASK" manual "$page" --date 2020-02-29 --out "$page.man" >out.txt 2>err.txt || fail "manual $page: $(cat err.txt)"
    [ -s out.txt ] && fail "manual $page --out prints to standard output"
    "$KMASK" manual "$page" --date 2020-02-29 | cmp -s - "$page.man" || fail "$page: --out and standard output differ"
    grep -q '2020-02-29' "$page.man" || fail "$page has no date"
    if command -v mandoc >/dev/null; then
        mandoc -T lint -W warning "$page.man" >lint.txt || fail "mandoc finds in $page: $(head -3 lint.txt)"
        mandoc "$page.man" | col -b >"$page.txt" 2>/dev/null || mandoc "$page.man" >"$page.txt"
    fi
    if command -v man >/dev/null && man --help 2>&1 | grep -q -- --warnings; then
        LC_ALL=C.UTF-8 MANROFFSEQ='' man --warnings -E UTF-8 -l -Tutf8 -Z "$page.man" >/dev/null 2>lint.txt ||
            fail "man: $(cat lint.txt)"
        [ -s lint.txt ] && fail "man finds in $page: $(head -3 lint.txt)"
    fi
done

"$KMASK" --help | sed -nE '/^From text/q; s/^  ([a-z]+) .*/\1/p' | grep -vx kmask >verbs.txt
[ "$(wc -l <verbs.txt)" -ge 15 ] || fail "only these verbs: $(cat verbs.txt)"
while read -r verb; do
    grep -q "^\.SS kmask $verb\$" kmask.man || fail "kmask(1) lacks $verb"
done <verbs.txt
keys() { # of a verb, from its help: section.name
    "$KMASK" "$1" --help | sed -n '/^Keys:/,$p' | awk '/^[a-z]+$/ {section = $1} section != "" && /^  [* ] [a-z]/ {print section "." $(/^  \*/ ? 2 : 1)}'
}
for verb in pretrain variance; do
    keys $verb >keys.txt
    [ "$(wc -l <keys.txt)" -ge 50 ] || fail "$verb --help has only these keys: $(cat keys.txt)"
    while read -r key; do
        [ "$(grep -c "^\.BR $key " kmask-config.man)" -eq 1 ] || fail "kmask-config(5) has not one item for $key"
    done <keys.txt
done
keys pretrain | grep -q '^variance\.' && fail "pretrain --help explains keys of variance"
keys variance | grep -q '^variance\.rows$' || fail "variance --help does not explain variance.rows"
sed -n '/^\.SS variance/,/^\.SS/p' kmask-config.man | grep -q '^Read by variance\.$' || fail "who reads variance?"
sed -n '/^\.SS mask/,/^\.SS/p' kmask-config.man | grep -q '^Read by .*pretrain.*variance' || fail "who reads mask?"
grep -q '\\-\\-set' kmask.man || fail "hyphens of options are not those that a shell reads"

build=$(dirname "$KMASK")
for page in kmask.1 kmask-config.5; do
    [ -s "$build/man/$page" ] || fail "the build has made no man/$page"
done
expect 2 "kmask manual --help" "$KMASK" manual
expect 2 "kmask manual --help" "$KMASK" manual nothing
finish
