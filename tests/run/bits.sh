# bits.sh: sourced after tests/common.sh: runs of c.json whose bits are compared.

# train NAME RANKS [--set ...]: a fresh run; its hash is in $hash.
train() {
    local name=$1 ranks=$2
    shift 2
    rm -rf "$name"
    "$LAUNCH" "$ranks" "$KMASK" pretrain c.json --set "run.dir=$name" "$@" >log.txt 2>&1 ||
        fail "$name on $ranks ranks: $(tail -n 3 log.txt)"
    hash=$(last_hash "$name")
}

same() { # WHAT
    [ -n "$hash" ] && [ "$hash" = "$reference" ] || fail "$1: weights_hash $hash instead of $reference"
}
