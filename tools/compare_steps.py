#!/usr/bin/env python3
"""Compares kmask's ids with those of HuggingFace's tokenizers for the settings of golden_steps.py, each learned anew: on every code
point, alone and as "a" + c + " b", and on random strings.

    pip install tokenizers            (and transformers, to open what kmask exports as other programs do)
    python tools/compare_steps.py [--kmask build/release/kmask] [--random 20000] [--work DIR] [SETTING...]

Also compared: decoded texts of the random strings, and the ids of a folder that kmask has written again (`kmask tokenizer export`, opened
by transformers where it is installed). Lines on which the package itself panics are left out and counted. Exit status 1 where
anything differs.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["RUST_BACKTRACE"] = "0"
from golden_steps import TEXT, settings  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402


def every_code_point(alone):
    """Each code point between letters, 16 in a text, and alone: all of them, or those of planes with characters. Line ends are left
    out, because a line is a text."""
    codes = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000 and code != 0x0A]
    for first in range(0, len(codes), 16):
        yield "".join(f"a{chr(code)} b " for code in codes[first:first + 16])
    for code in codes:
        if alone or code < 0x33500 or 0xE0000 <= code < 0xE0200:
            yield chr(code)


def random_lines(count):
    dice = random.Random(11)
    scripts = [(0x20, 0x7F), (0xA0, 0x250), (0x300, 0x370), (0x370, 0x530), (0x590, 0x700), (0x900, 0xE80), (0x1100, 0x1200),
               (0x1E00, 0x2000), (0x2000, 0x2070), (0x2190, 0x2400), (0x3000, 0x3100), (0x4E00, 0x5000), (0xAC00, 0xAD00),
               (0xF900, 0xFB50), (0xFF00, 0xFFF0), (0x1D400, 0x1D800), (0x1F300, 0x1F700), (0, 0x110000), (0, 0xA0)]
    words = TEXT.replace("\n", " ").split() + ["'s", "'LL", " ", "  ", "\t", "\r", "12", "\u2581", "\u0301\u0323", "\u1112\u1161\u11ab", "\ufffd",
                                               "<mask>", "[MASK]", "<|end|>", "École", "   ", "sea", "ship", "New York"]
    for _ in range(count):
        low, high = dice.choice(scripts)
        some = [dice.choice(words) + dice.choice([" ", ""]) if dice.random() < 0.4 else chr(dice.randrange(low, high))
                for _ in range(dice.randrange(30))]
        yield "".join(c for c in some if not "\ud800" <= c[:1] <= "\udfff").replace("\n", " ")


def reference(tokenizer, texts):
    """The ids of each text; None where the package panics."""
    try:
        return [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
    except BaseException as error:
        if "PanicException" not in type(error).__name__:
            raise
    if len(texts) == 1:
        return [None]
    half = len(texts) // 2
    return reference(tokenizer, texts[:half]) + reference(tokenizer, texts[half:])


def run(kmask, arguments, text):
    return subprocess.run([kmask, "tokenizer", *arguments], input=text, stdout=subprocess.PIPE, check=True).stdout.decode("utf-8")


def encode(kmask, folder, texts, special):
    output = run(kmask, ["encode", "--tokenizer", folder, *(["--special"] if special else [])], "\n".join([*texts, ""]).encode())
    return [[int(i) for i in line.split()] for line in output.split("\n")[:-1]]


def differences(name, what, texts, ours, theirs):
    bad = [i for i, (a, b) in enumerate(zip(ours, theirs)) if b is not None and a != b]
    for i in bad[:3]:
        print(f"{name}: {what} differ: {texts[i]!r}\n  kmask:      {ours[i]}\n  tokenizers: {theirs[i]}")
    return len(bad) + abs(len(ours) - len(theirs))


def decoded(kmask, folder, tokenizer, ids):
    lines = "".join(" ".join(map(str, some)) + "\n" for some in ids).encode()
    return run(kmask, ["decode", "--tokenizer", folder], lines), tokenizer.decode_batch(ids, skip_special_tokens=False)


def compare(name, folder, a):
    whole = Tokenizer.from_file(f"{folder}/tokenizer.json")
    bad = panics = count = 0
    mixed = list(random_lines(a.random))
    for special, texts in ((False, list(every_code_point(a.alone))), (False, mixed), (True, mixed)):
        whole.encode_special_tokens = not special
        theirs = reference(whole, texts)
        bad += differences(name, "ids", texts, encode(a.kmask, folder, texts, special), theirs)
        panics += theirs.count(None)
        count += len(texts)
    kept = [(text, ids) for text, ids in zip(mixed, theirs) if ids]
    ours, wanted = decoded(a.kmask, folder, whole, [ids for _, ids in kept])
    bad += differences(name, "decoded texts", kept, [ours], ["".join(text + "\n" for text in wanted)]) if ours != "".join(
        text + "\n" for text in wanted) else 0
    bad += exported(name, folder, mixed[:2000], a)
    print(f"{name}: {count} lines, {bad} differ" + (f" ({panics} lines on which tokenizers panics)" if panics else ""), flush=True)
    return bad


def exported(name, folder, texts, a):
    again = f"{folder}/again"
    run(a.kmask, ["export", "--tokenizer", folder, "--out", again], b"")
    ours = encode(a.kmask, folder, texts, True)
    bad = differences(name, "ids of the exported folder", texts, encode(a.kmask, again, texts, True), ours)
    bad += differences(name, "ids of tokenizers with the exported folder", texts, ours,
                       reference(Tokenizer.from_file(f"{again}/tokenizer.json"), texts))
    try:
        from transformers import AutoTokenizer
    except ImportError:
        return bad
    theirs = AutoTokenizer.from_pretrained(again)._tokenizer
    return bad + differences(name, "ids of transformers with the exported folder", texts, ours, reference(theirs, texts))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kmask", default="build/release/kmask")
    parser.add_argument("--random", type=int, default=20000, metavar="LINES")
    parser.add_argument("--alone", action="store_true", help="also those alone that no plane with characters has")
    parser.add_argument("--work", help="keeps the folders that are made here")
    parser.add_argument("settings", nargs="*")
    a = parser.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory() as work:
        for name, setting in settings():
            if a.settings and name not in a.settings:
                continue
            folder = f"{a.work or work}/{name}"
            os.makedirs(folder, exist_ok=True)
            with open(f"{folder}/tokenizer.json", "w", encoding="utf-8") as file:
                json.dump(setting.learn(TEXT.split("\n"), 500), file)
            bad += compare(name, folder, a)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
