#!/usr/bin/env python3
"""Writes tests/model/golden/classes_*.bin: tiny random classifiers, computed by HuggingFace transformers in float64.

    pip install torch transformers numpy
    python tools/golden_classes.py tests/model/golden

A file holds, little-endian (tests/model/test_classes.c reads it): "KMG3", and a config as golden_model.py has it; int32 labels,
views, tokens, has_types; int32 arrays starts, ids, types (where it has them); int32 classes (views), or with one label float32
numbers; float64 summed loss; float32 logits (views, labels); parameters as in golden_model.py, with the gradient of the summed loss.
Dropout is off.
"""
import sys

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification, RobertaConfig, RobertaForSequenceClassification

from golden_model import i4, write_config, write_parameters

CASES = {
    "classes_bert": dict(type="bert", vocab=43, hidden=24, layers=2, heads=3, inner=40, positions=19, types=2, pad=0,
                         act="gelu", eps=1e-12, lengths=[7, 2, 19, 4], labels=3),
    "classes_bert_number": dict(type="bert", vocab=29, hidden=20, layers=1, heads=4, inner=33, positions=12, types=1, pad=2,
                                act="gelu_new", eps=1e-5, lengths=[5, 12, 3], labels=1),
    "classes_bert_many": dict(type="bert", vocab=21, hidden=6, layers=1, heads=2, inner=9, positions=9, types=2, pad=0,
                              act="gelu", eps=1e-5, lengths=[9, 3], labels=7),
    "classes_roberta": dict(type="roberta", vocab=37, hidden=18, layers=3, heads=2, inner=25, positions=16, types=1,
                            pad=1, act="gelu", eps=1e-5, lengths=[14, 9, 3, 1], labels=2),
    "classes_roberta_number": dict(type="roberta", vocab=23, hidden=15, layers=2, heads=5, inner=16, positions=17, types=1,
                                   pad=4, act="gelu_new", eps=1e-5, lengths=[2, 11], labels=1),
    "classes_roberta_many": dict(type="roberta", vocab=31, hidden=8, layers=1, heads=1, inner=5, positions=12, types=1, pad=1,
                                 act="gelu", eps=1e-5, lengths=[10, 6, 2], labels=5),
}


def build(case):
    kind = {"bert": (BertConfig, BertForSequenceClassification),
            "roberta": (RobertaConfig, RobertaForSequenceClassification)}[case["type"]]
    config = kind[0](
        vocab_size=case["vocab"], hidden_size=case["hidden"], num_hidden_layers=case["layers"],
        num_attention_heads=case["heads"], intermediate_size=case["inner"], hidden_act=case["act"],
        max_position_embeddings=case["positions"], type_vocab_size=case["types"], pad_token_id=case["pad"],
        layer_norm_eps=case["eps"], hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        bos_token_id=None, eos_token_id=None, num_labels=case["labels"], attn_implementation="eager")
    model = kind[1](config).double().eval()
    generator = torch.Generator().manual_seed(case["vocab"])
    with torch.no_grad():
        for name, p in model.named_parameters():
            mean = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
            scale = 0.5 if p.dim() == 2 else 0.2
            p.copy_((mean + scale * torch.randn(p.shape, generator=generator, dtype=torch.float64)).float().double())
    return model


def main():
    for name, case in CASES.items():
        model, rng = build(case), np.random.default_rng(case["vocab"])
        starts, ids, types, logits, loss = [0], [], [], [], 0.0
        targets = (np.round(rng.normal(size=len(case["lengths"])), 3).astype("<f4") if case["labels"] == 1
                   else rng.integers(0, case["labels"], len(case["lengths"])).astype("<i4"))
        for length, target in zip(case["lengths"], targets):
            view = [int(i) for i in rng.integers(5, case["vocab"], length)]
            kinds = [int(i) for i in rng.integers(0, case["types"], length)]
            label = torch.tensor([float(target)], dtype=torch.float64) if case["labels"] == 1 else torch.tensor([int(target)])
            out = model(input_ids=torch.tensor([view]), token_type_ids=torch.tensor([kinds]), labels=label)
            out.loss.backward()
            loss += out.loss.item()
            logits.append(out.logits.detach().numpy()[0])
            ids, types, starts = ids + view, types + kinds, starts + [starts[-1] + length]
        with open(f"{sys.argv[1]}/{name}.bin", "wb") as f:
            write_config(f, b"KMG3", case)
            has_types = case["types"] > 1
            f.write(i4([case["labels"], len(starts) - 1, len(ids), has_types]) + i4(starts) + i4(ids))
            f.write((i4(types) if has_types else b"") + targets.tobytes())
            f.write(np.asarray([loss], "<f8").tobytes() + np.asarray(logits).astype("<f4").tobytes())
            write_parameters(f, model)
        print(name, "loss", loss)


if __name__ == "__main__":
    main()
