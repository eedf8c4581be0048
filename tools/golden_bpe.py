#!/usr/bin/env python3
"""Writes tests/tokenizer/golden/{bpe,bpe_spaced}: a small byte-level BPE vocabulary, and what HuggingFace's tokenizers make of
tricky lines with it.

    pip install tokenizers transformers
    python tools/golden_bpe.py tests/tokenizer/golden

bpe has classic files, bpe_spaced only a tokenizer.json, with a space before each text. lines.txt is as golden_wordpiece.py
has it: hex of the text, specials, invalid sequences, hex of the decoded text, ids with a "w" where a word begins.
"""
import json
import os
import sys

from golden_wordpiece import SENTENCES, cases
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE

SPECIALS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]

MORE = r"""
 leading|trailing |  two  |a  b|a   b|   |\t|\t\ta|a\t b|a \tb|\u00a0x|x\u00a0 y| \u00a0x|\u2003\u2003x|x\u3000|\u0085x|\u0085|\u001cx
don't can't we'll they've I'm he'd you're it's|DON'T|don' t|'s|'sx|''s|x''ll|'|'l|'r|'v|'re've'll|\u2019s|rock'n'roll| 's
abc123def|1st 2nd|x1y2|\u00b2\u00bd|\u0661\u0662|\u2167|a\u0301b|\u0301|1\u0301|\u0915\u094d\u0937|\u0e01\u0e33\u0e01|\ud55c\uae00 \ud55c|\u5bff\u53f8\U0001f363\u5bff\u53f8
!!!???|...|$5.00|a,b;c|(x)|_a_|-1|--x|#a|\u3002\u3001|\u00bfqu\u00e9?|\U0001f600\U0001f3fd\u200d\U0001f466|\ufe0f|\U000e0100|\ufeffx|\ufffd|x\ufffdy
<mask>|a <mask> b|a  <mask>  b|\t<mask>|x<mask>y|<s>a</s>|<s> a </s>|<mask><mask>| <mask> <mask>|<MASK>|<mask|mask>|\u00a0<mask>|a\u3000<mask>
"""


def texts():
    for line in MORE.strip("\n").split("\n"):
        for text in line.split("|"):
            yield text.encode("ascii", "backslashreplace").decode("unicode_escape").encode("utf-16", "surrogatepass").decode(
                "utf-16").encode()
    yield from cases()
    yield ("ab" * 3000 + "c").encode()
    yield ("x" * 700 + " ").encode() * 3


def learn():
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=1200, min_frequency=2, special_tokens=SPECIALS, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(SENTENCES.split("\n") * 2, trainer)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def line_of(text, tokenizer, special):
    string = text.decode("utf-8", "replace")
    invalid = string.count("\ufffd") - text.count("\ufffd".encode())
    encoding = tokenizer.encode(string, add_special_tokens=False)
    words = encoding.word_ids
    ids = [f"{'w' if i == 0 or words[i] is None or words[i] != words[i - 1] else ''}{id}"
           for i, id in enumerate(encoding.ids)]
    decoded = tokenizer.decode(encoding.ids, skip_special_tokens=False)
    return " ".join([text.hex() or "-", str(special), str(invalid), decoded.encode().hex() or "-", *ids])


def main(folder):
    learned = learn()
    learned.no_padding()
    model = json.loads(learned.to_str())["model"]
    for name, spaced in (("bpe", False), ("bpe_spaced", True)):
        path = os.path.join(folder, name)
        os.makedirs(path, exist_ok=True)

        def fresh():
            tokenizer = Tokenizer(BPE(model["vocab"], [tuple(pair) for pair in model["merges"]]))
            tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=spaced)
            tokenizer.decoder = decoders.ByteLevel()
            return tokenizer

        plain, special = fresh(), fresh()
        special.add_special_tokens([AddedToken(token, lstrip=token == "<mask>") for token in SPECIALS])
        if spaced:
            special.save(f"{path}/tokenizer.json")
        else:
            special.model.save(path)
            mask = {"__type": "AddedToken", "content": "<mask>", "lstrip": True, "normalized": False, "rstrip": False,
                    "single_word": False}
            with open(f"{path}/tokenizer_config.json", "w", encoding="utf-8") as file:
                json.dump({"add_prefix_space": False, "mask_token": mask}, file)
                file.write("\n")
        with open(f"{path}/lines.txt", "w", encoding="utf-8", newline="\n") as file:
            for text in texts():
                file.write(line_of(text, plain, 0) + "\n")
                if b"<" in text:
                    file.write(line_of(text, special, 1) + "\n")


main(sys.argv[1])
