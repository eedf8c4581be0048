#!/usr/bin/env python3
"""Compares `kmask variance` with enumeration in numpy, from gradients that `kmask probe` gives.

    pip install h5py numpy
    python tools/compare_variance.py --kmask build/release/kmask --model MODEL.h5 --corpus CORPUS.h5 --tokenizer DIR
                                     [--row 0] [--length 9] [--ratio 0.28] [--splits 3]

Every mask of one short row is probed, one at a time; all sets of K disjoint masks and all K-tuples of independent ones are
listed. Compared are the mean gradient, Var of one mask, Cov of two, Var of K masks under both policies, Theorem 1's identity and
Lemma 2 (Zheng et al. 2020), each to 1e-4 relative. Status 1 when one is further off.
"""
import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile

import h5py
import numpy as np

LIMIT = 1e-4


def run(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


def probe(a, ids, labels, folder):
    source, out = os.path.join(folder, "ids.json"), os.path.join(folder, "probe.h5")
    with open(source, "w") as file:
        json.dump({"input_ids": [ids], "labels": [labels]}, file)
    if os.path.exists(out):
        os.remove(out)
    run(a.kmask, "probe", a.model, "--input", source, "--out", out)
    with h5py.File(out) as file:
        parts = {}
        file["grad"].visititems(lambda name, item: parts.update({name: item[:]}) if hasattr(item, "shape") else None)
    return parts


def main():
    parser = argparse.ArgumentParser()
    for name in ("kmask", "model", "corpus", "tokenizer"):
        parser.add_argument("--" + name, required=True)
    for name, standard in (("row", 0), ("length", 9), ("splits", 3)):
        parser.add_argument("--" + name, type=int, default=standard)
    parser.add_argument("--ratio", type=float, default=0.28)
    a = parser.parse_args()
    K = a.splits
    shown = json.loads(run(a.kmask, "corpus", "show", a.corpus, "--row", str(a.row), "--length", str(a.length),
                           "--packing", "stream", "--mask", f"splits={K},ratio={a.ratio}", "--json"))
    row = shown["input_ids"]
    vocabulary = open(os.path.join(a.tokenizer, "vocab.txt")).read().split("\n")
    special = {vocabulary.index(word) for word in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")}
    places = [i for i, token in enumerate(row) if token not in special]
    tau = len(shown["masks"][0])

    with tempfile.TemporaryDirectory() as folder:
        config = os.path.join(folder, "config.json")
        with open(config, "w") as file:
            json.dump({"run": {"dir": folder}, "data": {"train": a.corpus, "length": a.length, "packing": "stream"},
                       "mask": {"ratio": a.ratio}, "train": {"sequences": 1},
                       "variance": {"model": a.model, "rows": [a.row], "splits": [K], "exhaustive": True}}, file)
        found = json.loads(run(a.kmask, "variance", config, "--json"))
        names = found["models"][0]["tensors"]
        with h5py.File(os.path.join(folder, "variance", "variance.h5")) as file:
            mean_found = file["model-0/mean"][:]
        masks = list(itertools.combinations(places, tau))
        gradients = []
        for mask in masks:
            ids = [vocabulary.index("[MASK]") if i in mask else token for i, token in enumerate(row)]
            labels = [token if i in mask else -100 for i, token in enumerate(row)]
            parts = probe(a, ids, labels, folder)  # of the mean loss; Eq. 1 has the sum
            gradients.append(np.concatenate([parts[name].astype(np.float64).ravel() for name in names]) * tau)
    g = np.array(gradients)
    mean = g.mean(axis=0)
    products = (g - mean) @ (g - mean).T
    single = np.trace(products) / len(masks)
    apart = [(i, j) for i in range(len(masks)) for j in range(len(masks)) if not set(masks[i]) & set(masks[j])]
    cov = np.mean([products[i, j] for i, j in apart])
    sets = [s for s in itertools.combinations(range(len(masks)), K) if len(set().union(*(masks[i] for i in s))) == K * tau]
    var = lambda lists: np.mean([products[np.ix_(s, s)].sum() for s in lists]) / K ** 2
    explored, independent = var(sets), var(list(itertools.product(range(len(masks)), repeat=K)))
    lemma = np.linalg.norm(np.mean([g[list(s)].mean(axis=0) for s in sets], axis=0) - mean)

    fe, random = found["estimates"]
    print(f"{len(places)} maskable tokens, tau {tau}, {len(masks)} masks, {len(sets)} sets of {K} disjoint ones, {g.shape[1]} parameters")
    worst = 0
    for what, got, expected, scale in (
            ("mean gradient", np.linalg.norm(mean_found - mean), 0, np.linalg.norm(mean)),
            ("var_single", fe["var_single"], single, single),
            ("cov, fully explored", fe["cov"], cov, single),
            ("cov, random", random["cov"], 0, single),
            ("var, fully explored", fe["var"], explored, explored),
            ("var, random", random["var"], independent, independent),
            ("Theorem 1", fe["var"], single / K + (1 - 1 / K) * cov, explored),
            ("Lemma 2", lemma, 0, np.linalg.norm(mean))):
        worst = max(worst, abs(got - expected) / scale)
        print(f"{what:20} {got:14.7g} {expected:14.7g}   {abs(got - expected) / scale:.1e}")
    sys.exit(int(worst > LIMIT))


if __name__ == "__main__":
    main()
