#!/usr/bin/env python3
"""Writes tests/model/golden/*.bin: tiny random BERT and RoBERTa models, computed by HuggingFace transformers in float64.

    pip install torch transformers numpy
    python tools/golden_model.py tests/model/golden

A file holds, little-endian (tests/model/test_golden.c reads it): "KMG1"; int32 roberta, vocab, hidden, layers, heads,
intermediate, positions, types, pad, gelu_new; float64 eps; int32 views, tokens, labelled, has_types; int32 arrays
starts, ids, types (where it has them), at, labels; float64 summed loss; float32 probabilities (labelled, vocab);
int32 count of parameters, each: 112 bytes name, int32 count, float32 values, float32 gradient of the summed loss.
Views run one at a time and without padding; dropout is off.

With padding, and all that `kmask probe` writes (tests/modelfile/test_probe.c reads it): "KMG2"; the same up to eps; int32
rows, length; int32 arrays ids, attention mask, types, labels (rows, length); float64 mean loss; float32 logits (rows,
length, vocab) and hidden states (layers + 1, rows, length, hidden); parameters as above, gradients of the mean loss.
"""
import sys

import numpy as np
import torch
from transformers import BertConfig, BertForMaskedLM, RobertaConfig, RobertaForMaskedLM

CASES = {
    "bert_two_types": dict(type="bert", vocab=43, hidden=24, layers=2, heads=3, inner=40, positions=19, types=2, pad=0,
                           act="gelu", eps=1e-12, lengths=[7, 1, 19, 4], labelled=[3, 1, 5, 0], pads=True),
    "bert_new": dict(type="bert", vocab=29, hidden=20, layers=1, heads=4, inner=33, positions=12, types=3, pad=2,
                     act="gelu_new", eps=1e-5, lengths=[5, 12], labelled=[5, 2]),
    "roberta": dict(type="roberta", vocab=37, hidden=18, layers=3, heads=2, inner=25, positions=16, types=1, pad=1,
                    act="gelu", eps=1e-5, lengths=[14, 9, 3], labelled=[4, 1, 2]),
    "roberta_new": dict(type="roberta", vocab=23, hidden=15, layers=2, heads=5, inner=16, positions=17, types=1, pad=4,
                        act="gelu_new", eps=1e-5, lengths=[2, 11], labelled=[2, 11]),
}


# Heads that no vector width divides, one to three types, position tables longer than usual; masks of each row: the
# attended positions.
PADDED = {
    "padded_bert": dict(type="bert", vocab=31, hidden=36, layers=2, heads=3, inner=19, positions=40, types=2, pad=0,
                        act="gelu", eps=1e-12, masks=["11111111", "11100000", "00001111", "01011001"]),
    "padded_bert_new": dict(type="bert", vocab=47, hidden=35, layers=1, heads=5, inner=7, positions=9, types=1, pad=3,
                            act="gelu_new", eps=1e-6, masks=["111111111", "000000001"]),
    "padded_roberta": dict(type="roberta", vocab=29, hidden=26, layers=2, heads=2, inner=21, positions=130, types=1,
                           pad=1, act="gelu", eps=1e-5, masks=["1111111", "1111000", "0011111", "1010101"]),
    "padded_roberta_narrow": dict(type="roberta", vocab=21, hidden=7, layers=3, heads=7, inner=1, positions=15, types=3,
                                  pad=4, act="gelu_new", eps=1e-5, masks=["1111111111", "0111111110", "1111110000"]),
}


def build(case):
    kind = {"bert": (BertConfig, BertForMaskedLM), "roberta": (RobertaConfig, RobertaForMaskedLM)}[case["type"]]
    config = kind[0](
        vocab_size=case["vocab"], hidden_size=case["hidden"], num_hidden_layers=case["layers"],
        num_attention_heads=case["heads"], intermediate_size=case["inner"], hidden_act=case["act"],
        max_position_embeddings=case["positions"], type_vocab_size=case["types"], pad_token_id=case["pad"],
        layer_norm_eps=case["eps"], hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        bos_token_id=None, eos_token_id=None, attn_implementation="eager")
    model = kind[1](config).double().eval()
    generator = torch.Generator().manual_seed(len(case["type"]) * 1000 + case["vocab"])
    with torch.no_grad():
        for name, p in model.named_parameters():
            scale = 0.5 if p.dim() == 2 else 0.2
            mean = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
            value = mean + scale * torch.randn(p.shape, generator=generator, dtype=torch.float64)
            p.copy_(value.float().double())
    return model


def draw_batch(case, rng):
    ids, types, at, labels, starts = [], [], [], [], [0]
    for length, count in zip(case["lengths"], case["labelled"]):
        at += [starts[-1] + int(i) for i in sorted(rng.choice(length, count, replace=False))]
        view = [int(i) for i in rng.integers(0, case["vocab"], length)]
        if not case.get("pads"):  # RoBERTa would give them no position
            view = [i if i != case["pad"] else case["pad"] + 1 for i in view]
        elif length > 2:
            view[1] = case["pad"]
        ids += view
        types += [int(i) for i in rng.integers(0, case["types"], length)]
        labels += [int(i) for i in rng.integers(0, case["vocab"], count)]
        starts.append(len(ids))
    return starts, ids, types, at, labels


def run(model, batch):
    starts, ids, types, at, labels = batch
    loss, probabilities = 0.0, []
    target = dict(zip(at, labels))
    for first, end in zip(starts, starts[1:]):
        rows = [i for i in at if first <= i < end]
        if not rows:
            continue
        out = model(input_ids=torch.tensor([ids[first:end]]), token_type_ids=torch.tensor([types[first:end]]))
        logits = out.logits[0, [i - first for i in rows]]
        part = torch.nn.functional.cross_entropy(logits, torch.tensor([target[i] for i in rows]), reduction="sum")
        part.backward()
        loss += part.item()
        probabilities.append(torch.softmax(logits, -1).detach().numpy())
    return loss, np.concatenate(probabilities)


def i4(values):
    return np.asarray(values, "<i4").tobytes()


def write_config(f, magic, case):
    f.write(magic)
    f.write(i4([case["type"] == "roberta"] + [case[k] for k in ("vocab", "hidden", "layers", "heads", "inner",
               "positions", "types", "pad")] + [case["act"] == "gelu_new"]))
    f.write(np.asarray([case["eps"]], "<f8").tobytes())


def write_parameters(f, model):
    named = list(model.named_parameters())
    f.write(i4([len(named)]))
    for name, p in named:
        f.write(name.encode().ljust(112, b"\0") + i4([p.numel()]))
        f.write(p.detach().numpy().astype("<f4").tobytes() + p.grad.numpy().astype("<f4").tobytes())


def write(path, case, model, batch, loss, probabilities):
    starts, ids, types, at, labels = batch
    with open(path, "wb") as f:
        write_config(f, b"KMG1", case)
        has_types = case["types"] > 1
        f.write(i4([len(starts) - 1, len(ids), len(at), has_types]) + i4(starts) + i4(ids))
        f.write((i4(types) if has_types else b"") + i4(at) + i4(labels))
        f.write(np.asarray([loss], "<f8").tobytes() + probabilities.astype("<f4").tobytes())
        write_parameters(f, model)


def draw_padded(case, rng):
    mask = np.array([[int(c) for c in row] for row in case["masks"]])
    ids = rng.integers(0, case["vocab"], mask.shape)
    ids[(mask == 0) & (rng.random(mask.shape) < 0.8)] = case["pad"]  # not all that is hidden is a pad
    types = rng.integers(0, case["types"], mask.shape)
    labels = np.where(rng.random(mask.shape) < 0.4, rng.integers(0, case["vocab"], mask.shape), -100)
    labels[0, 0] = 5  # padding has labels too: they count
    return dict(input_ids=ids, attention_mask=mask, token_type_ids=types, labels=labels)


def write_padded(path, case, model):
    batch = draw_padded(case, np.random.default_rng(case["vocab"]))
    out = model(**{k: torch.tensor(v) for k, v in batch.items()}, output_hidden_states=True)
    out.loss.backward()
    with open(path, "wb") as f:
        write_config(f, b"KMG2", case)
        f.write(i4(batch["input_ids"].shape) + b"".join(i4(v) for v in batch.values()))
        f.write(np.asarray([out.loss.item()], "<f8").tobytes())
        for state in [out.logits, *out.hidden_states]:
            f.write(state.detach().numpy().astype("<f4").tobytes())
        write_parameters(f, model)
    return out.loss.item()


def main():
    for name, case in CASES.items():
        torch.manual_seed(1)
        model = build(case)
        batch = draw_batch(case, np.random.default_rng(case["vocab"]))
        loss, probabilities = run(model, batch)
        write(f"{sys.argv[1]}/{name}.bin", case, model, batch, loss, probabilities)
        print(name, "loss", loss, "parameters", sum(p.numel() for p in model.parameters()))
    for name, case in PADDED.items():
        print(name, "mean loss", write_padded(f"{sys.argv[1]}/{name}.bin", case, build(case)))


if __name__ == "__main__":
    main()
