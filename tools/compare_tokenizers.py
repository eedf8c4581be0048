#!/usr/bin/env python3
"""Compares kmask's tokenizers with HuggingFace's on any text: ids, decoded text, speed, and training.

    pip install tokenizers            (and transformers, to load folders as other programs do)
    python tools/compare_tokenizers.py --tokenizer DIR [--tokenizer DIR...] FILE|FOLDER...
    python tools/compare_tokenizers.py --random 20000 --tokenizer DIR
    python tools/compare_tokenizers.py --train 8000 --tokenizer NEW_DIR FILE...

DIR holds vocab.txt, vocab.json and merges.txt, encoder.json and vocab.bpe, or tokenizer.json. Texts may be gzipped; a line
is a text; bytes that are not UTF-8 are replaced, as Python does. --special reads special tokens in the text. --speed N: N
alternating runs on one core (kmask: the whole program; theirs: the better of encode_batch and encode_batch_fast,
loading and reading not counted). --train: both programs learn NEW_DIR/wordpiece and NEW_DIR/bpe of so many pieces,
and kmask's are then compared like any others. Exit status 1 where any id or any decoded text differs.
"""
import argparse
import gzip
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time

if "--train" not in sys.argv:
    os.environ["TOKENIZERS_PARALLELISM"], os.environ["RAYON_NUM_THREADS"] = "false", "1"
os.environ.setdefault("HF_HUB_OFFLINE", "1")
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, trainers  # noqa: E402
from tokenizers.models import BPE, WordPiece  # noqa: E402

BERT, ROBERTA = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def config_of(folder):
    path = f"{folder}/tokenizer_config.json"
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def wordpiece(vocab, config):
    tokenizer = Tokenizer(WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(
        lowercase=config.get("do_lower_case", True), strip_accents=config.get("strip_accents"),
        handle_chinese_chars=config.get("tokenize_chinese_chars", True))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def bpe(model, config):
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=config.get("add_prefix_space", False))
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def reference(folder, special):
    def there(name):
        return os.path.exists(f"{folder}/{name}")
    config = config_of(folder)
    if there("tokenizer.json"):
        tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
        tokenizer.encode_special_tokens = not special
        return tokenizer
    if there("vocab.txt"):
        with open(f"{folder}/vocab.txt", encoding="utf-8", newline="\n") as file:
            tokenizer = wordpiece({line.rstrip("\n").rstrip("\r"): i for i, line in enumerate(file)}, config)
        if special:
            tokenizer.add_special_tokens(BERT)
        return tokenizer
    names = ("vocab.json", "merges.txt") if there("vocab.json") else ("encoder.json", "vocab.bpe")
    tokenizer = bpe(BPE.from_file(*(f"{folder}/{name}" for name in names)), config)
    if special:
        known = [token for token in [*ROBERTA, "<|endoftext|>"] if tokenizer.token_to_id(token) is not None]
        tokenizer.add_special_tokens([AddedToken(token, lstrip=token == "<mask>") for token in known])
    return tokenizer


def clean_up(text):
    """What transformers does to decoded text where the folder's clean_up_tokenization_spaces is true."""
    for before, after in ((" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"),
                          (" 's", "'s"), (" 've", "'ve"), (" 're", "'re")):
        text = text.replace(before, after)
    return text


def lines_of(text):
    lines = text.decode("utf-8", "replace").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def texts(paths):
    for path in paths:
        files = [path] if os.path.isfile(path) else sorted(
            os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names)
        for name in files:
            if not os.path.isfile(name):
                continue
            with (gzip.open if name.endswith(".gz") else open)(name, "rb") as file:
                yield name, file.read()


def pieces(text, size=4 << 20):
    """The text in whole lines, some megabytes at a time: lists of ids take a hundred times as much memory."""
    at = 0
    while at < len(text):
        end = text.find(b"\n", at + size) + 1 or len(text)
        yield text[at:end]
        at = end


def random_text(count, special):
    dice = random.Random(7)
    scripts = [(0x20, 0x7F), (0xA0, 0x250), (0x300, 0x370), (0x370, 0x530), (0x590, 0x700), (0x900, 0xE80), (0x1100, 0x1200),
               (0x2000, 0x2070), (0x2190, 0x2400), (0x3000, 0x3100), (0x4E00, 0x5000), (0xAC00, 0xAD00), (0xFF00, 0xFFF0),
               (0x1F300, 0x1F700), (0, 0x110000), (0, 0xA0)]
    pieces = ["'s", "'ll", "don't", " ", "  ", "\t", "12", "word", "\u00e9", "\u4e2d", "!", "...", "\u200d", "\ufe0f"]
    pieces += [*BERT, *ROBERTA] if special else []
    lines = []
    for _ in range(count):
        low, high = dice.choice(scripts)
        some = [dice.choice(pieces) if dice.random() < 0.3 else chr(dice.randrange(low, high))
                for _ in range(dice.randrange(50))]
        lines.append("".join(c for c in some if not "\ud800" <= c[0] <= "\udfff").replace("\n", " "))
    return "\n".join(lines).encode() + b"\n"


def run(kmask, arguments, text):
    start = time.time()
    output = subprocess.run([kmask, "tokenizer", *arguments], input=text, stdout=subprocess.PIPE, check=True).stdout
    return output, time.time() - start


def show(name, first, lines, ours, theirs, what):
    bad = [i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b]
    for i in bad[:3]:
        print(f"{name}:{first + i}: {what} differ: {lines[i]!r}\n  kmask:      {ours[i]}\n  tokenizers: {theirs[i]}")
    return len(bad) + abs(len(ours) - len(theirs))


class Total:
    def __init__(self):
        self.tokens = self.lines = self.ids = self.decoded = 0


def compare(kmask, folder, tokenizer, name, text, special, total):
    first = 1
    for piece in pieces(text):
        first += compare_piece(kmask, folder, tokenizer, name, first, piece, special, total)


def compare_piece(kmask, folder, tokenizer, name, first, text, special, total):
    lines = lines_of(text)
    output, _ = run(kmask, ["encode", "--tokenizer", folder, *(["--special"] if special else [])], text)
    ours = [[int(i) for i in line.split()] for line in output.decode().split("\n")[:-1]]
    theirs = [encoding.ids for encoding in tokenizer.encode_batch(lines, add_special_tokens=False)]
    total.ids += show(name, first, lines, ours, theirs, "ids")
    output, _ = run(kmask, ["decode", "--tokenizer", folder],
                    "".join(" ".join(map(str, ids)) + "\n" for ids in theirs).encode())
    back = output.decode("utf-8").split("\n")[:-1]
    decoded = tokenizer.decode_batch(theirs, skip_special_tokens=False)
    if config_of(folder).get("clean_up_tokenization_spaces") and tokenizer.model.__class__.__name__ == "WordPiece":
        decoded = [clean_up(line) for line in decoded]
    total.decoded += show(name, first, lines, back, decoded, "decoded texts")
    total.tokens += sum(map(len, theirs))
    total.lines += len(lines)
    return len(lines)


def speed(kmask, folder, tokenizer, text, rounds):
    lines = lines_of(text)
    ratios = []
    for _ in range(rounds):
        _, ours = run(kmask, ["encode", "--tokenizer", folder], text)
        theirs = []
        for encode in (tokenizer.encode_batch_fast, tokenizer.encode_batch):
            start = time.time()
            encode(lines, add_special_tokens=False)
            theirs.append(time.time() - start)
        ratios.append(min(theirs) / ours)
    print(f"{folder}: kmask is {sorted(ratios)[len(ratios) // 2]:.1f} times as fast (median of {rounds} alternating runs: "
          f"{', '.join(f'{ratio:.1f}' for ratio in ratios)})")


def as_transformers(folder, text, special_ids):
    try:
        from transformers import AutoTokenizer
    except ImportError:
        return
    theirs, mine = AutoTokenizer.from_pretrained(folder), Tokenizer.from_file(f"{folder}/tokenizer.json")
    lines = lines_of(text)[:2000]
    different = sum(theirs.encode(line) != mine.encode(line).ids for line in lines)
    names = [theirs.mask_token, theirs.cls_token, theirs.sep_token, theirs.pad_token]
    print(f"{folder}: transformers opens it as {type(theirs).__name__} ({', '.join(names)}); of {len(lines)} lines {different} "
          f"differ from tokenizers' own reading")
    if different or theirs.mask_token_id not in special_ids:
        sys.exit(1)


def learn(family, size, files):
    specials = BERT if family == "wordpiece" else ROBERTA
    if family == "wordpiece":
        tokenizer = wordpiece({token: i for i, token in enumerate(specials)}, {})
        trainer = trainers.WordPieceTrainer(vocab_size=size, min_frequency=2, special_tokens=specials, limit_alphabet=1000,
                                            show_progress=False)
    else:
        tokenizer = bpe(BPE(), {})
        trainer = trainers.BpeTrainer(vocab_size=size, min_frequency=2, special_tokens=specials, show_progress=False,
                                      initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    start = time.time()
    tokenizer.train(files, trainer)
    return tokenizer, time.time() - start


def train(kmask, folder, size, paths, rounds):
    folders = []
    with tempfile.TemporaryDirectory() as work:
        files = []
        for i, (_, text) in enumerate(texts(paths)):
            files.append(f"{work}/{i}.txt")
            with open(files[-1], "wb") as file:
                file.write(text.decode("utf-8", "replace").encode())
        for family in ("wordpiece", "bpe"):
            ratios = []
            for _ in range(rounds):
                _, ours = run(kmask, ["train", "--type", family, "--vocab-size", str(size), "--force", "--out",
                                      f"{folder}/{family}", *files], b"")
                tokenizer, theirs = learn(family, size, files)
                ratios.append(ours / theirs)
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
            mine = Tokenizer.from_file(f"{folder}/{family}/tokenizer.json").get_vocab()
            both = len(set(mine) & set(tokenizer.get_vocab()))
            print(f"{folder}/{family}: {len(mine)} pieces, {both} of them theirs too; takes "
                  f"{', '.join(f'{ratio:.2f}' for ratio in ratios)} of their time; at most {peak:.2f} GB so far", flush=True)
            folders.append(f"{folder}/{family}")
    return folders


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kmask", default="build/release/kmask")
    parser.add_argument("--tokenizer", action="append", required=True)
    parser.add_argument("--special", action="store_true")
    parser.add_argument("--random", type=int, default=0, metavar="LINES")
    parser.add_argument("--speed", type=int, default=0, metavar="RUNS")
    parser.add_argument("--train", type=int, default=0, metavar="PIECES")
    parser.add_argument("paths", nargs="*")
    a = parser.parse_args()
    failed = False
    for folder in train(a.kmask, a.tokenizer[0], a.train, a.paths, max(a.speed, 1)) if a.train else a.tokenizer:
        tokenizer, total, longest = reference(folder, a.special), Total(), b""
        for name, text in texts(a.paths):
            compare(a.kmask, folder, tokenizer, name, text, a.special, total)
            longest = max(longest, text, key=len)
        if a.random:
            longest = longest or random_text(a.random, a.special)
            compare(a.kmask, folder, tokenizer, "random", random_text(a.random, a.special), a.special, total)
        print(f"{folder}: {total.lines} lines, {total.tokens} tokens; {total.ids} lines of ids differ, {total.decoded} decoded "
              f"texts differ")
        if a.speed and not a.train:
            speed(a.kmask, folder, tokenizer, longest, a.speed)
        if os.path.exists(f"{folder}/tokenizer.json"):
            as_transformers(folder, longest, tokenizer.get_vocab().values())
        failed = failed or total.ids + total.decoded > 0
    sys.exit(1 if failed else 0)


main()
