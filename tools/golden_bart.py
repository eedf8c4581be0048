#!/usr/bin/env python3
"""Writes tests/model/golden/bart*.bin: tiny random BART models, computed by HuggingFace transformers in float64.

    pip install torch transformers numpy
    python tools/golden_bart.py tests/model/golden

A file holds, little-endian (tests/model/golden_bart.h reads it): "KMG3"; int32 vocab, d_model, encoder layers, decoder layers,
encoder heads, decoder heads, encoder ffn, decoder ffn, positions, pad, decoder start, scale_embedding, activation (0 gelu, 1
gelu_new, 2 relu); int32 rows, source length, target length; int32 arrays input ids and attention mask (rows, source), labels and
decoder input ids (rows, target); float64 mean loss; float32 logits (rows, target, vocab), the encoder's hidden states (layers + 1,
rows, source, d_model) and the decoder's (layers + 1, rows, target, d_model); int32 count of parameters, each: 112 bytes name,
int32 count, float32 values, float32 gradient of the mean loss; last the buffer final_logits_bias, with a gradient of zeros.
Dropout is off. Decoder input ids are what transformers makes of the labels.
"""
import sys

import numpy as np
import torch
from transformers import BartConfig, BartForConditionalGeneration

ACTIVATIONS = ["gelu", "gelu_new", "relu"]

# Other widths and heads on either side, one layer and several; masks of the sources, lengths of the targets.
CASES = {
    "bart": dict(vocab=43, width=24, layers=(2, 2), heads=(3, 2), ffn=(40, 33), positions=20, pad=1, start=2, scale=False,
                 act="gelu", masks=["1111111", "1110000", "1111110"], targets=[5, 3, 6]),
    "bart_scaled": dict(vocab=29, width=18, layers=(1, 3), heads=(2, 6), ffn=(7, 25), positions=16, pad=0, start=5,
                        scale=True, act="relu", masks=["110101", "001111", "111111", "100000"], targets=[1, 4, 2, 11]),
    "bart_deep": dict(vocab=23, width=15, layers=(3, 1), heads=(5, 3), ffn=(16, 16), positions=80, pad=1, start=2,
                      scale=False, act="gelu_new", masks=["1" * 70, "1" * 40 + "0" * 30], targets=[70, 9]),
}


def build(case):
    config = BartConfig(
        vocab_size=case["vocab"], d_model=case["width"], encoder_layers=case["layers"][0], decoder_layers=case["layers"][1],
        encoder_attention_heads=case["heads"][0], decoder_attention_heads=case["heads"][1], encoder_ffn_dim=case["ffn"][0],
        decoder_ffn_dim=case["ffn"][1], max_position_embeddings=case["positions"], pad_token_id=case["pad"],
        decoder_start_token_id=case["start"], bos_token_id=0, eos_token_id=2, forced_eos_token_id=2,
        scale_embedding=case["scale"], activation_function=case["act"], dropout=0.0, attention_dropout=0.0,
        activation_dropout=0.0, attn_implementation="eager")
    model = BartForConditionalGeneration(config).double().eval()
    generator = torch.Generator().manual_seed(case["vocab"])
    with torch.no_grad():
        for name, p in model.named_parameters():
            scale = 0.5 if p.dim() == 2 else 0.2
            if case["scale"] and name.endswith("shared.weight"):
                scale = 0.15
            mean = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            p.copy_((mean + scale * torch.randn(p.shape, generator=generator, dtype=torch.float64)).float())
        model.final_logits_bias.copy_(torch.randn(model.final_logits_bias.shape, generator=generator).double())
    return model


def draw(case, rng):
    mask = np.array([[int(c) for c in row] for row in case["masks"]])
    ids = rng.integers(0, case["vocab"], mask.shape)
    ids[(mask == 0) & (rng.random(mask.shape) < 0.8)] = case["pad"]  # not all that is hidden is a pad
    labels = np.full((len(mask), max(case["targets"])), -100)
    for row, length in zip(labels, case["targets"]):
        row[:length] = rng.integers(0, case["vocab"], length)
        row[:length][rng.random(length) < 0.2] = -100
        row[length - 1] = 2
    return ids, mask, labels


def i4(values):
    return np.asarray(values, "<i4").tobytes()


def f4(tensor):
    return tensor.detach().numpy().astype("<f4").tobytes()


def write(path, case):
    model = build(case)
    ids, mask, labels = draw(case, np.random.default_rng(case["vocab"]))
    given = model.prepare_decoder_input_ids_from_labels(labels=torch.tensor(labels))
    out = model(input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask), labels=torch.tensor(labels),
                output_hidden_states=True)
    out.loss.backward()
    with open(path, "wb") as f:
        f.write(b"KMG3" + i4([case["vocab"], case["width"], *case["layers"], *case["heads"], *case["ffn"], case["positions"],
                              case["pad"], case["start"], case["scale"], ACTIVATIONS.index(case["act"])]))
        f.write(i4([*ids.shape, labels.shape[1]]) + i4(ids) + i4(mask) + i4(labels) + i4(given.numpy()))
        f.write(np.asarray([out.loss.item()], "<f8").tobytes())
        for state in [out.logits, *out.encoder_hidden_states, *out.decoder_hidden_states]:
            f.write(f4(state))
        named = [(name, p, p.grad) for name, p in model.named_parameters()]
        named.append(("final_logits_bias", model.final_logits_bias, torch.zeros_like(model.final_logits_bias)))
        f.write(i4([len(named)]))
        for name, p, gradient in named:
            f.write(name.encode().ljust(112, b"\0") + i4([p.numel()]) + f4(p) + f4(gradient))
    return out.loss.item(), sum(p.numel() for p in model.parameters())


def main():
    for name, case in CASES.items():
        loss, parameters = write(f"{sys.argv[1]}/{name}.bin", case)
        print(name, "mean loss", loss, "parameters", parameters)


if __name__ == "__main__":
    main()
