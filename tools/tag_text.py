#!/usr/bin/env python3
"""Tags text with parts of speech: tools/tag_text.py --tagger nltk:FOLDER|spacy:MODEL [--map FILE.tsv] FILE... > tagged.jsonl

FILE is plain text, in which blank lines separate documents, or JSONL with "text" (.jsonl; other keys are kept); gzip of either. Each
document becomes a record {"text": ..., "tags": [[start, end, tag], ...]} for `kmask corpus build`, with places in characters.

nltk:FOLDER  NLTK's averaged perceptron with Penn tags, of NLTK's data package averaged_perceptron_tagger (a zip or folder with a .pickle)
             or averaged_perceptron_tagger_eng (a folder with .json files). Words are those of NLTK's word tokenizer, sentences are lines.
spacy:MODEL  a spaCy pipeline with a tagger, such as en_core_web_sm; its tags are universal parts of speech already.
--map        a table of two columns: a tag, and what it becomes. tools/tags_penn.tsv and tools/tags_brown.tsv map Penn's and Brown's tags to
             universal parts of speech. With nltk the default is tools/tags_penn.tsv; --map none keeps the tagger's tags.

Needs Python with nltk, or with spacy and the model."""
import argparse
import gzip
import io
import json
import os
import pickle
import re
import sys
import zipfile


def read_map(path):
    with open(path, encoding="utf-8") as file:
        lines = [line.rstrip("\n").split("\t") for line in file if not line.startswith("# ") and "\t" in line]
    return {tag: to for tag, to in lines}


def mapped(tag, table):
    """The table's tag; of Brown's compound tags the part that the table has."""
    if table is None or tag in table:
        return tag if table is None else table[tag]
    plain = re.sub(r"^FW-|-(HL|TL|NC)", "", tag)
    return table.get(plain, table.get(re.split(r"[+$*]", plain)[0], "X"))


class Plain(pickle.Unpickler):
    """Reads lists, dictionaries, sets, numbers and texts, and nothing that could run code."""

    def find_class(self, module, name):
        if (module, name) in (("builtins", "set"), ("__builtin__", "set"), ("collections", "defaultdict")):
            return super().find_class("builtins" if name == "set" else module, name)
        raise pickle.UnpicklingError(f"the tagger's file asks for {module}.{name}")


def nltk_parameters(place):
    """weights, tagdict and classes, from NLTK's older pickle or its newer JSON files."""
    if zipfile.is_zipfile(place):
        with zipfile.ZipFile(place) as archive:
            files = {os.path.basename(name): archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    elif os.path.isdir(place):
        zips = [name for name in os.listdir(place) if name.startswith("averaged_perceptron_tagger") and name.endswith(".zip")]
        if zips:
            return nltk_parameters(os.path.join(place, sorted(zips)[-1]))
        files = {}
        for folder, _, names in os.walk(place):
            for name in names:
                if name.startswith("averaged_perceptron_tagger"):
                    with open(os.path.join(folder, name), "rb") as file:
                        files[name] = file.read()
    else:
        sys.exit(f"{place}: found neither a folder nor a zip; expected NLTK's data package averaged_perceptron_tagger")
    for name, data in files.items():
        if name.endswith(".pickle"):
            return Plain(io.BytesIO(data), encoding="latin-1").load()
    parts = {name.rsplit(".", 2)[-2]: json.loads(data) for name, data in files.items() if name.endswith(".json")}
    if not {"weights", "tagdict", "classes"} <= set(parts):
        sys.exit(f"{place}: holds no tagger; expected averaged_perceptron_tagger.pickle or *.weights.json, *.tagdict.json, *.classes.json")
    return parts["weights"], parts["tagdict"], set(parts["classes"])


def nltk_tagger(place):
    from nltk.tag.perceptron import PerceptronTagger
    from nltk.tokenize import NLTKWordTokenizer
    tagger, words = PerceptronTagger(load=False), NLTKWordTokenizer()
    tagger.model.weights, tagger.tagdict, tagger.classes = nltk_parameters(place)
    tagger.model.classes = tagger.classes

    def tag(text):
        begin = 0
        for line in text.split("\n"):
            spans = list(words.span_tokenize(line))
            for (start, end), (_, found) in zip(spans, tagger.tag([line[start:end] for start, end in spans])):
                yield begin + start, begin + end, found
            begin += len(line) + 1
    return tag


def spacy_tagger(model):
    import spacy
    pipeline = spacy.load(model, exclude=["ner", "lemmatizer", "parser"])

    def tag(text):
        for token in pipeline(text):
            if not token.is_space and token.pos_:
                yield token.idx, token.idx + len(token), token.pos_
    return tag


def documents(path):
    with (gzip.open if path.endswith(".gz") else open)(path, "rt", encoding="utf-8", errors="replace") as file:
        if re.sub(r"\.gz$", "", path).endswith((".jsonl", ".ndjson")):
            for line in file:
                if line.strip():
                    yield json.loads(line)
            return
        lines = []
        for line in file:
            if line.strip():
                lines.append(line.rstrip("\n"))
            elif lines:
                yield {"text": "\n".join(lines)}
                lines = []
        if lines:
            yield {"text": "\n".join(lines)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tagger", required=True)
    parser.add_argument("--map")
    parser.add_argument("files", nargs="+")
    options = parser.parse_args()
    kind, _, place = options.tagger.partition(":")
    if kind not in ("nltk", "spacy") or not place:
        parser.error(f"--tagger {options.tagger}: expected nltk:FOLDER or spacy:MODEL")
    table = options.map or (os.path.join(os.path.dirname(__file__), "tags_penn.tsv") if kind == "nltk" else "none")
    table = None if table == "none" else read_map(table)
    tag = nltk_tagger(place) if kind == "nltk" else spacy_tagger(place)
    for path in options.files:
        for record in documents(path):
            record["tags"] = [[start, end, mapped(found, table)] for start, end, found in tag(record["text"])]
            json.dump(record, sys.stdout, ensure_ascii=False)
            print()


if __name__ == "__main__":
    main()
