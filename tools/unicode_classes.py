#!/usr/bin/env python3
"""Writes src/text/classes.h: the character classes that decide ids, asked of the reference, the `tokenizers`
package, one code point at a time.

    pip install tokenizers && python3 tools/unicode_classes.py > src/text/classes.h
"""
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers


def normalizer(**on):
    off = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    return normalizers.BertNormalizer(**{**off, **on})


CLEAN, CHINESE, STRIP = (normalizer(clean_text=True), normalizer(handle_chinese_chars=True),
                         normalizer(strip_accents=True))
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
    }


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
        items = [f"{{0x{first:X}, 0x{last:X}}}," for first, last in found]
        line = "   "
        for item in items:
            if len(line) + len(item) > 114:
                print(line)
                line = "   "
            line += " " + item
        print(line + "\n};")
    print("/* clang-format on */\n\n#endif")


main()
