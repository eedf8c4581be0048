#!/usr/bin/env bash
# Every verb, and every option, that a message, a help text, a script or a document tells the user to type is there.
. "$SOURCE/tests/common.sh"

declare -A help # of a verb, or of "verb word"
help_of() { # VERB [WORD] -> $text; empty: there is none
    local key="$*"
    [ -n "${help[$key]+is}" ] || help[$key]=$("$KMASK" "$@" --help 2>/dev/null) || help[$key]=
    text=${help[$key]}
}

# Commands, a line each: "kmask VERB ...", as they stand in text between backticks, after "see" and "next:", and in indented lines.
commands() {
    grep -oE '`(mpirun [^`]*)?kmask [a-z]+[^`]*' | sed -E 's/^`(mpirun [^`]*)?kmask/kmask/'
}
indented() { grep -oE '^(    |  |\$ )(mpirun -n [0-9]+ )?kmask [a-z]+ .*' | sed -E 's/^[^k]*(mpirun[^k]*)?kmask/kmask/'; }
told() { grep -oE '([Ss]ee|next:) kmask [a-z]+[^)]*' | sed -E 's/^[^ ]* kmask/kmask/'; }

tr -c '[:print:]' '\n' <"$KMASK" | grep -a kmask >strings.txt
commands <strings.txt >hints.txt
told <strings.txt >>hints.txt
indented <strings.txt >>hints.txt
cat "$SOURCE"/README.md "$SOURCE"/{src,jobs,tests,tools,.github}/*.md >documents.txt
commands <documents.txt >>hints.txt
indented <documents.txt >>hints.txt
sed -nE 's/^#  +(.*kmask [a-z]+ .*)/    \1/p' "$SOURCE"/{jobs,tools}/*.{sh,sbatch,py} 2>/dev/null | indented >>hints.txt
# A verb that a message fills in: the one of the config's schema, and the one that wrote a document.
grep -rhoE '\.verb = "[a-z ]+"' "$SOURCE/src" | sed -E 's/.*"([a-z ]+)"/kmask \1 --help/' >>hints.txt

sort -u hints.txt >all.txt
while IFS= read -r hint; do
    read -r _ verb word _ <<<"$hint"
    help_of "$verb"
    [ -n "$text" ] || { fail "there is no verb $verb: '$hint'"; continue; }
    if [[ $verb = tokenizer || $verb = corpus || $verb = policy ]] && [[ $word =~ ^[a-z]+$ ]] && ! grep -q "kmask $verb $word" <<<"$text"; then
        fail "there is no $verb $word: '$hint'"
    fi
    for option in $(sed -E 's/[|;].*//' <<<"$hint" | grep -oE -- ' --[a-z-]+' | sort -u); do
        [ "$option" = --help ] || grep -qE -- "$option([^a-z-]|\$)" <<<"$text" || fail "kmask $verb has no $option: '$hint'"
    done
done <all.txt
[ "$(wc -l <all.txt)" -ge 60 ] || fail "only $(wc -l <all.txt) hints were found"
for verb in fill inspect eval report tokenizer corpus; do
    grep -q "^kmask $verb" all.txt || fail "no hint at $verb was found"
done
finish
