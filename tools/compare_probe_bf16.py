#!/usr/bin/env python3
"""Compares `kmask probe --precision bf16` with PyTorch's own bf16 (torch.autocast), tensor by tensor.

    pip install torch transformers h5py numpy
    python tools/compare_probe_bf16.py --kmask build/release/kmask [--shapes 10] [--seed 1] [--inputs 64] [--folder MODEL] [--all]

Models and inputs are those of compare_probe.py, but wide enough for products to matter, with several inputs a model; with --folder it
is a published one (safetensors, config.json, tokenizer files) instead. What is exact is transformers in float64. The error of a
program at a tensor of one input is the root mean square of its distance to that, in units of the tensor's own (where a gradient is
zero but for rounding, as a key's bias' always is: of the steepest gradient's). Rounding errors are random: of one input, either of two
programs may be closer at a tensor of a few numbers, whichever is the better, so that errors are compared by their geometric mean over
the inputs. Limits: at no tensor kmask's is larger than PyTorch's (at a key's bias, which is nothing but rounding in both: than 1.1 of it).
--all prints every tensor. Status 1 when a limit is passed."""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import torch
import transformers
from transformers import AutoModelForMaskedLM

import compare_probe

MOST, MOST_AT_ZERO = 1.0, 1.1


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


def geometric_mean(values):
    return float(np.exp(np.mean(np.log(values))))


def measure(kmask, model, path, case, folder):
    """Of one input: kmask's loss error and {tensor: error}, then PyTorch's."""
    given, whole = compare_probe.draw_input(case, "right")
    loss, exact = compare_probe.reference(model, whole, torch.float64)
    del exact["hidden_states/0"]  # which both make of floats
    runs = (compare_probe.probe(kmask, path, given, folder, "--precision", "bf16"),
            compare_probe.reference(model, whole, torch.float32, autocast=True))
    return [(abs(of_loss / loss - 1), errors(exact, got)) for of_loss, got in runs]


def compare(kmask, name, model, path, cases, folder, show_all):
    """cases: of draw_case, the seeds of their inputs apart."""
    measured = [measure(kmask, model, path, case, folder) for case in cases]
    loss = np.mean([[of_loss for of_loss, _ in both] for both in measured], axis=0)
    mean = {tensor: [geometric_mean([program[1][tensor] for program in column]) for column in zip(*measured)] for tensor in measured[0][0][1]}
    ratio = {tensor: own / theirs for tensor, (own, theirs) in mean.items()}
    line, good = f"{name} | loss {loss[0]:.1e}, PyTorch {loss[1]:.1e}", True
    for group in ("hidden_states", "logits", "grad"):
        own, theirs = np.mean([pair for tensor, pair in mean.items() if tensor.startswith(group)], axis=0)
        line += f" | {group} {own:.1e}, PyTorch {theirs:.1e}"
    for what, limit, tensors in (("at most", MOST, [t for t in ratio if not t.endswith("key.bias")]),
                                 ("where the gradient is zero", MOST_AT_ZERO, [t for t in ratio if t.endswith("key.bias")])):
        worst = max(tensors, key=ratio.get)
        line += f" | {what} {ratio[worst]:.2f} of it ({worst})"
        good = good and ratio[worst] <= limit
    print(line + ("" if good else "  TOO FAR"), flush=True)
    if show_all:
        for tensor, (own, theirs) in mean.items():
            print(f"    {tensor:70} {own:.2e} {theirs:.2e} {ratio[tensor]:.2f}")
    return good


def published(folder, scratch, kmask):
    """The model in `folder`, with the head that transformers makes where it has none."""
    model = AutoModelForMaskedLM.from_pretrained(folder, attn_implementation="eager").eval()
    whole = f"{scratch}/whole"
    shutil.copytree(folder, whole, ignore=shutil.ignore_patterns("*.safetensors*", "*.bin", "*.h5", "*.onnx"))
    model.save_pretrained(whole)
    subprocess.run([kmask, "import", whole, "--out", f"{scratch}/model.h5"], check=True, stdout=subprocess.DEVNULL)
    case = dict(seed=1, vocab=model.config.vocab_size, types=model.config.type_vocab_size, pad=model.config.pad_token_id, rows=4,
                length=64)
    return model, f"{scratch}/model.h5", case


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kmask", default="build/release/kmask")
    parser.add_argument("--shapes", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--inputs", type=int, default=64, help="inputs of a model")
    parser.add_argument("--folder", help="a published model instead of random ones")
    parser.add_argument("--all", action="store_true", help="print every tensor: kmask's error, PyTorch's, their ratio")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    failures = 0
    inputs_of = lambda case: [{**case, "seed": 1000 * case["seed"] + i} for i in range(options.inputs)]
    with tempfile.TemporaryDirectory() as scratch:
        if options.folder:
            model, path, case = published(options.folder, scratch, options.kmask)
            name = os.path.basename(os.path.abspath(options.folder))
            failures += not compare(options.kmask, name, model, path, inputs_of(case), scratch, options.all)
    for seed in range(options.seed, options.seed + (0 if options.folder else options.shapes)):
        with tempfile.TemporaryDirectory() as scratch:
            case = draw_case(seed)
            model = compare_probe.build(case)
            path = compare_probe.write_model(options.kmask, case, model, scratch)
            name = f"{seed:3} {'roberta' if case['roberta'] else 'bert':7} C {case['hidden']:3} H {case['heads']} L {case['layers']} I {case['inner']:3} w {case['scale']:<4}"
            failures += not compare(options.kmask, name, model, path, inputs_of(case), scratch, options.all)
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
