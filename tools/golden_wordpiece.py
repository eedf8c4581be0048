#!/usr/bin/env python3
"""Writes tests/tokenizer/golden/{uncased,cased}: small vocabularies, and what HuggingFace's tokenizers make of tricky
lines with them.

    pip install tokenizers transformers
    python tools/golden_wordpiece.py tests/tokenizer/golden

The uncased one cleans up the spaces of decoded text, the cased one does not. Each folder holds a tokenizer (vocab.txt, tokenizer_config.json) and lines.txt, one case a line: the text's bytes in
hex ("-" for none), whether special tokens are read in it (0 or 1), the number of invalid UTF-8 sequences, the ids
decoded again in hex, then the ids, each that begins a word with a "w" before it.
"""
import json
import os
import random
import sys

from tokenizers import Tokenizer, normalizers, pre_tokenizers, trainers
from tokenizers.models import WordPiece
from transformers import BertTokenizer

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

# From books long in the public domain, and the Universal Declaration of Human Rights.
SENTENCES = """
Call me Ishmael. Some years ago, never mind how long precisely, having little or no money in my purse, and nothing
particular to interest me on shore, I thought I would sail about a little and see the watery part of the world.
It is a way I have of driving off the spleen and regulating the circulation.
Alice was beginning to get very tired of sitting by her sister on the bank, and of having nothing to do: once or
twice she had peeped into the book her sister was reading, but it had no pictures or conversations in it, "and what
is the use of a book," thought Alice, "without pictures or conversations?"
It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a wife.
All human beings are born free and equal in dignity and rights. They are endowed with reason and conscience and
should act towards one another in a spirit of brotherhood.
Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen begabt und sollen
einander im Geiste der Brüderlichkeit begegnen. Straße, Öl, ÄRGER.
Tous les êtres humains naissent libres et égaux en dignité et en droits. Ça va? Où? L'été, à Noël.
Todos los seres humanos nacen libres e iguales en dignidad y derechos. ¿Qué? ¡Mañana!
Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα. ΣΊΣΥΦΟΣ
Все люди рождаются свободными и равными в своём достоинстве и правах. Ёлка, йод.
İnsanlar özgür, onur ve haklar bakımından eşit doğarlar. IĞDIR ılık İstanbul
Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền lợi.
يولد جميع الناس أحراراً متساوين في الكرامة والحقوق.
כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם.
सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।
人人生而自由,在尊严和权利上一律平等。 すべての人間は、生まれながらにして自由であり、
모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.
มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ
"""

LINES = """
Hello, World!|hello   world|HELLO|unaffable|don't stop|it's we've they're I'm|rock 'n' roll|a.b.c|3.14159|1,000,000
e-mail|state-of-the-art|under_score|C++|#hash ##ing ## #|@user|$5.00 €5 £5|50%|x^2|~tilde~|`code`|<tag/>|[brackets]
{braces}|a|b c|?|...|…|“quoted”|‘single’|«guillemets»|„low“|–—―|¿Qué?|¡Hola!|·middle·dot|§1|¶|†‡|•bullet
naïve café|NAÏVE CAFÉ|nai\\u0308ve|cafe\\u0301|re\\u0301sume\\u0301|Ångström|A\\u030a|\\u212bngstrom|Straße STRASSE|ẞ
ﬁne ﬂow|Ǆ ǅ ǆ|İstanbul|ISTANBUL ıIİi|i\\u0307|Σίσυφος ΣΊΣΥΦΟΣ|ὈΔΥΣΣΕΎΣ|ᾼ ᾳ|Ωμέγα \\u2126|\\u037e\\u0387|Ёлка ёлка
Е\\u0308лка|Йод й|đường|Tất cả|ự do|يولد جميع|أحراراً|كـــتاب|שלום|שָׁלוֹם|सभी मनुष्यों|स्वतन्त्रता|क़ \\u0958|ไทย|มนุษย์
人人生而自由|中a文|a中b|日本語テスト|カタカナ ｶﾀｶﾅ|が か\\u3099|ﾞ|한국어|모든 인간은|\\u1112\\u1161\\u11ab|각 \\u1100\\u1161\\u11a8
\\uf900\\ufa0e|\\U0002f800|\\U00020000\\U0002a6d6|\\U0002b740\\U0002b81f|\\U0002b820|々〆〇|。、！？|（全角）ＡＢＣ|「」
tab\\there|new\\nline|cr\\r\\nlf|nul\\u0000byte|del\\u007f|c1\\u0085x|\\u0001\\u0002|bell\\u0007x|\\u000b\\u000c|nb\\u00a0sp
thin\\u2009sp|ideo\\u3000sp|zero\\u200bwidth|zw\\u200dj|soft\\u00adhyphen|\\ufeffbom|lrm\\u200ex|word\\u2060joiner
line\\u2028sep|para\\u2029sep|ogham\\u1680|mong\\u180evowel|\\ufffd|a\\ufffdb|\\ue000private|\\U000f0000|\\U0010fffd
\\ufdd0|\\uffff|\\U0001ffff|\\u0378|\\U000e0001|\\U000e0041|\\U000e0100|a\\ufe0f
😀|a😀b|👨‍👩‍👧‍👦|🇩🇪|👍🏽|❤️|☃|♥|→⇒|∀x∈ℝ|≠ ≮|=\\u0338|½ ²|℃ ™|𝐀𝐛|𝔘|🄰|ℌ|①|Ⅷ
\\u0301|\\u0301a|a\\u0301\\u0302\\u0303|\\u0300\\u0301 \\u0302|a\\u20dd|\\u0903|\\u09cb|\\u0dda|\\U0001d15e|\\U0001d160
a\\u1d16d|x\\U0001d16d\\U0001d165|x\\u302e\\U0001d165|\\U0001d16d\\u0941\\U0001d165|\\u061d|\\u2e4e|\\U00011660|\\u1804
\\u055a\\u0589|\\u05be\\u05f3|\\u060c\\u061b|\\u0964|\\u0e5a|\\u104a|\\u1361|\\u3001|\\ufe30|\\uff01\\uff3f|\\U00010100
Ꭰ ꭰ|Ა ა|Ⴀ ⴀ|Ⰰ|𐐀 𐐨|Ꙁ|Ɐ|ꟑ Ꟑ|Ϗ|ͅ|ﷺ|ﬀ ﬃ|ĳ Ĳ|ŉ|ǰ|ΐ ΰ|և|ẖ|ẗ
[MASK]|a[MASK]b|[mask]|[CLS] x [SEP]|[[MASK]]|[PAD][UNK]|[MASK|MASK]|[ MASK ]|[MASK][MASK]|x [SEP]y|[UNK]é[CLS]
"""

LONG = ["a" * 99, "a" * 100, "a" * 101, "a" * 300 + " b", "é" * 100, "é" * 101, "中" * 120, "x" * 100 + "." + "y" * 101,
        "e\u0301" * 100, "e\u0301" * 101, "한" * 33, "한" * 34, "\U0001d15e" * 50, "\U0001d15e" * 51, "", " ", "\n"]

BYTES = ["c3", "c328", "a0a1", "e28228", "e2", "e282", "f0288c28", "f0908c", "f09f9880", "f8a1a1a1a1", "fcc0", "c080", "e080af",
         "eda080", "eda080edb080", "f4908080", "f48fbfbd", "ff", "fe", "6162ff6364", "61c3", "61e4b862", "efbfbd", "efbfbe",
         "80", "bfbf", "f09f98", "61f09f9862", "00", "006100", "e18080c0", "c2a0", "c285", "5bff4d41534b5d"]


def cases():
    for group in LINES.strip().split("\n"):
        for text in group.split("|"):
            yield text.encode("ascii", "backslashreplace").decode("unicode_escape").encode()
    for text in LONG:
        yield text.encode()
    for text in BYTES:
        yield bytes.fromhex(text)
    dice = random.Random(1)
    pool = [chr(c) for c in [*range(32, 127), *range(0xC0, 0x250), *range(0x300, 0x330), *range(0x400, 0x460)]]
    for _ in range(12):
        yield "".join(dice.choice(pool) for _ in range(30)).encode()


def reference(vocab, cased):
    tokenizer = Tokenizer(WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=not cased)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def learn(cased):
    tokenizer = reference({token: i for i, token in enumerate(SPECIALS)}, cased)
    trainer = trainers.WordPieceTrainer(vocab_size=1900, min_frequency=2, special_tokens=SPECIALS, show_progress=False)
    text = SENTENCES.split("\n")
    tricky = [case.decode("utf-8", "ignore") for i, case in enumerate(cases()) if i % 3 > 0]
    tokenizer.train_from_iterator(text * 2 + tricky, trainer)
    return SPECIALS + sorted(set(tokenizer.get_vocab()) - set(SPECIALS))


def line_of(text, tokenizer, decoder, cased):
    string = text.decode("utf-8", "replace")
    invalid = string.count("\ufffd") - text.count("\ufffd".encode())
    encoding = tokenizer.encode(string, add_special_tokens=False)
    ids = [f"{'' if token.startswith('##') else 'w'}{i}" for token, i in zip(encoding.tokens, encoding.ids)]
    decoded = decoder.decode(encoding.ids, clean_up_tokenization_spaces=not cased)
    special = int(len(tokenizer.get_added_tokens_decoder()) > 0)
    return " ".join([text.hex() or "-", str(special), str(invalid), decoded.encode().hex() or "-", *ids])


def main(folder):
    for name, cased in (("uncased", False), ("cased", True)):
        pieces = learn(cased)
        vocab = {piece: i for i, piece in enumerate(pieces)}
        plain, special = reference(vocab, cased), reference(vocab, cased)
        special.add_special_tokens(SPECIALS)
        decoder = BertTokenizer(vocab=vocab, do_lower_case=not cased)
        path = os.path.join(folder, name)
        os.makedirs(path, exist_ok=True)
        with open(f"{path}/vocab.txt", "w", encoding="utf-8", newline="\n") as file:
            file.write("\n".join(pieces) + "\n")
        with open(f"{path}/tokenizer_config.json", "w", encoding="utf-8") as file:
            json.dump({"do_lower_case": not cased, **({} if cased else {"clean_up_tokenization_spaces": True})}, file)
            file.write("\n")
        with open(f"{path}/lines.txt", "w", encoding="utf-8", newline="\n") as file:
            for case in cases():
                file.write(line_of(case, plain, decoder, cased) + "\n")
                if b"[" in case:
                    file.write(line_of(case, special, decoder, cased) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
