#!/usr/bin/env python3
"""convert_pytorch_bin.py FROM TO: a folder with pytorch_model.bin (or shards with pytorch_model.bin.index.json) becomes one
with model.safetensors, which `kmask import` reads. config.json and the tokenizer's files are copied.

    pip install torch safetensors
    python tools/convert_pytorch_bin.py bert-base-uncased-bin bert-base-uncased

A .bin file is a Python pickle, which may run any program; torch reads it here with weights_only=True, which refuses
everything but tensors. Tensors that share memory (tied weights) are written once."""
import json
import os
import shutil
import sys

import torch
from safetensors.torch import save_file

BESIDES = ("config.json", "vocab.txt", "vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json",
           "special_tokens_map.json", "added_tokens.json")
COPIES = ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias", "lm_head.decoder.weight", "lm_head.decoder.bias")


def files_of(folder):
    index = os.path.join(folder, "pytorch_model.bin.index.json")
    if not os.path.exists(index):
        return ["pytorch_model.bin"]
    with open(index) as f:
        names = sorted(set(json.load(f)["weight_map"].values()))
    for name in names:
        if os.path.basename(name) != name or name in (".", ".."):
            sys.exit(f"{index}: names {name}, expected a file in this folder")
    return names


def read(folder):
    tensors = {}
    for name in files_of(folder):
        state = torch.load(os.path.join(folder, name), map_location="cpu", weights_only=True)
        state = state.get("state_dict", state) if isinstance(state, dict) else state
        if not isinstance(state, dict):
            sys.exit(f"{folder}/{name}: holds a {type(state).__name__}, expected a dictionary of tensors")
        for key, value in state.items():
            if not isinstance(value, torch.Tensor):
                print(f"{key}: a {type(value).__name__}, left out", file=sys.stderr)
                continue
            tensors[key] = value
    return tensors


def unshare(tensors):
    """Copies of tied weights go; whatever else shares memory gets its own."""
    seen, out = {}, {}
    for key in sorted(tensors, key=lambda k: (k.endswith(COPIES), k)):
        value = tensors[key]
        place = (value.untyped_storage().data_ptr(), value.storage_offset(), tuple(value.shape), value.dtype)
        if key.endswith(COPIES) and place in seen:
            print(f"{key}: the same as {seen[place]}, left out", file=sys.stderr)
            continue
        seen.setdefault(place, key)
        out[key] = value.contiguous().clone()
    return out


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    source, target = sys.argv[1:]
    if os.path.isdir(target) and os.listdir(target):
        sys.exit(f"{target}: holds files, expected a new or empty folder")
    tensors = unshare(read(source))
    os.makedirs(target, exist_ok=True)
    for name in BESIDES:
        if os.path.exists(os.path.join(source, name)):
            shutil.copy(os.path.join(source, name), target)
    part = os.path.join(target, "model.safetensors.part")
    save_file(tensors, part, metadata={"format": "pt"})
    os.rename(part, os.path.join(target, "model.safetensors"))
    print(f"{target}: {len(tensors)} tensors. Next: kmask import {target} --out MODEL.h5")


if __name__ == "__main__":
    main()
