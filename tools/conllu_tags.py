#!/usr/bin/env python3
"""CoNLL-U treebanks as JSONL with tags: tools/conllu_tags.py [--tag upos|xpos] [--document doc|sentence] FILE... > tagged.jsonl

Each document (what lies between "# newdoc" comments; a file without them is one) becomes a record {"text": ..., "tags": [[start, end,
tag], ...]}, with a sentence a line and places in characters, which `kmask corpus build` reads. Files may be gzip-compressed. A word that
a multiword token has in pieces ("don't" as "do" and "n't") is tagged where the pieces make up the token; where they do not ("du" of "de"
and "le"), the whole token has the first word's tag. Needs Python alone."""
import argparse
import gzip
import json
import sys


def sentences(lines):
    """Yields (begins a document, text or None, rows of ten columns) for each sentence."""
    new, text, rows = False, None, []
    for line in lines:
        line = line.rstrip("\n")
        if line.startswith("#"):
            new = new or line.startswith("# newdoc")
            if line.startswith("# text = "):
                text = line[len("# text = "):]
        elif line:
            rows.append(line.split("\t"))
        elif rows:
            yield new, text, rows
            new, text, rows = False, None, []
    if rows:
        yield new, text, rows


def tokens(rows, column):
    """Yields (form of the token, [(form, tag) of its words]); empty nodes such as 8.1 are passed over."""
    words = {row[0]: (row[1], row[column]) for row in rows}
    inside = 0
    for row in rows:
        number = row[0]
        if "-" in number:
            first, last = map(int, number.split("-"))
            inside = last
            yield row[1], [words[str(i)] for i in range(first, last + 1)]
        elif "." not in number and int(number) > inside:
            yield row[1], [words[number]]


def tagged(text, rows, column):
    """The sentence's text and its tags. Without a "# text" the tokens are joined by blanks, as SpaceAfter=No leaves out."""
    if text is None:
        text = "".join(row[1] + ("" if "SpaceAfter=No" in row[9] else " ") for row in rows if row[0].isdigit()).rstrip()
    tags, at = [], 0
    for form, words in tokens(rows, column):
        start = text.find(form, at)
        if start < 0:
            sys.exit(f"the sentence \"{text}\" does not hold its token \"{form}\"")
        at = start + len(form)
        if "".join(word for word, _ in words) == form:
            for word, tag in words:
                tags.append([start, start + len(word), tag])
                start += len(word)
        else:
            tags.append([start, at, words[0][1]])
    return text, tags


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--tag", choices=["upos", "xpos"], default="upos")
    parser.add_argument("--document", choices=["doc", "sentence"], default="doc")
    options = parser.parse_args()
    column = 3 if options.tag == "upos" else 4

    def finish(record):
        if record["text"]:
            json.dump(record, sys.stdout, ensure_ascii=False)
            print()

    for path in options.files:
        record = {"text": "", "tags": []}
        with (gzip.open if path.endswith(".gz") else open)(path, "rt", encoding="utf-8") as file:
            for new, text, rows in sentences(file):
                if new or options.document == "sentence":
                    finish(record)
                    record = {"text": "", "tags": []}
                text, tags = tagged(text, rows, column)
                begin = len(record["text"]) + (1 if record["text"] else 0)
                record["text"] += ("\n" if record["text"] else "") + text
                record["tags"] += [[start + begin, end + begin, tag] for start, end, tag in tags if tag != "_"]
        finish(record)


if __name__ == "__main__":
    main()
