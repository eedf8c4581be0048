#!/usr/bin/env python3
"""Writes tests/model/golden/generate.bin: a tiny random BART, and what HuggingFace transformers' generate answers with it; and
tests/run/golden/bart, the same model as a safetensors folder with a vocabulary of letters, for tests of `kmask generate`.

    pip install torch transformers numpy
    python tools/golden_generate.py tests

generate.bin holds, little-endian (tests/model/test_generate.c reads it): "KMG5"; int32 vocab_size, d_model, layers, heads and feed-forward
widths of encoder and then decoder, positions; int32 count of parameters, each: 112 bytes name, int32 count, float32 values. Then int32
count of cases, each: int32 beams, min_length, max_length, no_repeat_ngram_size, forced first and last id (-1: none); float64
length_penalty; int32 sources; int32 arrays starts, ids; and of each answer int32 count, ids, float64 score (NaN for greedy search, of
which transformers reports none).
"""
import json
import os
import sys

import numpy as np
import torch
from transformers import BartConfig, BartForConditionalGeneration

SIZES = dict(vocab_size=53, d_model=12, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2,
             decoder_attention_heads=3, encoder_ffn_dim=20, decoder_ffn_dim=17, max_position_embeddings=24)
CASES = [dict(num_beams=b, min_length=least, max_length=most, length_penalty=p, no_repeat_ngram_size=n, forced=forced)
         for b, least, most, p, n, forced in [(1, 0, 20, 1.0, 0, (None, None)), (1, 6, 14, 1.0, 2, (0, 2)), (2, 1, 24, 1.0, 0, (None, 2)),
                                              (4, 1, 20, 1.0, 0, (None, 2)), (4, 9, 20, 0.0, 2, (0, None)), (5, 0, 17, 2.0, 3, (None, 2)),
                                              (6, 3, 12, 0.5, 1, (0, 2)), (3, 0, 2, 1.0, 0, (None, None))]]
LENGTHS = [7, 2, 24, 11, 3]


def i4(values):
    return np.asarray(values, "<i4").tobytes()


def build():
    model = BartForConditionalGeneration(BartConfig(**SIZES)).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, p in model.named_parameters():
            mean = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            scale = 0.2 if p.dim() == 1 else 0.6 if "decoder.layers" in name else 0.3
            p.copy_(mean + scale * torch.randn(p.shape, generator=generator))
        model.model.shared.weight[2] *= 3  # else all answers end alike
        model.final_logits_bias[0] = 0.3 * torch.randn(SIZES["vocab_size"], generator=generator)
    return model


def write_folder(model, folder):
    """With forced ids in config.json, as older versions of transformers wrote them."""
    model.save_pretrained(folder)
    os.remove(f"{folder}/generation_config.json")
    with open(f"{folder}/config.json") as f:
        config = json.load(f)
    with open(f"{folder}/config.json", "w") as f:
        json.dump({**config, "forced_bos_token_id": 0}, f, indent=1)
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)] + [str(d) for d in range(10)] + list(".,?!-'") + ["\u0120"]
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *letters]
    pieces += [f"\u0120{c}" for c in "abcdefgh"][:SIZES["vocab_size"] - len(pieces) - 1] + ["<mask>"]
    with open(f"{folder}/vocab.json", "w") as f:
        json.dump({piece: i for i, piece in enumerate(pieces)}, f)
    with open(f"{folder}/merges.txt", "w") as f:
        f.write("#version: 0.2\n" + "".join(f"\u0120 {piece[1]}\n" for piece in pieces if len(piece) == 2))


def answer(model, source, case):
    model.generation_config.forced_bos_token_id, model.generation_config.forced_eos_token_id = case["forced"]
    options = {k: v for k, v in case.items() if k != "forced" and (k != "length_penalty" or case["num_beams"] > 1)}
    with torch.no_grad():
        out = model.generate(torch.tensor([source]), attention_mask=torch.ones((1, len(source)), dtype=torch.long), do_sample=False,
                             early_stopping=False, return_dict_in_generate=True, output_scores=True, **options)
    return out.sequences[0].tolist(), out.sequences_scores[0].item() if case["num_beams"] > 1 else float("nan")


def main():
    model, rng = build(), np.random.default_rng(5)
    sources = [[0, *map(int, rng.integers(3, SIZES["vocab_size"], n - 2)), 2] for n in LENGTHS]
    tensors = [*model.named_parameters(), ("final_logits_bias", model.final_logits_bias)]
    write_folder(model, f"{sys.argv[1]}/run/golden/bart")
    with open(f"{sys.argv[1]}/model/golden/generate.bin", "wb") as f:
        f.write(b"KMG5" + i4(list(SIZES.values())) + i4([len(tensors)]))
        for name, p in tensors:
            f.write(name.encode().ljust(112, b"\0") + i4([p.numel()]) + p.detach().numpy().astype("<f4").tobytes())
        f.write(i4([len(CASES)]))
        for case in CASES:
            forced = [-1 if i is None else i for i in case["forced"]]
            f.write(i4([case["num_beams"], case["min_length"], case["max_length"], case["no_repeat_ngram_size"], *forced]))
            f.write(np.asarray([case["length_penalty"]], "<f8").tobytes())
            f.write(i4([len(sources)]) + i4([0, *np.cumsum(LENGTHS)]) + i4(sum(sources, [])))
            for source in sources:
                ids, score = answer(model, source, case)
                f.write(i4([len(ids), *ids]) + np.asarray([score], "<f8").tobytes())
                print(case["num_beams"], score, ids)


if __name__ == "__main__":
    main()
