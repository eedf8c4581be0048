#!/usr/bin/env python3
"""golden_import.py: makes tests/modelfile/golden/import/ and the seeds of the fuzz targets store_safetensors and modelfile_import
with torch, transformers and safetensors. Three small random models; all forms of one hold the same numbers (which float16
and bfloat16 both have), so that all must import to the same weights."""
import json
import os
import shutil
import struct

import torch
from safetensors.torch import load_file, save_file
from transformers import (BartConfig, BartForConditionalGeneration, BertConfig, BertForPreTraining, RobertaConfig,
                          RobertaForMaskedLM)

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests")
GOLDEN = os.path.join(ROOT, "modelfile", "golden", "import")
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "on", "mat", "##s", "a", "dog", "ran", ".", "far"]
IDS = [2, 5, 6, 7, 8, 4, 9, 10, 4, 3]  # [CLS] the cat sat on [MASK] mat ##s [MASK] [SEP]
SIZES = dict(vocab_size=18, hidden_size=10, num_hidden_layers=1, num_attention_heads=5, intermediate_size=7)
PT = {"format": "pt"}


def coarse(model):
    """Numbers of 7 bits between 2^-7 and 2^3: the same in every type."""
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(((p + torch.randn_like(p) * 0.4) * 64).round().clamp(-100, 100) / 64)
    return model.eval()


def folder(name, tensors, config):
    path = os.path.join(GOLDEN, name)
    os.makedirs(path)
    save_file(tensors, path + "/model.safetensors", metadata=PT)
    with open(path + "/config.json", "w") as f:
        json.dump(config, f, indent=1)
    with open(path + "/vocab.txt", "w") as f:
        f.write("\n".join(PIECES) + "\n")
    return path


def expected(model, name):
    with torch.no_grad():
        logits = model(torch.tensor([IDS]))
    logits = logits.prediction_logits if hasattr(logits, "prediction_logits") else logits.logits
    with open(os.path.join(GOLDEN, name + ".fill"), "w") as f:
        for place, id_ in enumerate(IDS):
            if id_ == 4:
                p = logits[0, place].softmax(-1)
                for i in p.topk(len(p)).indices.tolist():
                    if 5 <= i < len(PIECES):
                        f.write(f"{PIECES[i]} {p[i].item():.8e}\n")


def old(name):
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


def seeds(name, path, index=None):
    with open(path + "/model.safetensors", "rb") as f:
        blob = f.read()
    (n,) = struct.unpack("<Q", blob[:8])
    header, data = blob[8:8 + n].rstrip(), blob[8 + n:]
    here = os.path.join(ROOT, "fuzz", "store_safetensors")
    with open(f"{here}/{name}", "wb") as f:
        f.write(blob if len(blob) < 9000 else b"h" + struct.pack(">H", len(data) & 0xffff) + header)
    with open(path + "/config.json", "rb") as f:
        config = f.read()
    with open(path + "/vocab.txt", "rb") as f:
        vocab = f.read()
    with open(os.path.join(ROOT, "fuzz", "modelfile_import", name), "wb") as f:
        f.write(b"\n%%\n".join([config, header, vocab, b'{"do_lower_case": true}']))


def bart():
    torch.manual_seed(6)
    config = BartConfig(vocab_size=18, d_model=10, encoder_layers=1, decoder_layers=2, encoder_attention_heads=5,
                        decoder_attention_heads=2, encoder_ffn_dim=7, decoder_ffn_dim=9, max_position_embeddings=16,
                        activation_function="relu", scale_embedding=True, pad_token_id=0, bos_token_id=2, eos_token_id=3,
                        decoder_start_token_id=3, forced_eos_token_id=3)
    coarse(BartForConditionalGeneration(config)).save_pretrained("/tmp/golden_import")
    tensors = {k: v.bfloat16() for k, v in load_file("/tmp/golden_import/model.safetensors").items()}
    facts = json.load(open("/tmp/golden_import/config.json"))
    seeds("bart", folder("bart", tensors, facts))
    old = {k: v.half() for k, v in tensors.items() if k != "final_logits_bias"}
    for copy in ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight"):
        old[copy] = old["model.shared.weight"].clone()
    old["model.encoder.version"] = torch.tensor([3.0])
    legacy = dict(facts, normalize_before=False, normalize_embedding=True, add_final_layer_norm=False, classif_dropout=0.1,
                  add_bias_logits=False, static_position_embeddings=False, extra_pos_embeddings=2)
    seeds("bart-old", folder("bart-old", old, legacy))
    bare = {k.removeprefix("model."): v.float() for k, v in tensors.items() if k != "final_logits_bias"}
    seeds("bart-bare", folder("bart-bare", bare, dict(facts, architectures=["BartModel"])))


def main():
    shutil.rmtree(GOLDEN, ignore_errors=True)
    os.makedirs(GOLDEN)
    torch.manual_seed(5)
    config = BertConfig(**SIZES, max_position_embeddings=16, type_vocab_size=2, hidden_act="gelu_new", layer_norm_eps=1e-6)
    bert = coarse(BertForPreTraining(config))
    bert.save_pretrained("/tmp/golden_import")
    whole = load_file("/tmp/golden_import/model.safetensors")
    facts = json.load(open("/tmp/golden_import/config.json"))
    facts["a_key_that_changes_nothing"] = {"kept": [1, 2.5, None]}
    mlm = {k: v for k, v in whole.items() if "pooler" not in k and "seq_relationship" not in k}
    expected(bert, "bert")
    seeds("bert-whole", folder("bert-whole", whole, facts))
    mlm_facts = dict(facts, architectures=["BertForMaskedLM"])
    seeds("bert", folder("bert", mlm, mlm_facts))
    seeds("bert-f16", folder("bert-f16", {k: v.half() for k, v in mlm.items()}, dict(mlm_facts, dtype="float16")))
    wrapped = {"module." + old(k): v.bfloat16() for k, v in mlm.items()}
    wrapped["module.bert.embeddings.position_ids"] = torch.arange(16)[None]
    wrapped["module.cls.predictions.decoder.weight"] = wrapped["module.bert.embeddings.word_embeddings.weight"].clone()
    wrapped["module.cls.predictions.decoder.bias"] = wrapped["module.cls.predictions.bias"].clone()
    seeds("bert-old", folder("bert-old", wrapped, {k: v for k, v in facts.items() if k != "model_type"}))
    bare = {k.removeprefix("bert."): v.half() for k, v in whole.items() if k.startswith("bert.")}
    seeds("bert-bare", folder("bert-bare", bare, dict(facts, architectures=["BertModel"])))
    roberta = coarse(RobertaForMaskedLM(RobertaConfig(**SIZES, max_position_embeddings=16, type_vocab_size=1, pad_token_id=1,
                                                      bos_token_id=0, eos_token_id=2, layer_norm_eps=1e-5)))
    roberta.save_pretrained("/tmp/golden_import")
    expected(roberta, "roberta")
    tensors = {k: v.bfloat16() for k, v in load_file("/tmp/golden_import/model.safetensors").items()}
    facts = json.load(open("/tmp/golden_import/config.json"))
    path = folder("roberta", tensors, facts)
    seeds("roberta", path)
    names = sorted(tensors)
    path = folder("roberta-sharded", {k: tensors[k] for k in names[::2]}, facts)
    os.rename(path + "/model.safetensors", path + "/model-00001-of-00002.safetensors")
    save_file({k: tensors[k] for k in names[1::2]}, path + "/model-00002-of-00002.safetensors", metadata=PT)
    map_ = {k: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, k in enumerate(names)}
    with open(path + "/model.safetensors.index.json", "w") as f:
        json.dump({"metadata": {"total_size": 1}, "weight_map": map_}, f, indent=1)
    bart()
    here = os.path.join(ROOT, "fuzz", "store_safetensors")
    with open(here + "/index", "w") as f:
        f.write('i{"metadata": {"total_size": 4}, "weight_map": {"a": "shard.safetensors"}}')
    types = {"f16": torch.zeros(2, 3).half(), "i64": torch.arange(3), "u8": torch.zeros(0, 4, dtype=torch.uint8),
             "f64": torch.zeros((), dtype=torch.float64), "bool": torch.ones(5, dtype=torch.bool)}
    save_file(types, here + "/types", metadata=PT)
    shutil.rmtree("/tmp/golden_import")


if __name__ == "__main__":
    main()
