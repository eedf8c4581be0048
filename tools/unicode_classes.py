#!/usr/bin/env python3
"""Writes src/text/classes.h: the character classes that decide ids, asked of the reference, the `tokenizers`
package, one code point at a time.

    pip install tokenizers unicodedata2 && python3 tools/unicode_classes.py > src/text/classes.h

perl says which characters are as old as Unicode 11.
"""
import subprocess
import unicodedata

import unicodedata2
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers


def normalizer(**on):
    off = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    return normalizers.BertNormalizer(**{**off, **on})


CLEAN, CHINESE, STRIP = (normalizer(clean_text=True), normalizer(handle_chinese_chars=True),
                         normalizer(strip_accents=True))
MARKS, COMPATIBLE = normalizers.StripAccents(), normalizers.NFKD()
DIGITS = pre_tokenizers.Digits()
WORDS, BYTES = pre_tokenizers.BertPreTokenizer(), pre_tokenizers.ByteLevel(add_prefix_space=False)

SINGLE = Tokenizer(models.BPE())
SINGLE.add_tokens([AddedToken("#", single_word=True)])


def joins(char, side):
    return len(BYTES.pre_tokenize_str(side + char + side)) == 1


def classes_of(code):
    char = chr(code)
    between = "a" + char + "b"
    clean = CLEAN.normalize_str(between)
    words = [word for word, _ in WORDS.pre_tokenize_str(between)]
    return {
        "dropped": clean == "ab",
        "spaces": clean == "a b",
        "punctuation": words == ["a", char, "b"],
        "chinese": CHINESE.normalize_str(between) != between,
        "marks": STRIP.normalize_str(char) == "",
        "letters": joins(char, "a"),
        "digits": joins(char, "1"),
        "word_marks": SINGLE.encode("#" + char).ids == [],
        "whites": not (joins(char, "a") or joins(char, "1") or joins(char, "!")),
        "combining": MARKS.normalize_str(char) == "",
        "numeric": len(DIGITS.pre_tokenize_str("1" + char + "1")) == 1,
        "kept_whole": COMPATIBLE.normalize_str(char) == char != unicodedata2.normalize("NFKD", char),
    }


CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co".split()
SCRIPTS = ["Han", "Hiragana", "Katakana", "Hangul"]
OLDER = r"""for my $c (0x80 .. 0x10FFFF) { next if $c >= 0xD800 && $c < 0xE000;
    print "$c\n" if chr($c) =~ /\p{Assigned}/ && chr($c) !~ /\p{In=11.0}/ }"""


def members(pattern):
    """The code points that a regular expression of the package matches."""
    found, remove = set(), normalizers.Replace(Regex(pattern), "")
    for first in range(0, 0x110000, 4096):
        block = {code for code in range(first, first + 4096) if not 0xD800 <= code < 0xE000}
        found |= block - set(map(ord, remove.normalize_str("".join(map(chr, sorted(block))))))
    return found


def print_newer():
    """What regular expressions know since Unicode 12, which the library that kmask uses may not know yet."""
    perl = set(map(int, subprocess.run(["perl", "-e", OLDER], capture_output=True, check=True).stdout.split()))
    category = {code: name for name in CATEGORIES for code in members(r"\p{%s}" % name)}
    script = {code: name for name in SCRIPTS for code in members(r"\p{%s}" % name)}
    ranges = []
    for code in sorted(category):
        if code not in perl and unicodedata.category(chr(code)) != "Cn":
            continue
        kind = (category[code], script.get(code, ""))
        if ranges and ranges[-1][1] == code - 1 and ranges[-1][2] == kind:
            ranges[-1][1] = code
        else:
            ranges.append([code, code, kind])
    print("static const km_newer_range km_newer[] = {")
    print_items(f'{{0x{first:X}, 0x{last:X}, "{kind}", "{script}"}},' for first, last, (kind, script) in ranges)


def print_items(items):
    line = "   "
    for item in items:
        if len(line) + len(item) > 114:
            print(line)
            line = "   "
        line += " " + item
    print(line + "\n};")


def main():
    ranges = {}
    for code in range(0x110000):
        if 0xD800 <= code < 0xE000:
            continue
        for name, member in classes_of(code).items():
            found = ranges.setdefault(name, [])
            if member and found and found[-1][1] == code - 1:
                found[-1][1] = code
            elif member:
                found.append([code, code])
    print("/* classes: the code points of each character class, as ascending ranges with both ends included. Made by\n * tools/unicode_classes.py from the tokenizers package. */")
    print("#ifndef KM_TEXT_CLASSES_H\n#define KM_TEXT_CLASSES_H\n\n#include <stdint.h>\n")
    print("typedef struct km_range {\n    uint32_t first, last;\n} km_range;")
    print("\n/* clang-format off */")
    for name, found in ranges.items():
        print(f"static const km_range km_{name}[] = {{")
        print_items(f"{{0x{first:X}, 0x{last:X}}}," for first, last in found)
    print_newer()
    print("/* clang-format on */\n\n#endif")


main()
