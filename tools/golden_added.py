#!/usr/bin/env python3
"""Writes tests/tokenizer/golden/{added,added_bpe}: the vocabularies of golden_wordpiece.py and golden_bpe.py as tokenizer.json with
added tokens of all kinds, and what HuggingFace's tokenizers make of lines that hold them.

    pip install tokenizers
    python tools/golden_added.py tests/tokenizer/golden

lines.txt is as golden_wordpiece.py has it.
"""
import json
import os
import random
import sys

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

# text, and which of its flags are true
TOKENS = [("NewWord", "normalized"), ("new", "single_word"), ("Éclair", "normalized"), ("Crème", "normalized single_word"),
          ("中文", "normalized"), ("covid-19", "normalized lstrip"), ("<e1>", "special rstrip"), ("<E2>", "special normalized"),
          ("aba", ""), ("ABA!", "normalized lstrip rstrip"), ("<e", ""), ("x y", "normalized"), ("q\u0307\u0323", "normalized"),
          ("_", "single_word normalized"), (" z", "lstrip"), ("Ⅷ", "single_word"),
          ("\u2003", "single_word lstrip rstrip")]
WORDS = [text for text, _ in TOKENS] + ["new", "NEWWORD", "eclair", "e\u0301clair", "creme", "crème brûlée", "中 文", "the", "it", "a",
                                        "ab", " ", "  ", "\t", "\u00a0", "\u0301", "\u0903", "\u200d", "_", ".", "9", "é", "中", "<",
                                        "<e1>", "<e2>", "[MASK]", "<mask>", "q\u0323\u0307", "z", "X Y", "x  y", "\x00", "ⅷ",
                                        "\u2003", "\u2003\u2003", " \u2003 \u2003 \u2003."]


def lines():
    dice = random.Random(3)
    for word in WORDS:
        yield word
        yield f"it {word} the"
        yield f"a{word}b {word}. {word}"
    for _ in range(200):
        yield "".join(dice.choice(WORDS) + dice.choice(["", "", " "]) for _ in range(dice.randrange(2, 9)))


def line_of(text, tokenizer, special):
    tokenizer.encode_special_tokens = not special
    encoding = tokenizer.encode(text, add_special_tokens=False)
    words = encoding.word_ids
    if isinstance(tokenizer.model, models.WordPiece):
        starts = [not token.startswith("##") for token in encoding.tokens]
    else:
        starts = [i == 0 or word != words[i - 1] for i, word in enumerate(words)]
    decoded = tokenizer.decode(encoding.ids, skip_special_tokens=False)
    ids = [("w" if start else "") + str(id) for start, id in zip(starts, encoding.ids)]
    return " ".join([text.encode().hex() or "-", str(int(special)), "0", decoded.encode().hex() or "-", *ids])


def write(path, tokenizer):
    size = tokenizer.get_vocab_size()
    for text, flags in TOKENS:
        on = {flag: True for flag in flags.split()}
        token = AddedToken(text, **{"normalized": False, **{k: v for k, v in on.items() if k != "special"}})
        (tokenizer.add_special_tokens if "special" in on else tokenizer.add_tokens)([token])
    assert tokenizer.get_vocab_size() > size
    os.makedirs(path, exist_ok=True)
    tokenizer.save(f"{path}/tokenizer.json", pretty=False)
    with open(f"{path}/lines.txt", "w", encoding="utf-8", newline="\n") as file:
        for text in lines():
            if "\x00" not in text or path.endswith("added"):
                file.write(line_of(text, tokenizer, True) + "\n" + line_of(text, tokenizer, False) + "\n")


def main(folder):
    with open(f"{folder}/uncased/vocab.txt", encoding="utf-8", newline="\n") as file:
        vocab = {line.rstrip("\n"): i for i, line in enumerate(file)}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    write(f"{folder}/added", tokenizer)
    tokenizer = Tokenizer(models.BPE.from_file(f"{folder}/bpe/vocab.json", f"{folder}/bpe/merges.txt"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, lstrip=token == "<mask>") for token in ("<s>", "<pad>", "</s>", "<unk>",
                                                                                            "<mask>")])
    write(f"{folder}/added_bpe", tokenizer)


main(sys.argv[1])
