#!/usr/bin/env python3
"""Writes tests/tokenizer/golden/steps/<setting>: small tokenizer.json files as newer trainers write them, each with other normalizers,
pre-tokenizers and model options, and what HuggingFace's tokenizers make of some lines with them.

    pip install tokenizers
    python tools/golden_steps.py tests/tokenizer/golden

lines.txt is as golden_wordpiece.py has it. tools/compare_steps.py compares the same settings on every code point.
"""
import json
import os
import random
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

N, P, D = normalizers, pre_tokenizers, decoders
BERT, ROBERTA = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
META = "\u2581"

TEXT = """The ship sailed and the whale was seen by the sailors; they were sailing home, and don't stop.
The 12 ships of 1999 sailed for 3,000.50 miles! We'll see: you're sure? It's "fine" (or not)...
Café crème, naïve façade, Ünïcödé, Ångström, ﬁne ﬂow, Ⅷ ½ ² ℌ ①; ＡＢＣ１２３, ｶﾞｷﾞ
Это простой текст о кораблях и море, ещё один раз. ΑΒΓ αβγ ΣΟΦΟΣ
東京大学で研究をしています。日本語のテスト 中文字符 한국어 텍스트 한국
हिन्दी में कुछ शब्द \u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22 \U0001f600\U0001f3fd ok\u200dok
def f(x):\treturn x_1 + x2  # a   comment\r
e\u0301t\u00e9 q\u0323\u0307 \u1100\u1161\u11a8 \u212b \u00a0 \u3000 \u2003end
"""

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
GPT4 = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+")
GPT4O = "|".join([
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n/]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
RUBY = r"^\w+$|\bt\w*\b|[[:space:]]+|\h{2}+|[a-z&&[^aeiou]]+|[^\W\d_]{3,}|\R|[\d\S&&[^\p{L}]]"


def split(pattern, behavior="isolated", invert=False):
    return P.Split(Regex(pattern), behavior, invert)


def byte_level(prefix=False, regex=True):
    return P.ByteLevel(add_prefix_space=prefix, use_regex=regex)


class Setting:
    """A tokenizer to be learned: `model` is "bpe" or "wordpiece"; `options` go into the model of its tokenizer.json."""

    def __init__(self, model, normalizer=None, splitter=None, decoder=None, specials=None, added=(), suffix=None, prefix=None,
                 limit=None, fallback=False, processor=None, **options):
        self.model, self.normalizer, self.splitter, self.decoder = model, normalizer, splitter, decoder
        self.specials = specials or (BERT if model == "wordpiece" else ROBERTA)
        self.added, self.suffix, self.prefix, self.limit = added, suffix, prefix, limit
        self.fallback, self.processor, self.options = fallback, processor, options

    def learn(self, lines, size):
        unknown = next(token for token in self.specials if "unk" in token.lower())
        keep = dict(special_tokens=self.specials, vocab_size=size, show_progress=False, min_frequency=1)
        if self.limit:
            keep["limit_alphabet"] = self.limit
        if self.model == "wordpiece":
            prefix = {} if self.prefix is None else {"continuing_subword_prefix": self.prefix}
            tokenizer = Tokenizer(models.WordPiece(unk_token=unknown, **prefix))
            trainer = trainers.WordPieceTrainer(**keep, **prefix)
        else:
            affixes = {"continuing_subword_prefix": self.prefix, "end_of_word_suffix": self.suffix}
            affixes = {key: value for key, value in affixes.items() if value is not None}
            tokenizer = Tokenizer(models.BPE(unk_token=unknown, **affixes))
            if isinstance(self.splitter, P.ByteLevel) or "ByteLevel" in str(self.splitter):
                keep["initial_alphabet"] = P.ByteLevel.alphabet()
            trainer = trainers.BpeTrainer(**keep, **affixes)
        if self.normalizer:
            tokenizer.normalizer = self.normalizer
        if self.splitter:
            tokenizer.pre_tokenizer = self.splitter
        tokenizer.train_from_iterator(lines, trainer)
        if self.decoder:
            tokenizer.decoder = self.decoder
        if self.processor:
            tokenizer.post_processor = self.processor
        for text, flags in self.added:
            on = {flag: True for flag in flags.split()}
            (tokenizer.add_special_tokens if on.pop("special", False) else tokenizer.add_tokens)(
                [AddedToken(text, **{"normalized": False, **on})])
        whole = json.loads(tokenizer.to_str())
        if self.fallback:
            vocab = whole["model"]["vocab"]
            most = max(vocab.values()) + 1
            vocab.update({f"<0x{byte:02X}>": most + byte for byte in range(256)})
            after = most + 256
            for token in whole["added_tokens"]:
                if token["content"] not in vocab:
                    token["id"], after = after, after + 1
        whole["model"].update(self.options)
        return whole


def settings():
    bytes_, seq, pre = D.ByteLevel(), N.Sequence, P.Sequence
    every = ["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"]
    yield "neox", Setting("bpe", N.NFC(), byte_level(), bytes_, added=[("<|end|>", "special"), ("  ", "normalized"), ("École", "normalized")])
    yield "modernbert", Setting("bpe", N.NFC(), byte_level(), bytes_, specials=BERT, added=[("|||IP|||", ""), ("   ", "")],
                                processor=processors.TemplateProcessing(single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]))
    yield "distilroberta", Setting("bpe", None, byte_level(), bytes_, processor=processors.RobertaProcessing(("</s>", 2), ("<s>", 0)))
    yield "nfd", Setting("bpe", N.NFD(), byte_level(True), bytes_)
    yield "nfkc", Setting("bpe", N.NFKC(), byte_level(), bytes_)
    yield "nfkd", Setting("bpe", N.NFKD(), byte_level(), bytes_)
    yield "lowercase", Setting("bpe", N.Lowercase(), byte_level(), bytes_, added=[("Ship", "normalized"), ("HOME", "normalized single_word")])
    yield "strip_accents", Setting("bpe", seq([N.NFD(), N.Lowercase(), N.StripAccents()]), byte_level(), bytes_)
    yield "accents_alone", Setting("bpe", N.StripAccents(), byte_level(), bytes_)
    yield "strip", Setting("bpe", N.Strip(), byte_level(), bytes_)
    yield "strip_right", Setting("bpe", N.Strip(left=False, right=True), byte_level(True), bytes_)
    yield "replace_regex", Setting("bpe", seq([N.Replace(Regex(r"\s+"), " "), N.Replace(Regex(r"(?i)the|\d(?=\d)"), "«»")]), byte_level(), bytes_)
    yield "replace_text", Setting("bpe", seq([N.Replace("a", "AA"), N.Replace("ing", ""), N.Replace(Regex("x+|(?<=s) "), "-")]), byte_level(), bytes_)
    yield "prepend", Setting("bpe", N.Prepend(">> "), byte_level(), bytes_)
    yield "bert_bytes", Setting("bpe", N.BertNormalizer(), byte_level(), bytes_)
    yield "bytes_normalizer", Setting("bpe", N.ByteLevel(), split(r"\w+|\W", "isolated"), bytes_)
    yield "digits", Setting("bpe", None, pre([P.Digits(individual_digits=True), byte_level()]), bytes_)
    yield "digits_together", Setting("bpe", None, pre([P.Digits(), byte_level(True)]), bytes_)
    yield "bytes_only", Setting("bpe", None, byte_level(False, False), bytes_)
    yield "bytes_first", Setting("bpe", None, pre([byte_level(True), P.Punctuation(), P.Digits()]), bytes_)
    yield "llama3", Setting("bpe", None, pre([split(LLAMA3), byte_level(False, False)]), bytes_, ignore_merges=True)
    yield "qwen2", Setting("bpe", N.NFC(), pre([split(QWEN2), byte_level(False, False)]), bytes_)
    yield "gpt4", Setting("bpe", None, pre([split(GPT4, "removed", True), byte_level(False, False)]), bytes_)
    yield "gpt4o", Setting("bpe", None, pre([split(GPT4O), byte_level(False, False)]), bytes_)
    yield "bloom", Setting("bpe", None, pre([split(BLOOM), byte_level(False, False)]), bytes_)
    yield "falcon", Setting("bpe", None, pre([P.Punctuation("contiguous"), byte_level(), P.Digits(), split("[0-9][0-9][0-9]")]), bytes_)
    yield "deepseek", Setting("bpe", None, pre([split("[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"), split("[一-龥ࠀ-一가-퟿]+"),
                                                P.Digits(True), byte_level(False, False)]), bytes_)
    yield "ruby", Setting("bpe", None, pre([split(RUBY), byte_level(False, False)]), bytes_)
    yield "scripts", Setting("bpe", None, pre([split(r"\p{Han}+|\p{Hiragana}+|\p{Katakana}+|\p{Hangul}{2}|\P{^M}|\p{Cf}"), byte_level(False, False)]), bytes_)
    yield "missing_bytes", Setting("bpe", None, pre([split("[a-m]+"), byte_level(False, False)]), bytes_, fuse_unk=True)
    for behavior in every:
        yield f"punctuation_{behavior}", Setting("bpe", N.NFC(), pre([P.WhitespaceSplit(), P.Punctuation(behavior)]), limit=120)
        yield f"text_{behavior}", Setting("bpe", None, P.Split(" ", behavior, False), D.Fuse(), limit=120)
        yield f"text_{behavior}_inverted", Setting("bpe", None, P.Split("e", behavior, True), limit=120, fuse_unk=True)
        yield f"regex_{behavior}", Setting("wordpiece", N.Lowercase(), pre([P.WhitespaceSplit(), split("[aeiou]+|x*", behavior)]))
        yield f"regex_{behavior}_inverted", Setting("wordpiece", None, split(r"\w+|[^\w\s]", behavior, True))
    yield "whitespace", Setting("bpe", seq([N.NFKC(), N.Lowercase()]), P.Whitespace(), limit=100)
    yield "delimiter", Setting("bpe", None, P.CharDelimiterSplit("e"), limit=100)
    yield "lengths", Setting("bpe", None, P.FixedLength(3), limit=100)
    yield "xlm", Setting("bpe", seq([N.NFD(), N.Lowercase(), N.StripAccents()]), P.BertPreTokenizer(), D.BPEDecoder(), suffix="</w>", limit=100)
    yield "suffix", Setting("bpe", None, P.WhitespaceSplit(), D.BPEDecoder("</w>"), suffix="</w>", limit=100, fuse_unk=True)
    yield "inner_prefix", Setting("bpe", None, P.Whitespace(), D.WordPiece("##"), prefix="##", limit=100)
    yield "both_affixes", Setting("bpe", None, P.Whitespace(), prefix="@@", suffix="</w>", limit=100, fallback=True, byte_fallback=True)
    llama = D.Sequence([D.Replace(META, " "), D.ByteFallback(), D.Fuse(), D.Strip(" ", 1, 0)])
    yield "llama", Setting("bpe", seq([N.Prepend(META), N.Replace(" ", META)]), None, llama, limit=80, fallback=True,
                           byte_fallback=True, fuse_unk=True, added=[("<|x|>", "special"), ("ship", "normalized")])
    yield "gemma", Setting("bpe", N.Replace(" ", META), P.Split(" ", "merged_with_previous", False), llama, limit=80, fallback=True,
                           byte_fallback=True, ignore_merges=False)
    for scheme in ("always", "never", "first"):
        yield f"metaspace_{scheme}", Setting("bpe", N.Strip() if scheme == "always" else None, P.Metaspace(META, scheme), D.Metaspace(META, scheme), limit=90,
                                             added=[("<sep>", "special"), ("sea", "normalized")])
    yield "metaspace_whole", Setting("bpe", N.NFKC(), P.Metaspace(META, "always", split=False), D.Metaspace(), limit=90)
    yield "metaspace_digits", Setting("bpe", seq([N.Replace(Regex("\r|\n"), " ")]), pre([P.Digits(True), P.Metaspace("_", "first")]), D.Metaspace("_", "first"), limit=90)
    yield "camembert2", Setting("wordpiece", seq([N.Replace("\n", "[NL]"), N.Replace(Regex(r"[\u200d\t]"), ""), N.Strip(), N.NFC()]),
                                pre([P.WhitespaceSplit(), P.Punctuation(), P.Digits(True)]), D.WordPiece("##", False),
                                specials=["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"], added=[("[NL]", "special")])
    yield "mpnet", Setting("wordpiece", N.BertNormalizer(), P.BertPreTokenizer(), D.WordPiece("##"), specials=["<s>", "<pad>", "</s>", "[UNK]", "<mask>"],
                           processor=processors.RobertaProcessing(("</s>", 2), ("<s>", 0)))
    yield "uncleaned", Setting("wordpiece", N.BertNormalizer(clean_text=False, strip_accents=False), P.BertPreTokenizer(), D.WordPiece("##"))
    yield "short_words", Setting("wordpiece", N.BertNormalizer(lowercase=False), P.BertPreTokenizer(), D.WordPiece("##"), max_input_chars_per_word=7)
    yield "long_words", Setting("wordpiece", N.NFD(), P.WhitespaceSplit(), D.WordPiece("##"), max_input_chars_per_word=1000)
    yield "other_prefix", Setting("wordpiece", seq([N.NFKD(), N.StripAccents()]), P.Whitespace(), D.WordPiece("_", False), prefix="_", limit=120)
    yield "no_prefix", Setting("wordpiece", None, P.Whitespace(), D.Fuse(), prefix="", limit=100)
    yield "no_splitter", Setting("wordpiece", N.Lowercase(), None, limit=100)
    yield "words_lower", Setting("wordpiece", seq([N.NFC(), N.Lowercase()]), pre([P.Whitespace(), P.Digits(True)]), D.WordPiece("##"),
                                 added=[("New York", "normalized"), ("don't", "single_word normalized")])


def is_blank(char):
    return char in (META, "\u0120") or char.isspace() and not "\x1c" <= char <= "\x1f"


def is_unsplit(tokenizer):
    """Whether blanks part no pre-tokens."""
    normalizer, splitter = tokenizer.normalizer, tokenizer.pre_tokenizer
    return splitter is None or len(splitter.pre_tokenize_str(normalizer.normalize_str("a b") if normalizer else "a b")) <= 1


def starts_of(encoding, unsplit, text):
    """Where words begin: where pre-tokens do, and in text that is not split also at blanks."""
    words, tokens = encoding.word_ids, encoding.tokens
    starts = []
    for i, token in enumerate(tokens):
        begins = i == 0 or words[i] is None or words[i] != words[i - 1]
        at = encoding.offsets[i][0]
        if not begins and unsplit and at > encoding.offsets[i - 1][0] and not is_blank(text[at - 1]):
            begins = is_blank(token[0]) or is_blank(text[at])
        starts.append(begins)
    return starts


def lines(count, seed):
    dice = random.Random(seed)
    bits = TEXT.replace("\n", " \n ").split(" ") + ["  ", "\t", "\n", "\r\n", "'s", "12", "", " ", "\u0301", "\u00a0", "ß", "Ǆ", "İ", "<mask>",
                                                    "[MASK]", "[UNK]", "<unk>", "<|end|>", "<|x|>", "École", "e\u0301cole", "ship", "Ship", "New  York",
                                                    "new york", "don't", "\ufffd", "\u2581", "_", "##s", "[NL]", "sea", "<sep>", "a" * 30]
    for _ in range(count):
        yield "".join(dice.choice(bits) + dice.choice([" ", "", "", " "]) for _ in range(dice.randrange(1, 7)))


def line_of(text, tokenizer, special):
    tokenizer.encode_special_tokens = not special
    encoding = tokenizer.encode(text, add_special_tokens=False)
    ids = [("w" if start else "") + str(id) for start, id in zip(starts_of(encoding, is_unsplit(tokenizer), text), encoding.ids)]
    decoded = tokenizer.decode(encoding.ids, skip_special_tokens=False) if encoding.ids else ""
    return " ".join([text.encode().hex() or "-", str(int(special)), "0", decoded.encode().hex() or "-", *ids])


def main(folder):
    for number, (name, setting) in enumerate(settings()):
        if name.startswith("text_") or (name.endswith("_inverted") and "contiguous" not in name):
            continue  # the same code as others; compare_steps.py has them
        whole = setting.learn(TEXT.split("\n"), 300 if "ByteLevel" in str(setting.splitter) else 140)
        path = f"{folder}/steps/{name}"
        os.makedirs(path, exist_ok=True)
        with open(f"{path}/tokenizer.json", "w", encoding="utf-8") as file:
            json.dump(whole, file, ensure_ascii=False, separators=(",", ":"))
        tokenizer = Tokenizer.from_str(json.dumps(whole))
        with open(f"{path}/lines.txt", "w", encoding="utf-8", newline="\n") as file:
            for i, text in enumerate(lines(24, number)):
                if is_unsplit(tokenizer) and any(char.isspace() and char > "~" for char in text):
                    continue  # where words begin at blanks of several bytes cannot be seen in the package's tokens
                try:
                    file.write(line_of(text, tokenizer, i % 2 == 1) + "\n")
                except BaseException as error:  # the package's own panic, about ranges of texts that became empty
                    if "PanicException" not in type(error).__name__:
                        raise


if __name__ == "__main__":
    main(sys.argv[1])
