#!/usr/bin/env python3
"""Compares mask.policy denoise with fairseq's denoising task, as distributions over 100,000 rows.

    pip install numpy scipy
    python tools/compare_denoise.py --kmask build/release/kmask [--rows 100000] [--ratio 0.3] [--lambda 3] [--seed 1]

A text of random words in random sentences becomes a corpus, one document a row. `kmask corpus show --json` prints rows with source
and target under denoise. Beside it the same rows are noised here, by code that shares nothing with kmask: lengths of spans, their
trimming to the budget, permutation and insertion follow fairseq's rules (denoising_dataset.py of fairseq 0.12). Spans are placed
in two ways: as fairseq does, which lets them overlap, and as kmask does, in a uniform arrangement of spans and other words.

  exact  a row has ceil(ratio * words) hidden words; the target is the row; all that is not hidden is shown, once
  equal  to fairseq: <mask>s a row, orders of sentences; to the arrangement: also lengths of spans, hidden words and inserted masks by
         their place in the row (chi-square of two samples, p above 1e-4)
  other  fairseq hides fewer words than it drew, because its spans overlap, and fewer at a row's beginning than at its end: printed

Status 1 when one that should be exact or equal is not.
"""
import argparse
import collections
import json
import math
import os
import subprocess
import sys
import tempfile

import numpy as np
from scipy import stats

BOS, EOS, MASK, FIRST = 2, 3, 4, 5  # ids of the vocabulary that write_tokenizer writes


# ---- fairseq's rules ---------------------------------------------------------------------------------------------------------------

def lengths_of_poisson(lam):
    """fairseq's table: until a probability is below 1e-7."""
    ps, power, factorial = [], 1.0, 1.0
    for k in range(128):
        ps.append(math.exp(-lam) * power / factorial)
        power *= lam
        factorial *= k + 1
        if ps[-1] < 1e-7:
            break
    return np.array(ps) / sum(ps)


def permute_sentences(words, ends, rng):
    """words: of a row; ends: of its sentences. Returns the words in their new order and the order of sentences."""
    order = rng.permutation(len(ends))
    begins = [0] + ends[:-1]
    return [w for s in order for w in words[begins[s]:ends[s]]], list(order)


def draw_spans(count, ratio, table, rng):
    """Lengths as add_whole_word_mask draws and trims them: those above 0, and how many are 0."""
    budget = math.ceil(np.float32(count) * np.float32(ratio) - 1e-6)
    lengths = rng.choice(len(table), size=budget, p=table)
    while lengths.sum() < budget:
        lengths = np.concatenate([lengths, rng.choice(len(table), size=budget, p=table)])
    cumulated = np.cumsum(lengths)
    last = int(np.argmax(cumulated >= budget))
    lengths = lengths[:last + 1].copy()
    lengths[last] = budget - (cumulated[last - 1] if last > 0 else 0)
    return lengths[lengths > 0], int((lengths == 0).sum())


def insert(source, zeros, rng):
    """<mask>s at random places; <s> and </s>, which are not in the list, stay outside."""
    places, at = set(rng.permutation(len(source) + zeros)[:zeros]), iter(source)
    return [None if i in places else next(at) for i in range(len(source) + zeros)]


def place_as_fairseq(words, lengths, rng):
    """Starts are different words, whatever lies between. Returns the source and the places that are hidden."""
    starts = rng.permutation(len(words))[:len(lengths)]
    keep, mask = np.ones(len(words), bool), np.zeros(len(words), bool)
    mask[starts] = True
    for start, length in zip(starts, lengths):
        keep[start + 1:start + length] = False  # another span's <mask> that lies there goes too
    return [None if mask[i] else words[i] for i in range(len(words)) if keep[i]], np.flatnonzero(mask | ~keep)


def place_apart(words, lengths, rng):
    """All arrangements of the spans and the words that are left are equally likely."""
    items = np.concatenate([lengths, np.zeros(len(words) - int(sum(lengths)), int)])
    source, hidden, at = [], [], 0
    for size in rng.permutation(items):
        source.append(None if size > 0 else words[at])
        hidden += range(at, at + size)
        at += max(int(size), 1)
    return source, np.array(hidden, int)


def noise(sizes, permute, place, ratio, table, rng):
    """One row. words: their places in the clean row; source: None is a <mask>."""
    ends = [int(e) for e in np.cumsum(sizes)]
    words, order = permute_sentences(list(range(ends[-1])), ends, rng) if permute else (list(range(ends[-1])), None)
    lengths, zeros = draw_spans(len(words), ratio, table, rng)
    source, hidden = place(words, lengths, rng)
    return {"order": order, "words": len(words), "places": hidden, "masks": len(lengths) + zeros, "source": insert(source, zeros, rng)}


# ---- kmask's rows ------------------------------------------------------------------------------------------------------------------

def run(*command, **options):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **options).stdout


def write_text(path, rows, rng):
    """A row a document: 2 to 5 sentences, each of 2 to 12 words. Every word of the row is another, so that it names its place."""
    sizes = []
    with open(path, "w") as file:
        for _ in range(rows):
            sentences = rng.integers(2, 13, size=rng.integers(2, 6))
            names = iter(range(sum(sentences)))
            for size in sentences:
                file.write(" ".join(f"w{next(names)}" for _ in range(size)) + "\n")
            file.write("\n")
            sizes.append([int(s) for s in sentences])
    return sizes


def write_tokenizer(folder):
    os.makedirs(folder)
    with open(os.path.join(folder, "vocab.txt"), "w") as file:
        file.write("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + [f"w{i}" for i in range(60)]) + "\n")


def examine(row, sizes):
    """What kmask made of a row; asserts what is exact."""
    ids, source, target, hidden = row["input_ids"], row["sources"][0], row["targets"][0], row["masks"][0]
    words = len(ids) - 2
    assert words == sum(sizes), "the corpus has one document a row"
    assert target == ids, "the target is the clean row"
    assert source[0] == BOS and source[-1] == EOS, "<s> and </s> stay"
    shown = [i - FIRST for i in source[1:-1] if i != MASK]
    places = [p - 1 for p in hidden]
    assert sorted(shown + places) == list(range(words)), "what is not hidden is shown, once"
    sentence_of = np.repeat(np.arange(len(sizes)), sizes)
    order = [int(s) for s, before in zip(sentence_of[shown], [-1] + list(sentence_of[shown][:-1])) if s != before]
    return {"words": words, "places": np.array(places, int), "tau": row["tau"], "masks": source.count(MASK),
            "order": order if len(order) == len(sizes) else None, "source": [None if i == MASK else i - FIRST for i in source[1:-1]]}


def read_spans(row):
    """Spans and inserted masks, from a source whose sentences have not moved. Between two words that are shown stand m <mask>s and h
    hidden words. With h = 0 all <mask>s were inserted; with h > 0 and m = 1 it is a span of h words. Else it cannot be told which is
    which, here and there alike."""
    lengths, inserted, masks, at = [], [], [], 0
    for i, word in list(enumerate(row["source"])) + [(len(row["source"]), row["words"])]:
        if word is None:
            masks.append(i)
            continue
        if word == at:
            inserted += [m / len(row["source"]) for m in masks]
        elif len(masks) == 1:
            lengths.append(word - at)
        masks, at = [], word + 1
    return lengths, inserted


# ---- The comparison ----------------------------------------------------------------------------------------------------------------

class Report:
    def __init__(self):
        self.failed = 0

    def line(self, what, ours, theirs, p=None, good=True):
        self.failed += not good
        print(f"| {what} | {ours} | {theirs} | {'' if p is None else f'{p:.2g}'} | {'yes' if good else 'NO'} |", flush=True)

    def equal(self, what, ours, theirs):
        """Two lists of numbers are of one distribution. Values that occur seldom are put together."""
        a, b = collections.Counter(ours), collections.Counter(theirs)
        cells, rest = [], [0, 0]
        for k in sorted(set(a) | set(b)):
            if a[k] + b[k] < 20:
                rest = [rest[0] + a[k], rest[1] + b[k]]
            else:
                cells.append([a[k], b[k]])
        cells += [rest] if sum(rest) >= 20 else []
        p = stats.chi2_contingency(np.array(cells).T, correction=False).pvalue
        self.line(what, f"mean {np.mean(list(ours)):.4f}", f"mean {np.mean(list(theirs)):.4f}", p, p > 1e-4)


def show(kmask, a, sizes, permute):
    masks = f"policy=denoise,ratio={a.ratio},poisson_lambda={a.lam},permute_sentences={permute}"
    command = [kmask, "corpus", "show", "c.h5", "--rows", str(a.rows), "--length", "64", "--packing", "documents", "--json", "--seed",
               str(a.seed), "--mask", masks]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    rows = [examine(json.loads(line), sizes[i]) for i, line in enumerate(child.stdout)]
    if child.wait() != 0 or len(rows) != a.rows:
        sys.exit("kmask corpus show failed")
    return rows


def compare_rows(report, a, ours, theirs):
    """Permuted: against fairseq."""
    budget = [math.ceil(a.ratio * o["words"] - 1e-9) for o in ours]
    exact = [sum(len(row["places"]) == b for row, b in zip(rows, budget)) for rows in (ours, theirs)]
    report.line("rows with ceil(ratio * words) hidden words", exact[0], exact[1], None, exact[0] == len(ours))
    words = sum(o["words"] for o in ours)
    report.line("share of words hidden", *(f"{sum(len(row['places']) for row in rows) / words:.4f}" for rows in (ours, theirs)))
    report.equal("<mask>s a row, of spans and inserted", [o["masks"] for o in ours], [t["masks"] for t in theirs])
    for count in (2, 3, 4):
        # A sentence that is hidden whole leaves no trace of its place; of the other rows all orders are equally likely.
        seen = collections.Counter(tuple(o["order"]) for o in ours if o["order"] and len(o["order"]) == count)
        p = stats.chisquare(list(seen.values())).pvalue
        report.line(f"orders of {count} sentences, each as often", f"{len(seen)}", f"{math.factorial(count)}", p,
                    p > 1e-4 and len(seen) == math.factorial(count))


def compare_places(report, ours, theirs, rng):
    """In their own order: against the arrangement. One of each row, because those of one row depend on each other."""
    def pick(lists):
        return [x[rng.integers(len(x))] for x in lists if len(x) > 0]
    read = [[read_spans(row) for row in rows] for rows in (ours, theirs)]
    lengths, inserted = ([pick(row[i] for row in rows) for rows in read] for i in (0, 1))
    places = [pick([int(10 * k / row["words"]) for k in row["places"]] for row in rows) for rows in (ours, theirs)]
    report.equal("lengths of spans that stand alone", *lengths)
    report.equal("inserted <mask>s a row that stand alone", *([len(row[1]) for row in rows] for rows in read))
    report.equal("their places, in tenths of the source", *([int(10 * x) for x in side] for side in inserted))
    report.equal("hidden words, in tenths of the row", *places)


def print_fifths(report, ours, theirs):
    def share(rows, fifth):
        return sum(int(5 * k / row["words"]) == fifth for row in rows for k in row["places"]) / \
            sum(sum(int(5 * k / row["words"]) == fifth for k in range(row["words"])) for row in rows)
    for fifth in range(5):
        report.line(f"share hidden in fifth {fifth + 1} of the row", f"{share(ours, fifth):.4f}", f"{share(theirs, fifth):.4f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kmask", required=True)
    parser.add_argument("--rows", type=int, default=100000)
    parser.add_argument("--ratio", type=float, default=0.3)
    parser.add_argument("--lambda", dest="lam", type=float, default=3)
    parser.add_argument("--seed", type=int, default=1)
    a = parser.parse_args()
    kmask, rng, table = os.path.abspath(a.kmask), np.random.default_rng(a.seed), lengths_of_poisson(a.lam)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        write_tokenizer("tok")
        sizes = write_text("text.txt", a.rows, rng)
        run(kmask, "corpus", "build", "--tokenizer", "tok", "--sentences", "line", "--out", "c.h5", "text.txt", stderr=subprocess.DEVNULL)
        permuted, plain = show(kmask, a, sizes, 1), show(kmask, a, sizes, 0)
        os.chdir("/")
    fairseq, apart = ([noise(s, permute, place, a.ratio, table, rng) for s in sizes]
                      for permute, place in ((True, place_as_fairseq), (False, place_apart)))
    report = Report()
    print(f"{a.rows} rows of {min(map(sum, sizes))} to {max(map(sum, sizes))} words, ratio {a.ratio}, lambda {a.lam}\n")
    print("| what | kmask | fairseq | p | as it should be |\n| --- | --- | --- | --- | --- |")
    compare_rows(report, a, permuted, fairseq)
    print_fifths(report, plain, fairseq)
    print("\n| what | kmask | fairseq's spans, arranged | p | as it should be |\n| --- | --- | --- | --- | --- |")
    compare_places(report, plain, apart, rng)
    print(f"\n{'all as it should be' if report.failed == 0 else f'{report.failed} not as they should be'}")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
