#!/usr/bin/env python3
"""compare_seq2seq.py QUESTIONS [KMASK] [--steps N] [--dev N]: sequence-to-sequence fine-tuning against PyTorch and transformers.

QUESTIONS is a file of questions and answers, an object a line: {"question", "answer": [...]} as WebQuestions has them, or {"source",
"target"}; it may be gzip. Of a random BART it compares (1) the losses of N updates with equal batches and no dropout, without label
smoothing, and with 0.1 in transformers' and in fairseq's form: they must agree to 1e-3. Of a model that has learned for 300 updates to
answer with a question's first two words, which small models learn in parts, it compares (2) the predictions for N questions of `kmask
finetune` with those of transformers' generate on the exported model: equal texts, scores to 1e-4; a tie of two beams may go either
way and is counted; (3) exact match and F1 with a script of its own, after KILT's. Needs torch, transformers, tokenizers.
"""
import argparse
import collections
import gzip
import json
import os
import re
import string
import subprocess
import tempfile

import torch
from transformers import BartConfig, BartForConditionalGeneration, PreTrainedTokenizerFast

from compare_finetune import order

LR, SEED, DECAY, LENGTH, TARGET = 1e-3, 1, 0.01, 48, 24


def read(path):
    opened = gzip.open(path, "rt", encoding="utf-8") if path.endswith(".gz") else open(path, encoding="utf-8")
    with opened as file:
        rows = [json.loads(line) for line in file if line.strip()]
    rows = [(r.get("source", r.get("question")), r.get("target", r.get("answer"))) for r in rows]
    return [(s, [t] if isinstance(t, str) else t) for s, t in rows]


def write(path, rows):
    with open(path, "w", encoding="utf-8") as file:
        for source, targets in rows:
            file.write(json.dumps({"source": source, "target": targets}) + "\n")


def make_model(kmask, work, rows):
    text = os.path.join(work, "text.txt")
    with open(text, "w", encoding="utf-8") as file:
        file.writelines(f"{s}\n{t[0]}\n" for s, t in rows)
    folder = os.path.join(work, "model")
    subprocess.run([kmask, "tokenizer", "train", "--type", "bpe", "--vocab-size", "2000", "--out", folder, text], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open(os.path.join(folder, "vocab.json"), encoding="utf-8") as file:
        vocab = json.load(file)
    torch.manual_seed(3)
    config = BartConfig(vocab_size=len(vocab), d_model=64, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
                        decoder_attention_heads=4, encoder_ffn_dim=128, decoder_ffn_dim=128, max_position_embeddings=128,
                        init_std=0.1, dropout=0.0, pad_token_id=vocab["<pad>"], bos_token_id=vocab["<s>"],
                        eos_token_id=vocab["</s>"], decoder_start_token_id=vocab["</s>"], forced_eos_token_id=vocab["</s>"])
    BartForConditionalGeneration(config).save_pretrained(folder)
    return folder, config


def tokens(kmask, folder, texts, length):
    """Ids with <s> and </s>, cut; those of the tokenizer's file are kmask's own business (compare_tokenizers.py)."""
    lines = "\n".join(t.replace("\n", " ") for t in texts) + "\n"
    out = subprocess.run([kmask, "tokenizer", "encode", "--tokenizer", folder], input=lines, check=True, capture_output=True,
                         text=True, encoding="utf-8").stdout.split("\n")
    with open(os.path.join(folder, "vocab.json"), encoding="utf-8") as file:
        vocab = json.load(file)
    return [[vocab["<s>"]] + [int(i) for i in line.split()][:length - 2] + [vocab["</s>"]] for line in out[:len(texts)]]


def padded(rows, value):
    most = max(map(len, rows))
    return torch.tensor([r + [value] * (most - len(r)) for r in rows])


def loss_of(logits, labels, smoothing, form):
    logp = torch.log_softmax(logits, -1)[labels != -100]
    label, vocab = labels[labels != -100].unsqueeze(-1), logits.shape[-1]
    nll, everything = -logp.gather(-1, label).mean(), -logp.sum(-1).mean()
    if form == "transformers":
        return (1 - smoothing) * nll + smoothing * everything / vocab
    return (1 - smoothing) * nll + smoothing / (vocab - 1) * (everything - nll)


def torch_losses(folder, sources, targets, steps, batch_size, smoothing, form):
    model = BartForConditionalGeneration.from_pretrained(folder).train()
    plain = [p for n, p in model.named_parameters() if p.dim() == 1]
    decayed = [p for n, p in model.named_parameters() if p.dim() > 1]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": DECAY}, {"params": plain, "weight_decay": 0.0}],
                                  lr=LR, betas=(0.9, 0.999), eps=1e-8)
    losses, pad, warmup, count = [], model.config.pad_token_id, 5, len(sources)
    for step in range(1, steps + 1):
        chosen = [order(p % count, count, SEED, p // count) for p in range((step - 1) * batch_size, step * batch_size)]
        inputs, labels = padded([sources[i] for i in chosen], pad), padded([targets[i] for i in chosen], -100)
        logits = model(input_ids=inputs, attention_mask=(inputs != pad).long(), labels=labels).logits
        loss = loss_of(logits, labels, smoothing, form)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        for group in optimizer.param_groups:
            group["lr"] = LR * (step / warmup if step <= warmup else 1 - (step - 1 - warmup) / (steps - warmup))
        optimizer.step()
        losses.append(loss.item())
    return losses


def tune(kmask, work, folder, name, steps, batch_size, smoothing, form):
    run = os.path.join(work, name)
    config = {"run": {"dir": run},
              "task": {"kind": "seq2seq", "train": os.path.join(work, "train.jsonl"), "dev": os.path.join(work, "dev.jsonl"),
                       "length": LENGTH, "target_length": TARGET},
              "finetune": {"init": folder, "steps": steps, "batch": batch_size, "lr": LR, "seeds": SEED, "dropout": 0,
                           "weight_decay": DECAY, "warmup": 5, "clip": 0.1, "evaluate_every": steps, "label_smoothing": smoothing,
                           "smoothing_form": form}}
    path = os.path.join(work, name + ".json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(config, file)
    subprocess.run([kmask, "finetune", path], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    record = [n for n in os.listdir(os.path.join(run, "runs")) if n.endswith(".json")][0]
    with open(os.path.join(run, "runs", record), encoding="utf-8") as file:
        return json.load(file)["losses"]


def compare_generation(kmask, work, run, sources):
    """Texts and scores of dev by transformers on the exported model."""
    out = os.path.join(work, "exported")
    subprocess.run([kmask, "export", os.path.join(run, "model.h5"), "--out", out], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    model = BartForConditionalGeneration.from_pretrained(out).eval()
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=os.path.join(out, "tokenizer.json"))
    with open(os.path.join(run, "predictions", "dev.jsonl"), encoding="utf-8") as file:
        ours = [json.loads(line) for line in file]
    same, worst, ties = 0, 0.0, 0
    special = {model.config.bos_token_id, model.config.eos_token_id, model.config.pad_token_id}
    for first in range(0, len(sources), 64):
        inputs = padded(sources[first:first + 64], model.config.pad_token_id)
        with torch.no_grad():
            found = model.generate(input_ids=inputs, attention_mask=(inputs != model.config.pad_token_id).long(), num_beams=4,
                                   min_length=1, max_length=20, length_penalty=1.0, early_stopping=False,
                                   return_dict_in_generate=True, output_scores=True)
        for i, ids in enumerate(found.sequences):
            text = tokenizer.decode([t for t in ids.tolist() if t not in special])
            row, difference = ours[first + i], abs(ours[first + i]["score"] - found.sequences_scores[i].item())
            same += row["prediction"] == text
            ties += row["prediction"] != text and difference < 1e-4
            worst = max(worst, difference)
    print(f"generation: {same} of {len(ours)} answers equal transformers' on the exported model, {ties} others are ties; scores "
          f"differ by {worst:.1e} at most")
    return same + ties == len(ours) and worst < 1e-4, ours


def normalize(text):
    text = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def f1(predicted, gold):
    a, b = normalize(predicted).split(), normalize(gold).split()
    common = sum((collections.Counter(a) & collections.Counter(b)).values())
    return 0.0 if common == 0 else 2 * common / (len(a) + len(b))


def compare_scores(run, ours):
    em = sum(max(normalize(r["prediction"]) == normalize(t) for t in r["target"]) for r in ours) / len(ours)
    token = sum(max(f1(r["prediction"], t) for t in r["target"]) for r in ours) / len(ours)
    with open(os.path.join(run, "results.json"), encoding="utf-8") as file:
        dev = json.load(file)["chosen"]["dev"]
    differences = abs(dev["em"]["mean"] - em), abs(dev["f1_token"]["mean"] - token)
    print(f"{len(ours)} predictions: EM {em:.6f}, F1 {token:.6f}; kmask differs by {differences[0]:.1e} and {differences[1]:.1e}")
    return max(differences) < 1e-9


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("questions")
    parser.add_argument("kmask", nargs="?", default="build/release/kmask")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--dev", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=16)
    args = parser.parse_args()
    rows, good = read(args.questions), True
    with tempfile.TemporaryDirectory() as work:
        dev, train = rows[:args.dev], rows[args.dev:]
        write(os.path.join(work, "train.jsonl"), train)
        write(os.path.join(work, "dev.jsonl"), dev)
        folder, _ = make_model(args.kmask, work, rows)
        sources = tokens(args.kmask, folder, [s for s, _ in train], LENGTH)
        targets = tokens(args.kmask, folder, [t[0] for _, t in train], TARGET)
        for smoothing, form in ((0, "fairseq"), (0.1, "transformers"), (0.1, "fairseq")):
            name = f"run-{smoothing}-{form}"
            ours = tune(args.kmask, work, folder, name, args.steps, args.batch, smoothing, form)
            theirs = torch_losses(folder, sources, targets, args.steps, args.batch, smoothing, form)
            worst = max(abs(a - b) for a, b in zip(ours, theirs))
            print(f"label smoothing {smoothing} ({form}): {len(ours)} steps, loss {theirs[0]:.4f} to {theirs[-1]:.4f}, largest "
                  f"difference {worst:.1e}")
            good = good and worst < 1e-3 and len(ours) == args.steps
        easy = [(s, [" ".join(s.split()[:2]), f"The {s.split()[0]}!"]) for s, _ in rows]
        write(os.path.join(work, "train.jsonl"), easy[args.dev:])
        write(os.path.join(work, "dev.jsonl"), easy[:args.dev])
        tune(args.kmask, work, folder, "easy", 300, args.batch, 0.1, "fairseq")
        run = os.path.join(work, "easy")
        same, predicted = compare_generation(args.kmask, work, run, tokens(args.kmask, folder, [s for s, _ in dev], LENGTH))
        good = compare_scores(run, predicted) and same and good
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
