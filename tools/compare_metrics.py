#!/usr/bin/env python3
"""compare_metrics.py [KMASK] [--cases N] [--seed S]: `kmask score` against scikit-learn, scipy, rouge_score, the SQuAD script and DPR's has_answer.

Random and degenerate inputs; every value must agree to 1e-9 (undefined values must be undefined on both sides). Needs
scikit-learn, scipy, numpy, regex and rouge-score from PyPI.
"""
import argparse
import collections
import json
import math
import os
import random
import re
import string
import subprocess
import sys
import tempfile
import unicodedata
import warnings

import numpy as np
import regex
from rouge_score import rouge_scorer
from scipy import stats
from sklearn import metrics

warnings.filterwarnings("ignore")
ROUGE = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)


def normalize(text):
    text = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def f1_token(predicted, accepted):
    a, b = normalize(predicted).split(), normalize(accepted).split()
    common = sum((collections.Counter(a) & collections.Counter(b)).values())
    return 0.0 if common == 0 else 2 * common / (len(a) + len(b))


TOKEN = regex.compile(r"[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]", regex.UNICODE)


def has_answer(predicted, accepted):
    text, answer = ([token.lower() for token in TOKEN.findall(unicodedata.normalize("NFD", t))] for t in (predicted, accepted))
    return any(text[i:i + len(answer)] == answer for i in range(len(text) - len(answer) + 1))


def of_answers(gold, predicted):
    accepted = [line.split("\t") for line in gold]
    pairs = list(zip(predicted, accepted))
    return {
        "em": np.mean([max(normalize(p) == normalize(g) for g in gs) for p, gs in pairs]),
        "f1_token": np.mean([max(f1_token(p, g) for g in gs) for p, gs in pairs]),
        "has_answer": np.mean([max(has_answer(p, g) for g in gs) for p, gs in pairs]),
        "rouge_l": np.mean([max(ROUGE.score(g, p)["rougeL"].fmeasure for g in gs) for p, gs in pairs]),
    }


def of_classes(gold, predicted):
    labels = sorted(set(gold) | set(predicted), key=lambda label: label.encode())
    positive = "1" if "1" in labels else labels[1] if len(labels) > 1 else None
    f1 = metrics.f1_score(gold, predicted, labels=[positive], average=None, zero_division=0)[0] if positive else 0.0
    return {
        "accuracy": metrics.accuracy_score(gold, predicted),
        "f1": f1,
        "f1_macro": metrics.f1_score(gold, predicted, average="macro", zero_division=0),
        "f1_micro": metrics.f1_score(gold, predicted, average="micro", zero_division=0),
        "matthews": metrics.matthews_corrcoef(gold, predicted),
    }


def of_numbers(gold, predicted):
    x, y = [float(g) for g in gold], [float(p) for p in predicted]
    if len(x) < 2 or len(set(x)) == 1 or len(set(y)) == 1:
        return {"pearson": math.nan, "spearman": math.nan}
    return {"pearson": stats.pearsonr(x, y)[0], "spearman": stats.spearmanr(x, y)[0]}


WORDS = ["the", "The", "a", "an", "Paris", "paris!", "U.S.", "theory", "12", "3.5", "naïve", "ΣΟΦΟΣ", "İstanbul", "l'été",
         "the’s", "—", "_", "a-b", "ß", "東京", "", "  ", "\u00a0x", "an.", "Kelvin K", "ﬁne", "\x1c", "e\u0301", "the\u0301"]


def answer(rng):
    return " ".join(rng.choice(WORDS) for _ in range(rng.randrange(0, 7)))


def make(kind, rng):
    n = rng.choice([1, 2, 3, 5, 20, 200])
    if kind == "classes":
        labels = rng.choice([["0", "1"], ["1"], ["a"], ["no", "yes"], ["x", "y", "z"], [str(i) for i in range(12)], ["-1", "1", "0"]])
        predicted = rng.choice([labels, labels[:1], labels + ["other"]])
        return [rng.choice(labels) for _ in range(n)], [rng.choice(predicted) for _ in range(n)], of_classes
    if kind == "numbers":
        draw = rng.choice([lambda: rng.gauss(0, 1), lambda: float(rng.randrange(3)), lambda: 2.5, lambda: 1e6 + rng.random()])
        other = rng.choice([draw, lambda: rng.gauss(0, 1)])
        return [repr(draw()) for _ in range(n)], [repr(other()) for _ in range(n)], of_numbers
    gold = ["\t".join(answer(rng) for _ in range(rng.randrange(1, 4))) for _ in range(n)]
    predicted = [rng.choice(g.split("\t")).upper() if rng.random() < 0.3 else answer(rng) for g in gold]
    return gold, predicted, of_answers


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kmask", nargs="?", default="build/release/kmask")
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng, bad = random.Random(args.seed), 0
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, name) for name in ("gold", "pred")]
        for case in range(args.cases):
            gold, predicted, reference = make(("classes", "numbers", "answers")[case % 3], rng)
            for path, lines in zip(paths, (gold, predicted)):
                with open(path, "w", newline="\n") as f:
                    f.write("".join(line + "\n" for line in lines))
            expected = reference(gold, predicted)
            out = subprocess.run([args.kmask, "score", "--metrics", ",".join(expected), "--gold", paths[0], "--pred", paths[1],
                                  "--json"], capture_output=True, text=True, check=True)
            found = json.loads(out.stdout)
            for name, value in expected.items():
                got = math.nan if found[name] is None else found[name]
                same = math.isnan(got) and math.isnan(value) or abs(got - value) <= 1e-9
                if not same:
                    bad += 1
                    print(f"case {case}: {name} is {got}, expected {value}\n  {gold[:4]}\n  {predicted[:4]}")
    print(f"{args.cases} inputs, {bad} values differ")
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
