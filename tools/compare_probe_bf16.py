#!/usr/bin/env python3
"""Compares `kmask probe --precision bf16` with PyTorch's own bf16 (torch.autocast), tensor by tensor.

    pip install torch transformers h5py numpy
    python tools/compare_probe_bf16.py --kmask build/release/kmask [--shapes 10] [--seed 1] [--folder MODEL] [--all]

Models and inputs are those of compare_probe.py, but wide enough for products to matter; with --folder it is a published one
(safetensors, config.json, tokenizer files) instead. What is exact is transformers in float64. The error of a
program at a tensor is the root mean square of its distance to that, in units of the tensor's own (where a gradient is zero but for
rounding, as a key's bias' always is: of the steepest gradient's). Rounding errors are random, so of two equally good programs each is
closer about half of the time; the limit is that kmask's error is at no tensor above 1.5 times PyTorch's, nor above it in the geometric mean
of hidden states, logits or gradients. --all prints every tensor. Status 1 when a limit is passed."""
import argparse
import os
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import torch
import transformers
from transformers import AutoModelForMaskedLM

import compare_probe

MOST_AT_ONE = 1.5


def draw_case(seed):
    case = compare_probe.draw_case(seed)
    rng = np.random.default_rng([seed, 9])
    pick = lambda *values: values[rng.integers(len(values))]
    heads, width = int(pick(2, 4, 6)), int(pick(16, 32, 33, 64))
    case.update(heads=heads, hidden=heads * width, inner=int(pick(128, 257, 512)), layers=int(pick(1, 2, 4)),
                scale=float(pick(0.02, 0.05, 0.1)), rows=4, length=min(case["length"], 48), eps=1e-5)
    return case


def errors(exact, got):
    """{tensor: root mean square distance in units of the tensor's root mean square}"""
    size = {name: np.sqrt(np.mean(value**2)) for name, value in exact.items()}
    steepest = max(value for name, value in size.items() if name.startswith("grad/"))
    result = {}
    for name, value in exact.items():
        zero = name.startswith("grad/") and size[name] <= 1e-9 * steepest
        result[name] = np.sqrt(np.mean((got[name] - value) ** 2)) / (steepest if zero else size[name])
    return result


def halved(model, whole):
    """compare_probe.reference under bf16 autocast."""
    model = model.to(torch.float32)
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(**{k: torch.tensor(v) for k, v in whole.items()}, output_hidden_states=True)
    out.loss.backward()
    result = {"logits": out.logits, **{f"hidden_states/{i}": h for i, h in enumerate(out.hidden_states)},
              **{f"grad/{n}": p.grad for n, p in model.named_parameters()}}
    return out.loss.item(), {k: v.detach().double().numpy().copy() for k, v in result.items()}


def probe(kmask, path, given, folder):
    wrapper = f"{folder}/kmask-bf16"
    with open(wrapper, "w") as f:
        f.write(f'#!/bin/sh\nexec "{os.path.abspath(kmask)}" "$@" --precision bf16\n')
    os.chmod(wrapper, 0o755)
    return compare_probe.probe(wrapper, path, given, folder)


def compare(kmask, name, model, path, given, whole, folder, show_all):
    loss, exact = compare_probe.reference(model, whole, torch.float64)
    their_loss, theirs = halved(model, whole)
    own_loss, own = probe(kmask, path, given, folder)
    mine, other = errors(exact, own), errors(exact, theirs)
    mean, good, line = {}, True, f"{name} | loss {abs(own_loss - loss) / loss:.1e}, PyTorch {abs(their_loss - loss) / loss:.1e}"
    worst = max(mine, key=lambda tensor: mine[tensor] / max(other[tensor], 1e-9))
    for group in ("hidden_states", "logits", "grad"):
        names = [n for n in mine if n.startswith(group)]
        ratios = [mine[n] / max(other[n], 1e-9) for n in names]
        mean[group] = float(np.exp(np.mean(np.log(np.maximum(ratios, 1e-9)))))
        line += f" | {group} {np.mean([mine[n] for n in names]):.1e}, PyTorch {np.mean([other[n] for n in names]):.1e}, {mean[group]:.2f} of it"
        good = good and mean[group] <= 1
    ratio = mine[worst] / max(other[worst], 1e-9)
    good = good and ratio <= MOST_AT_ONE
    print(f"{line} | at most {ratio:.2f} of it ({worst}){'' if good else '  TOO FAR'}", flush=True)
    if show_all:
        for tensor in mine:
            print(f"    {tensor:70} {mine[tensor]:.2e} {other[tensor]:.2e} {mine[tensor] / max(other[tensor], 1e-9):.2f}")
    return good


def published(folder, scratch, kmask):
    model = AutoModelForMaskedLM.from_pretrained(folder, attn_implementation="eager").eval()
    subprocess.run([kmask, "import", folder, "--out", f"{scratch}/model.h5"], check=True, stdout=subprocess.DEVNULL)
    case = dict(seed=1, vocab=model.config.vocab_size, types=model.config.type_vocab_size, pad=model.config.pad_token_id, rows=8,
                length=64)
    return model, f"{scratch}/model.h5", case


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kmask", default="build/release/kmask")
    parser.add_argument("--shapes", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", help="a published model instead of random ones")
    parser.add_argument("--all", action="store_true", help="print every tensor: kmask's error, PyTorch's, their ratio")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    failures = 0
    with tempfile.TemporaryDirectory() as scratch:
        if options.folder:
            model, path, case = published(options.folder, scratch, options.kmask)
            given, whole = compare_probe.draw_input(case, "right")
            failures += not compare(options.kmask, os.path.basename(options.folder), model, path, given, whole, scratch, options.all)
    for seed in range(options.seed, options.seed + (0 if options.folder else options.shapes)):
        with tempfile.TemporaryDirectory() as scratch:
            case = draw_case(seed)
            model = compare_probe.build(case)
            path = compare_probe.write_model(options.kmask, case, model, scratch)
            given, whole = compare_probe.draw_input(case, "right")
            name = f"{seed:3} {'roberta' if case['roberta'] else 'bert':7} C {case['hidden']:3} H {case['heads']} L {case['layers']} I {case['inner']:3} w {case['scale']:<4}"
            failures += not compare(options.kmask, name, model, path, given, whole, scratch, options.all)
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
