#!/usr/bin/env python3
"""answers_chance.py DATA NAME PREDICTIONS: what answers without reading would score in exact match on the questions that tools/answers.sh asks.

DATA is the folder of the data sets, NAME one of webquestions, efficientqa, squad, ropes, aida, and PREDICTIONS the search's
predictions/dev.jsonl, which say which questions were asked and which answers are accepted. Prints five cells of a Markdown table:
  1 the most frequent answer of train
  2 dev's own most frequent answer: no constant answer has more
  3 words of the source at random, as many in a row as the first accepted answer has (the expected score)
  4 where a question names two things with "or" at its end, one of the two at random, else nothing (the expected score)
  5 the marked mention as it stands; empty where no question has one
Needs nothing but Python.
"""
import collections
import gzip
import json
import re
import string
import sys


def normalize(text):
    text = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def lines(path):
    opened = gzip.open(path, "rt", encoding="utf-8") if path.endswith(".gz") else open(path, encoding="utf-8")
    with opened as file:
        return [json.loads(line) for line in file if line.strip()]


def whole(path):
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return json.load(file)


def ropes(path):
    """Questions with what they are about, and their first answers."""
    return [(q["question"], p["background"] + " " + p["situation"], q["answers"][0]["text"])
            for article in whole(path)["data"] for p in article["paragraphs"] for q in p["qas"]]


def read(data, name, asked):
    """The first answers of train, and for each question its context."""
    contexts = collections.defaultdict(str)
    if name == "webquestions":
        return [r["answer"][0] for r in lines(f"{data}/openqa/WebQuestions-train.txt.gz")], contexts
    if name == "efficientqa":
        return [r["answer"][0] for r in lines(f"{data}/openqa/NQ-open.efficientqa.dev.1.1.jsonl")], contexts
    if name == "aida":
        return [title for r in lines(f"{data}/aida-yago/train.jsonl.gz") for _, _, title in r["mentions"]], contexts
    if name == "ropes":
        contexts.update((question, context) for question, context, _ in ropes(f"{data}/ropes/dev-v1.0.json.gz"))
        return [answer for _, _, answer in ropes(f"{data}/ropes/train-v1.0.json.gz")], contexts
    rows = whole(f"{data}/squad-triples/dev.json.gz")
    contexts.update((r["question"].strip(), r["context"]) for r in rows)
    return [r["answer"] for r in rows if r["question"].strip() not in asked], contexts


def words_at_random(source, accepted):
    """The share of the places of a source where an accepted answer stands, of those as long as the first accepted answer."""
    words, count = normalize(source).split(), len(normalize(accepted[0]).split())
    runs = [" ".join(words[i:i + count]) for i in range(len(words) - count + 1)] if count else []
    return sum(run in {normalize(a) for a in accepted} for run in runs) / len(runs) if runs else 0


def of_two(question, accepted):
    found = re.search(r"([^,:;?]+?) or ([^,:;?]+?)\s*\?*$", question)
    if not found:
        return 0
    options, right = [normalize(o) for o in found.groups()], {normalize(a) for a in accepted}
    return 0.5 * any(o in right or any(o.endswith(" " + r) or o.startswith(r + " ") for r in right) for o in options)


def mention(question):
    found = re.search(r"\[START_ENT\] (.*?) \[END_ENT\]", question)
    return found.group(1) if found else ""


def main():
    data, name, path = sys.argv[1:4]
    rows = lines(path)
    train, contexts = read(data, name, {r["source"].strip() for r in rows})
    exact = lambda answer: sum(normalize(answer) in {normalize(t) for t in r["target"]} for r in rows) / len(rows)
    mean = lambda score: sum(score(r) for r in rows) / len(rows)
    most = collections.Counter(train).most_common(1)[0][0]
    own = collections.Counter(normalize(t) for r in rows for t in r["target"]).most_common(1)[0][0]
    cells = [exact(most), exact(own), mean(lambda r: words_at_random(r["source"] + " " + contexts[r["source"].strip()], r["target"])),
             mean(lambda r: of_two(r["source"], r["target"]))]
    if any(mention(r["source"]) for r in rows):
        cells.append(mean(lambda r: normalize(mention(r["source"])) in {normalize(t) for t in r["target"]}))
    print(" | ".join([f"{cell:.4f}" for cell in cells] + [""] * (5 - len(cells))))


if __name__ == "__main__":
    main()
