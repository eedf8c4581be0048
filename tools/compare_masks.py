#!/usr/bin/env python3
"""Compares `kmask masks` with counts made here: tools/compare_masks.py [--kmask kmask] --vocab DIR --jsonl TAGGED.jsonl

DIR holds a BERT vocab.txt; the records of TAGGED.jsonl have "text" and "tags" (tools/conllu_tags.py makes such of a treebank). A corpus is
built with the names that `--spans find` finds. Then, independently of kmask's counting,
  - tokens are aligned with the records' tags by the `tokenizers` package, and each tag's share of the corpus is compared (1e-12);
  - shares under random and fully-explored masks must lie in kmask's intervals around the corpus' shares;
  - under salient masks, shares are computed from the spans that `kmask corpus show` prints (1e-9), and counted over the masks that it
    prints for some epochs (within the noise of so many masks);
  - for spans of words, which have no closed form, kmask's means over visits are compared with the same masks, counted here (1e-9);
  - frequency ranks, their shares, and how many of the intervals at 1 % of the rows hold the corpus' share.
Needs Python with tokenizers."""
import argparse
import collections
import json
import subprocess
import tempfile

import tokenizers

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--kmask", default="kmask")
parser.add_argument("--vocab", required=True)
parser.add_argument("--jsonl", required=True)
parser.add_argument("--length", type=int, default=128)
parser.add_argument("--epochs", type=int, default=8)
options = parser.parse_args()
work = tempfile.TemporaryDirectory()
corpus = work.name + "/corpus.h5"


def run(*arguments):
    return subprocess.run([options.kmask, *arguments], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


def masks(policies, share, **more):
    config = {"data": {"train": corpus, "length": options.length}, "masks": {"policies": policies, "share": share}, "mask": more}
    with open(work.name + "/masks.json", "w") as file:
        json.dump(config, file)
    return json.loads(run("masks", work.name + "/masks.json", "--json"))


def rows(mask=None, epoch=0):
    extra = ["--mask", mask, "--epoch", str(epoch)] if mask else []
    text = run("corpus", "show", corpus, "--length", str(options.length), "--rows", "1000000000", "--json", *extra)
    return [json.loads(line) for line in text.splitlines()]


def shares(counts):
    total = sum(counts.values())
    return {kind: count / total for kind, count in counts.items()}


def largest(a, b):
    return max(abs(a.get(kind, 0) - b.get(kind, 0)) for kind in {**a, **b})


bad = []


def check(what, figure, limit):
    print(f"{what}: {figure:.3g} (at most {limit:.3g})")
    if not figure <= limit:
        bad.append(what)


run("corpus", "build", "--tokenizer", options.vocab, "--spans", "find", "--out", corpus, options.jsonl)

# ---- The corpus' own shares, by another program's tokens ----
tokenizer = tokenizers.BertWordPieceTokenizer(options.vocab + "/vocab.txt", lowercase=True)
unknown = tokenizer.token_to_id("[UNK]")
tags, ids = collections.Counter(), collections.Counter()
for line in open(options.jsonl, encoding="utf-8"):
    record = json.loads(line)
    at = [""] * (len(record["text"]) + 1)
    for start, end, tag in record["tags"]:
        for i in range(start, end):
            at[i] = at[i] or tag
    encoding = tokenizer.encode(record["text"], add_special_tokens=False)
    whole = {}  # a word's characters
    for word, (start, end) in zip(encoding.word_ids, encoding.offsets):
        whole[word] = (min(start, whole.get(word, (start, end))[0]), max(end, whole.get(word, (start, end))[1]))
    for token, word in zip(encoding.ids, encoding.word_ids):
        if token != unknown:
            tags[next((at[i] for i in range(*whole[word]) if at[i]), "")] += 1
            ids[token] += 1

whole = masks(["random", "fully_explored", "salient"], 1)
found = whole["corpora"][0]
check("shares of the corpus by tag", largest({**found["tags"], "": found["untagged"]}, shares(tags)), 1e-12)
by_rank = sorted(ids, key=lambda token: (-ids[token], token))
pieces = [tokenizer.id_to_token(token) for token in by_rank]
check("tokens by rank that differ", sum(a != b for a, b in zip(found["pieces"], pieces)) + abs(len(pieces) - len(found["pieces"])), 0)
check("shares of the corpus by rank", max(abs(rank[1] - shares(ids)[by_rank[rank[0] - 1]]) for rank in whole["policies"][0]["ranks"]), 1e-12)

# ---- Uniform masks ----
for policy in whole["policies"][:2]:
    outside = [tag for tag, (low, high) in policy["tag_intervals"].items() if not low <= found["tags"][tag] <= high]
    check(f"{policy['name']}: tags outside of their intervals", len(outside), 0)
    check(f"{policy['name']}: shares by tag, off the corpus'", largest(policy["tags"], found["tags"]), 2e-3)
    outside = sum(not low <= rank[1] <= high for rank, (low, high) in zip(policy["ranks"], policy["rank_intervals"]))
    check(f"{policy['name']}: share of ranks outside of their intervals", outside / len(policy["ranks"]), 0)
small = masks(["random"], 0.01)["policies"][0]
held = sum(low <= rank[1] <= high for rank, (low, high) in zip(small["ranks"], small["rank_intervals"]))
print(f"random at 1 % of the rows: {held} of {len(small['ranks'])} intervals of ranks hold the corpus' share, and of tags "
      f"{sum(low <= found['tags'][tag] <= high for tag, (low, high) in small['tag_intervals'].items())} of {len(found['tags'])}")

# ---- Salient masks ----
salient = whole["policies"][2]
expected, counted, own = collections.Counter(), collections.Counter(), collections.Counter()
for row in rows("policy=salient"):
    spans = row["spans"]
    for start, end, _ in spans:
        for i in range(start, end):
            if row["input_ids"][i] != unknown:
                expected[row["tags"][i]] += 1 / len(spans)
                own[row["input_ids"][i]] += 1 / len(spans)
check("salient: shares by tag, from the spans", largest(salient["tags"], shares(expected)), 1e-9)
share_of = {by_rank[rank[0] - 1]: rank[2] for rank in salient["ranks"]}
check("salient: shares by rank, from the spans", largest(share_of, shares(own)), 1e-6)
for epoch in range(options.epochs):
    for row in rows("policy=salient", epoch):
        for i in row["masks"][0]:
            counted[row["tags"][i]] += 1
check("salient: shares by tag, counted", largest(salient["tags"], shares(counted)), 3 / sum(counted.values()) ** 0.5)

# ---- Spans of words: many draws ----
drawn, counted = masks(["random"], 1, unit="span", splits=2)["policies"][0], collections.Counter()
visits = drawn["draws"]
for epoch in range(visits):
    for row in rows("policy=random,unit=span,splits=2", epoch):
        for mask in row["masks"]:
            for i in mask:
                counted[row["tags"][i]] += 1
check(f"random spans: shares by tag over {visits} visits", largest(drawn["tags"], shares(counted)), 1e-9)
check("random spans: masked tokens", abs(drawn["masked"] - sum(counted.values()) / visits), 1e-6 * drawn["masked"])
print("all agree" if not bad else "NOT: " + ", ".join(bad))
raise SystemExit(bool(bad))
