#!/usr/bin/env python3
"""How well the network of mask.policy "proposal" knows the gradients of rows that it has not seen.

    pip install h5py numpy scipy
    python tools/compare_proposal.py --kmask build/release/kmask --model RUN/checkpoints/step-00001000.h5 --corpus HELDOUT.h5
                                     --mask-id ID [--rows 64] [--length 32] [--packing full_sentences] [--splits 4] [--ratio 0.15] [--seed 9]

Rows of a held-out corpus are masked at random. `kmask probe` gives logits and hidden states at the masked tokens; from these and the
model's weights numpy computes the norm of the gradient of each token's loss in the output layer, |d logits| sqrt(|h|^2 + 1). The scores
of the same tokens are computed by numpy too, from the network in the checkpoint (/proposal/...) and the unmasked row. ID is that of
[MASK]: its line in vocab.txt, from 0. Printed are the correlations of scores with the logarithms of the norms, and their mean squared
error beside that of the best constant. For BERT and RoBERTa.
"""
import argparse
import json
import os
import subprocess
import tempfile

import h5py
import numpy as np
from scipy.special import erf
from scipy.stats import pearsonr, spearmanr


def run(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


def shown_rows(a):
    """The ids of each row, and the places of its masks."""
    text = run(a.kmask, "corpus", "show", a.corpus, "--row", "0", "--rows", str(a.rows), "--length", str(a.length), "--packing",
               a.packing, "--seed", str(a.seed), "--mask", f"policy=random,splits={a.splits},ratio={a.ratio}", "--json")
    found, at, decoder = [], 0, json.JSONDecoder()
    while at < len(text.rstrip()):
        shown, at = decoder.raw_decode(text, at)
        at += len(text[at:]) - len(text[at:].lstrip())
        for one in shown if isinstance(shown, list) else [shown]:
            found.append((np.array(one["input_ids"]), one["masks"]))
    return found


def scores_of(net, ids):
    """Embedding, convolution with zeros around the row, linear, rectifier, linear."""
    x = net["embed.weight"][ids]
    width, kernel = x.shape[1], net["conv.weight"].shape[1] // x.shape[1]
    half = kernel // 2
    padded = np.pad(x, ((half, half), (0, 0)))
    weight = net["conv.weight"].reshape(-1, width, kernel)
    h = net["conv.bias"] + sum(padded[k:k + len(ids)] @ weight[:, :, k].T for k in range(kernel))
    u = np.maximum(h @ net["linear1.weight"].T + net["linear1.bias"], 0)
    return (u @ net["linear2.weight"].T + net["linear2.bias"])[:, 0]


def transformed(model, hidden, eps):
    """What the output layer multiplies: dense, gelu, norm of the last hidden states."""
    roberta = "lm_head.bias" in model
    dense, norm = ("lm_head.dense", "lm_head.layer_norm") if roberta else (
        "cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm")
    y = hidden @ model[dense + ".weight"].T + model[dense + ".bias"]
    y = 0.5 * y * (1 + erf(y / np.sqrt(2)))
    y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + eps)
    return y * model[norm + ".weight"] + model[norm + ".bias"]


def main():
    parser = argparse.ArgumentParser()
    for name in ("kmask", "model", "corpus"):
        parser.add_argument("--" + name, required=True)
    for name, standard in (("rows", 64), ("length", 32), ("splits", 4), ("seed", 9)):
        parser.add_argument("--" + name, type=int, default=standard)
    parser.add_argument("--mask-id", type=int, required=True)
    parser.add_argument("--ratio", type=float, default=0.15)
    parser.add_argument("--packing", default="full_sentences")
    a = parser.parse_args()
    with h5py.File(a.model) as file:
        if "proposal" not in file:
            raise SystemExit(f"{a.model}: no network that proposes masks; train with mask.policy proposal")
        net = {name: item[:].astype(np.float64) for name, item in file["proposal"].items()}
        model = {name: item[:].astype(np.float64) for name, item in file["model"].items()}
        eps = json.loads(file.attrs["config"])["model"]["layer_norm_eps"]

    rows = shown_rows(a)
    width = max(len(row) for row, _ in rows)
    views, seen = [], []
    for row, masks in rows:
        for mask in masks:
            view = np.zeros(width, dtype=int)
            view[:len(row)] = row
            view[mask] = a.mask_id
            views.append(view.tolist())
            seen.append([int(i < len(row)) for i in range(width)])
    with tempfile.TemporaryDirectory() as folder:
        source, out = os.path.join(folder, "ids.json"), os.path.join(folder, "probe.h5")
        with open(source, "w") as file:
            json.dump({"input_ids": views, "attention_mask": seen}, file)
        run(a.kmask, "probe", a.model, "--input", source, "--out", out)
        with h5py.File(out) as file:
            last = str(max(int(name) for name in file["hidden_states"]))
            logits, hidden = file["logits"][:].astype(np.float64), file["hidden_states"][last][:].astype(np.float64)

    scores, logs, view = [], [], 0
    for row, masks in rows:
        score = scores_of(net, row)
        for mask in masks:
            z = logits[view, mask]
            d = np.exp(z - z.max(-1, keepdims=True))
            d /= d.sum(-1, keepdims=True)
            d[np.arange(len(mask)), row[mask]] -= 1
            h = transformed(model, hidden[view, mask], eps)
            norms = np.sqrt((d**2).sum(-1) * ((h**2).sum(-1) + 1))
            logs.extend(np.log(np.maximum(norms, 1e-4)))
            scores.extend(score[mask])
            view += 1
    scores, logs = np.array(scores), np.array(logs)
    print(f"{len(logs)} masked tokens of {a.rows} rows of {a.corpus}")
    print(f"correlation of scores with the logarithms of the norms: {pearsonr(scores, logs)[0]:.4f} (Pearson), "
          f"{spearmanr(scores, logs)[0]:.4f} (Spearman)")
    print(f"mean squared error {np.mean((scores - logs)**2):.5f}; of the best constant {logs.var():.5f}; "
          f"logarithms {logs.mean():.3f} +- {logs.std():.3f}")


if __name__ == "__main__":
    main()
