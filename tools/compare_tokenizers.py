#!/usr/bin/env python3
"""Compares `kmask tokenizer encode` with HuggingFace's tokenizers, line by line, and their speed.

    pip install tokenizers
    python tools/compare_tokenizers.py --kmask build/kmask --tokenizer DIR FILE...

DIR holds vocab.txt and, where the model is cased, tokenizer_config.json. Exit status 1 where any line differs.
"""
import argparse
import json
import os
import subprocess
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from tokenizers import Tokenizer, normalizers, pre_tokenizers  # noqa: E402
from tokenizers.models import WordPiece  # noqa: E402


def reference(folder):
    with open(f"{folder}/vocab.txt", encoding="utf-8", newline="\n") as file:
        vocab = {line.rstrip("\n").rstrip("\r"): i for i, line in enumerate(file)}
    config = {}
    if os.path.exists(f"{folder}/tokenizer_config.json"):
        with open(f"{folder}/tokenizer_config.json", encoding="utf-8") as file:
            config = json.load(file)
    tokenizer = Tokenizer(WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(
        lowercase=config.get("do_lower_case", True), strip_accents=config.get("strip_accents"),
        handle_chinese_chars=config.get("tokenize_chinese_chars", True))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kmask", default="kmask")
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("files", nargs="+")
    arguments = parser.parse_args()
    tokenizer = reference(arguments.tokenizer)
    different = 0
    for path in arguments.files:
        with open(path, "rb") as file:
            text = file.read()
        start = time.time()
        output = subprocess.run([arguments.kmask, "tokenizer", "encode", "--tokenizer", arguments.tokenizer], input=text,
                                stdout=subprocess.PIPE, check=True).stdout.decode()
        ours_seconds = time.time() - start
        lines = text.decode("utf-8", "replace").split("\n")
        lines = lines[:-1] if lines[-1] == "" else lines
        start = time.time()
        theirs = [encoding.ids for encoding in tokenizer.encode_batch(lines, add_special_tokens=False)]
        theirs_seconds = time.time() - start
        ours = [[int(i) for i in line.split()] for line in output.split("\n")[:-1]]
        if len(ours) != len(theirs):
            sys.exit(f"{path}: {len(ours)} lines of ids, expected {len(theirs)}")
        bad = [i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b]
        for i in bad[:5]:
            print(f"{path}:{i + 1}: {lines[i]!r}\n  kmask:      {ours[i]}\n  tokenizers: {theirs[i]}")
        tokens = sum(map(len, theirs))
        print(f"{path}: {len(lines)} lines, {tokens} tokens, {len(bad)} lines differ; tokens/s: kmask (whole program) "
              f"{tokens / ours_seconds:,.0f}, tokenizers {tokens / theirs_seconds:,.0f}")
        different += len(bad)
    sys.exit(1 if different else 0)


main()
