#!/usr/bin/env bash
# Files as a given build of kmask writes them, kept so that later programs are tested against them (tests/run/run_versions.sh):
#
#     tools/golden_versions.sh KMASK tests/run/golden/version1
#
# KMASK is the program whose files are to be kept; the set of version 1 was written by the build of commit 8b74937. What is made:
#
#     corpus.h5       nine words, 300 sentences
#     config.json     a run of 8 steps on it
#     checkpoint.h5   the run after 4 steps, with moments
#     machine.txt     what the program computed with
#     hash.txt        the hash of the weights that the program itself reaches after 8 steps
#     later.h5        corpus.h5 with a version of the format that no program knows, and checksums that fit
set -eu
kmask=$(realpath "$1")
mkdir -p "$2"
out=$(realpath "$2")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
unset OPENBLAS_CORETYPE

mkdir tok
printf '%s\n' '[PAD]' '[UNK]' '[CLS]' '[SEP]' '[MASK]' the a cat dog bird sees hears finds . >tok/vocab.txt
awk 'BEGIN {
    split("cat dog bird", noun); split("sees hears finds", verb); split("the a", article)
    for (i = 0; i < 300; i++) {
        n = (i * 7 + int(i / 5)) % 3 + 1; v = (i * 5 + int(i / 3)) % 3 + 1; o = (i + int(i / 9)) % 3 + 1
        print article[i % 2 + 1], noun[n], verb[v], article[int(i / 2) % 2 + 1], noun[o], "."
        if (i % 11 == 10) print ""
    }
}' >text.txt
"$kmask" corpus build --tokenizer tok --out corpus.h5 text.txt
cat >config.json <<'CONFIG'
{"run": {"dir": "run", "seed": 3},
 "model": {"type": "bert", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
           "intermediate_size": 16, "max_position_embeddings": 32, "initializer_range": 0.2},
 "data": {"train": "corpus.h5", "length": 24},
 "mask": {"splits": 2},
 "train": {"steps": 8, "sequences": 6, "micro_batch": 3},
 "optimizer": {"lr": 1e-2},
 "schedule": {"warmup": 2},
 "checkpoint": {"every": 4}}
CONFIG
"$kmask" pretrain config.json
cp corpus.h5 config.json "$out"
cp run/checkpoints/step-00000004.h5 "$out/checkpoint.h5"
"$kmask" inspect run/checkpoints/step-00000004.h5 | grep -E '^(computed|built) with' >"$out/machine.txt"
grep -o '"weights_hash":"[0-9a-f]*"' run/metrics.jsonl | tail -n 1 | cut -d'"' -f4 >"$out/hash.txt"

python3 - corpus.h5 "$out/later.h5" <<'PYTHON'
import ctypes, struct, sys

class Hash(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]

xxh3 = ctypes.CDLL("libxxhash.so.0").XXH3_128bits
xxh3.restype, xxh3.argtypes = Hash, [ctypes.c_char_p, ctypes.c_size_t]
data = bytearray(open(sys.argv[1], "rb").read())
data[8:12] = struct.pack("<I", 99)  # src/store/block.c: the version of the format, and the checksum of the block
check = xxh3(bytes(data[:4080]), 4080)
data[4080:4096] = struct.pack("<QQ", check.low, check.high)
open(sys.argv[2], "wb").write(data)
PYTHON
ls -l "$out"
