#!/usr/bin/env python3
"""Compares `kmask probe` with HuggingFace transformers on random BERT, RoBERTa and BART models of odd shapes, and on classifiers.

    pip install torch transformers h5py numpy
    python tools/compare_probe.py --kmask build/release/kmask [--shapes 20] [--bart 12] [--classes 12] [--seed 1] [--keep FOLDER]

Each shape is drawn by its seed: heads whose width no vector divides, odd vocabularies, one or several layers, both GELUs,
1 to 3 token types, position tables of 24 to 1024, small weights and large ones; of BARTs 1 to 4 layers on either side, other heads
and feed-forward widths there, scaled embeddings, targets of 1 to 300 tokens. The model is made by transformers, saved as
safetensors, imported by kmask, and probed with and without padding (right, left, holes; labels also on padding). Loss,
logits, hidden states and every gradient are compared with transformers in float64. A line of the table says how far kmask
is off, and how far transformers itself is in float32: the loss relative, all else in units of the tensor's largest entry
(where a gradient is zero but for rounding, as a key's bias' always is: of the largest gradient's). Large weights make some
models so steep that single precision cannot follow: kmask may then be ten times as far off as transformers in float32 is at
the model's worst padding, and the line ends with "steep". Status 1 when a limit is passed.

A classifier has 1 to 7 labels with names of its own; its rows are single texts or pairs. It is exported as well: every tensor must be
the same to the bit, and AutoModelForSequenceClassification must give equal logits and have the same names of labels.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import warnings

import h5py
import numpy as np
import torch
import transformers
from transformers import (AutoModelForSequenceClassification, BartConfig, BartForConditionalGeneration, BertConfig,
                          BertForMaskedLM, BertForSequenceClassification, RobertaConfig, RobertaForMaskedLM,
                          RobertaForSequenceClassification)

LOSS_LIMIT, TENSOR_LIMIT = 1e-5, 1e-4
PADDINGS = ("none", "right", "left", "holes", "ragged")


# ---- Models and inputs ----

def draw_case(seed):
    rng = np.random.default_rng([seed, 7])
    pick = lambda *values: values[rng.integers(len(values))]
    roberta = bool(rng.integers(2))
    heads, width = int(pick(1, 2, 3, 5, 7)), int(pick(1, 2, 3, 5, 7, 8, 12, 13, 17, 32, 65))
    heads = max(heads, -(-4 // width))  # a norm over two numbers leaves their signs, and gradients near 0
    positions = int(pick(24, 40, 67, 514, 1024))
    pad = int(pick(0, 1, 1, 4)) if roberta else int(pick(0, 0, 0, 3))
    longest = positions - (pad + 1 if roberta else 0)
    return dict(seed=seed, roberta=roberta, vocab=int(pick(17, 43, 101, 997, 2049, 4111)), hidden=heads * width,
                layers=int(pick(1, 1, 2, 3, 5)), heads=heads, inner=int(pick(1, 5, 33, 77, 129, 256)),
                act=pick("gelu", "gelu_new"), positions=positions, types=int(pick(1, 2, 2, 3)), pad=pad,
                eps=float(pick(1e-12, 1e-5, 1e-6)), scale=float(pick(0.02, 0.1, 0.3, 0.3, 0.6)), rows=int(rng.integers(1, 6)),
                length=int(min(longest, pick(3, 11, 22, 37, 141))))


def draw_bart(seed):
    rng = np.random.default_rng([seed, 9])
    pick = lambda *values: values[rng.integers(len(values))]
    width = int(pick(12, 24, 36, 60, 65, 96))
    divisors = [h for h in range(1, 13) if width % h == 0 and width // h > 2]
    positions = int(pick(310, 512, 1024))
    return dict(seed=seed, bart=True, vocab=int(pick(17, 43, 101, 997, 2049, 4111)), hidden=width,
                layers=(int(pick(1, 2, 3, 4)), int(pick(1, 2, 3, 4))), heads=(int(pick(*divisors)), int(pick(*divisors))),
                inner=(int(pick(1, 5, 33, 77, 129, 256)), int(pick(1, 5, 33, 77, 129, 256))), act=pick("gelu", "gelu_new", "relu"),
                positions=positions, pad=int(pick(0, 1, 1, 4)), scaled=bool(rng.integers(2)),
                scale=float(pick(0.02, 0.1, 0.2, 0.3)), rows=int(rng.integers(1, 6)), length=int(pick(3, 11, 37, 66, 141)),
                target=int(pick(1, 7, 20, 65, 130, 300)))


def draw_classes(seed):
    """A classifier: by turns BERT and RoBERTa, 1 to 7 labels, single texts and pairs."""
    rng = np.random.default_rng([seed, 11])
    case = draw_case(seed)
    case.update(labels=1 + (seed - 1) % 7, roberta=seed % 2 == 0, pairs=(seed // 2) % 2 == 0, types=2 if seed % 2 else 1,
                dropout=None if rng.integers(2) else 0.25)
    case["pad"] = 1 if case["roberta"] else 0
    case["length"] = max(5, min(case["length"], case["positions"] - 2))
    return case


def build_bart(case):
    return BartForConditionalGeneration(BartConfig(
        vocab_size=case["vocab"], d_model=case["hidden"], encoder_layers=case["layers"][0], decoder_layers=case["layers"][1],
        encoder_attention_heads=case["heads"][0], decoder_attention_heads=case["heads"][1], encoder_ffn_dim=case["inner"][0],
        decoder_ffn_dim=case["inner"][1], activation_function=case["act"], max_position_embeddings=case["positions"],
        pad_token_id=case["pad"], bos_token_id=2, eos_token_id=3, decoder_start_token_id=3, forced_eos_token_id=3,
        scale_embedding=case["scaled"], attn_implementation="eager"))


def build_encoder(case):
    kind = (RobertaConfig, RobertaForMaskedLM) if case["roberta"] else (BertConfig, BertForMaskedLM)
    more = {}
    if "labels" in case:
        kind = (kind[0], RobertaForSequenceClassification if case["roberta"] else BertForSequenceClassification)
        names = {i: f"class {case['seed']}/{i}" for i in range(case["labels"])}
        more = dict(id2label=names, label2id={name: i for i, name in names.items()}, classifier_dropout=case["dropout"])
    config = kind[0](vocab_size=case["vocab"], hidden_size=case["hidden"], num_hidden_layers=case["layers"],
                     num_attention_heads=case["heads"], intermediate_size=case["inner"], hidden_act=case["act"],
                     max_position_embeddings=case["positions"], type_vocab_size=case["types"],
                     pad_token_id=case["pad"], layer_norm_eps=case["eps"], bos_token_id=None, eos_token_id=None,
                     attn_implementation="eager", **more)
    return kind[1](config)


def build(case):
    model = (build_bart if case.get("bart") else build_encoder)(case).eval()
    generator = torch.Generator().manual_seed(case["seed"])
    with torch.no_grad():
        for name, p in model.named_parameters():
            norm = "norm" in name.lower() and name.endswith("weight")
            scale = case["scale"] if p.dim() == 2 else 0.2
            if case.get("scaled") and name.endswith("shared.weight"):
                scale /= case["hidden"] ** 0.5  # as scaled embeddings are
            p.copy_((1.0 if norm else 0.0) + scale * torch.randn(p.shape, generator=generator))
        if case.get("bart"):
            model.final_logits_bias.copy_(torch.randn(model.final_logits_bias.shape, generator=generator))
    return model


def write_model(kmask, case, model, folder):
    """As published models are: safetensors, config.json, vocab.txt; then `kmask import`. Returns the model file."""
    model.save_pretrained(folder)
    special = ["[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = (special + [f"w{i}" for i in range(case["vocab"] - 5)])
    pieces.insert(case["pad"], "[PAD]")
    with open(f"{folder}/vocab.txt", "w") as f:
        f.write("".join(piece + "\n" for piece in pieces))
    subprocess.run([kmask, "import", folder, "--out", f"{folder}/model.h5"], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    return f"{folder}/model.h5"


def draw_input(case, padding):
    """What kmask reads, and the same as whole arrays for transformers."""
    rng = np.random.default_rng([case["seed"], PADDINGS.index(padding), 8])
    B, T, V, pad = case["rows"], case["length"], case["vocab"], case["pad"]
    ids = rng.integers(0, V, (B, T))
    types = rng.integers(0, case.get("types", 1), (B, T))
    mask = np.ones((B, T), int)
    lengths = rng.integers(1, T + 1, B)
    lengths[0] = T
    for row, length in enumerate(lengths):
        if padding in ("right", "ragged"):
            mask[row, length:] = 0
        elif padding == "left":
            mask[row, :T - length] = 0
        elif padding == "holes":
            mask[row] = rng.random(T) < 0.6
            mask[row, rng.integers(T)] = 1
    if padding == "holes":  # neither are hidden tokens pads, nor is every pad hidden
        ids[rng.random((B, T)) < 0.1] = pad
    else:
        ids[mask == 0] = pad
    if case.get("bart"):
        return draw_target(case, padding, rng, ids, mask, lengths)
    if "labels" in case:
        return draw_row_labels(case, padding, rng, ids, mask, lengths)
    labels = np.where(rng.random((B, T)) < 0.3, rng.integers(0, V, (B, T)), -100)
    labels[0, 0] = V - 1
    if padding in ("right", "ragged"):  # elsewhere padding has labels too: transformers counts them
        labels[mask == 0] = -100
    whole = dict(input_ids=ids, attention_mask=mask, token_type_ids=types, labels=labels)
    if padding != "ragged":
        return {k: v.tolist() for k, v in whole.items()}, whole
    types[mask == 0] = 0
    return {k: [row[:n].tolist() for row, n in zip(v, lengths)] for k, v in whole.items() if k != "attention_mask"}, whole


def draw_target(case, padding, rng, ids, mask, lengths):
    """Targets of one length, or ragged; with holes some of their tokens have no label."""
    B, U, V = len(ids), case["target"], case["vocab"]
    labels = rng.integers(0, V, (B, U))
    targets = rng.integers(1, U + 1, B)
    targets[0] = U
    for row, length in enumerate(targets):
        if padding in ("right", "ragged"):
            labels[row, length:] = -100
        elif padding == "holes":
            labels[row] = np.where(rng.random(U) < 0.4, labels[row], -100)
    labels[0, 0] = V - 1
    whole = dict(input_ids=ids, attention_mask=mask, labels=labels)
    if padding != "ragged":
        return {k: v.tolist() for k, v in whole.items()}, whole
    return dict(input_ids=[row[:n].tolist() for row, n in zip(ids, lengths)],
                labels=[row[:n].tolist() for row, n in zip(labels, targets)]), whole


def draw_row_labels(case, padding, rng, ids, mask, lengths):
    """A class or a number a row; with holes some rows have no class. The second text of a pair has token type 1 (BERT)."""
    B, T = ids.shape
    second = rng.integers(1, T + 1, B) if case["pairs"] and not case["roberta"] else np.full(B, T)
    types = (np.arange(T) >= second[:, None]).astype(int)
    if case["labels"] == 1:
        labels = np.round(rng.normal(size=B), 3)
    else:
        labels = rng.integers(0, case["labels"], B)
        if padding == "holes":
            labels[1:] = np.where(rng.random(B - 1) < 0.5, -100, labels[1:])
    whole = dict(input_ids=ids, attention_mask=mask, token_type_ids=types, labels=labels)
    if padding != "ragged":
        return {k: v.tolist() for k, v in whole.items()}, whole
    types[mask == 0] = 0
    given = {k: [row[:n].tolist() for row, n in zip(whole[k], lengths)] for k in ("input_ids", "token_type_ids")}
    return {**given, "labels": [[label] for label in labels.tolist()]}, whole  # lists of one are the same


# ---- The two programs ----

def reference(model, whole, dtype, autocast=False):
    """In dtype; with autocast, products in bf16."""
    model = model.to(dtype)
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        tensors = {k: torch.tensor(v) for k, v in whole.items()}
        if tensors["labels"].is_floating_point():
            tensors["labels"] = tensors["labels"].to(dtype)
        out = model(**tensors, output_hidden_states=True)
    out.loss.backward()
    states = ("hidden_states", "encoder_hidden_states", "decoder_hidden_states")
    result = {"logits": out.logits, **{f"{k}/{i}": h for k in states for i, h in enumerate(getattr(out, k, None) or ())},
              **{f"grad/{n}": p.grad for n, p in model.named_parameters()}}
    return out.loss.item(), {k: v.detach().double().numpy().copy() for k, v in result.items()}


def probe(kmask, path, given, folder, *options):
    with open(f"{folder}/ids.json", "w") as f:
        json.dump(given, f)
    if os.path.exists(f"{folder}/out.h5"):
        os.remove(f"{folder}/out.h5")
    subprocess.run([kmask, "probe", path, "--input", f"{folder}/ids.json", "--out", f"{folder}/out.h5", *options],
                   check=True, stdout=subprocess.DEVNULL)
    arrays = {}
    with h5py.File(f"{folder}/out.h5") as f:
        f.visititems(lambda name, item: arrays.__setitem__(name, item[()]) if isinstance(item, h5py.Dataset) else None)
    return float(arrays.pop("loss")), arrays


# ---- The comparison ----

def distances(expected, got):
    """{group: (largest distance, its tensor)} for hidden states, logits and gradients."""
    if expected.keys() != got.keys():
        sys.exit(f"only in transformers: {expected.keys() - got.keys()}; only in kmask: {got.keys() - expected.keys()}")
    largest = {k: np.abs(v).max() for k, v in expected.items()}
    steepest = max(v for k, v in largest.items() if k.startswith("grad/"))
    worst = {}
    for name, value in expected.items():
        if got[name].shape != value.shape:
            sys.exit(f"{name}: shape {got[name].shape} instead of {value.shape}")
        zero = name.startswith("grad/") and largest[name] <= 1e-9 * steepest
        off = float(np.abs(got[name] - value).max()) / (steepest if zero else largest[name])
        group = name.split("/")[0].replace("encoder_", "").replace("decoder_", "")
        worst[group] = max(worst.get(group, (0.0, "")), (off if off == off else np.inf, name))
    return worst


def measure(kmask, model, path, case, padding, folder):
    """How far kmask and transformers in float32 are from float64: {"loss": (distance, ""), group: (distance, tensor)} of each."""
    given, whole = draw_input(case, padding)
    loss, exact = reference(model, whole, torch.float64)
    loss32, single = reference(model, whole, torch.float32)
    own_loss, own = probe(kmask, path, given, folder)
    return ({"loss": (abs(own_loss - loss) / abs(loss), "loss"), **distances(exact, own)},
            {"loss": (abs(loss32 - loss) / abs(loss), "loss"), **distances(exact, single)})


def exported(kmask, case, model, path, folder):
    """What differs between the model and its export, in words; None: nothing."""
    out = f"{folder}/exported"
    subprocess.run([kmask, "export", path, "--out", out], check=True, stdout=subprocess.DEVNULL)
    # Both from files: PyTorch rounds otherwise where tensors lie otherwise in memory.
    again, before = (AutoModelForSequenceClassification.from_pretrained(path, attn_implementation="eager").eval()
                     for path in (out, folder))
    mine, theirs = again.state_dict(), model.float().state_dict()
    _, whole = draw_input(case, "right")
    inputs = {k: torch.tensor(v) for k, v in whole.items() if k != "labels"}
    with torch.no_grad():
        equal = torch.equal(again(**inputs).logits, before(**inputs).logits)
    for name, same in (("tensors", mine.keys() == theirs.keys() and all(torch.equal(mine[k], theirs[k]) for k in mine)),
                       ("logits", equal), ("class", type(again) is type(model)),
                       ("id2label", again.config.id2label == model.config.id2label),
                       ("classifier_dropout", getattr(again.config, "classifier_dropout", None) == case["dropout"])):
        if not same:
            return f"export: other {name}"
    return None


def describe(case):
    name = "bart" if case.get("bart") else "roberta" if case["roberta"] else "bert"
    pair = lambda key: "+".join(map(str, case[key])) if case.get("bart") else str(case[key])
    length = f"T {case['length']:3}/{case['positions']:4}"
    if "labels" in case:
        name, length = name + f" {case['labels']}", length + (" pairs" if case["pairs"] else " texts")
    more = f"U {case['target']:3} scaled {case['scaled']:d}" if case.get("bart") else f"types {case['types']} eps {case['eps']:.0e}"
    return (f"{name:9} V {case['vocab']:4} C {case['hidden']:3} H {pair('heads'):5} L {pair('layers'):3} I {pair('inner'):7} "
            f"{length} {more:14}")


def compare(kmask, case, folder):
    model = build(case)
    path = write_model(kmask, case, model, folder)
    measured = [measure(kmask, model, path, case, padding, folder) for padding in PADDINGS]
    limits = {group: LOSS_LIMIT if group == "loss" else TENSOR_LIMIT for group in measured[0][0]}
    # A softmax that is nearly tied magnifies rounding at one padding and not at another: the model is as steep as its worst.
    steepness = {group: max(theirs[group][0] for _, theirs in measured) for group in limits}
    good = True
    for padding, (far, theirs) in zip(PADDINGS, measured):
        beyond = [group for group in limits if far[group][0] > limits[group]]
        steep = all(far[group][0] <= 10 * steepness[group] for group in beyond)
        good = good and steep
        numbers = lambda of: " ".join(f"{of[group][0]:.0e}" for group in ("loss", "hidden_states", "logits", "grad"))
        print(f"{case['seed']:4} {describe(case)} {case['act']:8} w {case['scale']:<4} {padding:6} | "
              f"{numbers(far)} | {numbers(theirs)}" +
              ("" if not beyond else "  steep: " if steep else "  TOO FAR: ") +
              ", ".join(f"{far[group][1]} {far[group][0]:.1e}" for group in beyond))
    if "labels" in case:
        wrong = exported(kmask, case, model, path, folder)
        print(f"{case['seed']:4} export: the same tensors, logits and labels" if wrong is None else f"{case['seed']:4} {wrong}")
        good = good and wrong is None
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kmask", default="build/release/kmask")
    parser.add_argument("--shapes", type=int, default=20)
    parser.add_argument("--bart", type=int, default=12, help="shapes of encoder-decoders")
    parser.add_argument("--classes", type=int, default=14, help="shapes of classifiers")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", help="keep models and outputs in this folder")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    print("seed, shape, padding | kmask: loss hidden logits gradients | transformers in float32: the same")
    failures = 0
    cases = [draw_case(seed) for seed in range(options.seed, options.seed + options.shapes)]
    cases += [draw_bart(seed) for seed in range(options.seed, options.seed + options.bart)]
    cases += [draw_classes(seed) for seed in range(options.seed, options.seed + options.classes)]
    for number, case in enumerate(cases):
        with tempfile.TemporaryDirectory() as scratch:
            folder = f"{options.keep}/{number}" if options.keep else scratch
            os.makedirs(folder, exist_ok=True)
            failures += not compare(options.kmask, case, folder)
    print(f"{len(cases) - failures} of {len(cases)} shapes within {LOSS_LIMIT:g} (loss) and {TENSOR_LIMIT:g}, but for "
          "lines that end with \"steep\"")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
