#!/usr/bin/env python3
"""compare_import.py [KMASK [FOLDER...]]: imports and exports against transformers, rerun by anyone who has it.

    pip install torch transformers safetensors h5py numpy
    python tools/compare_import.py build/release/kmask

Makes random models of odd shapes, in F32, F16 and BF16, whole and sharded, with and without head, prefix, old names, other
heads; imports and exports each, compares every tensor bit for bit, loads the export in transformers (nothing missing,
nothing unexpected, no warning), and compares probabilities of `kmask fill` (of encoders) and the loss of `kmask probe` with its own. With
folders of published models: the same import and export, and the hidden states of `kmask probe`. One line a case; status 1
when one fails."""
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import warnings

import h5py
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import (AutoModel, AutoModelForMaskedLM, AutoModelForSeq2SeqLM, AutoTokenizer, BartConfig,
                          BartForConditionalGeneration, BartForSequenceClassification, BartModel, BertConfig, BertForMaskedLM,
                          BertForPreTraining, BertModel, RobertaConfig, RobertaForMaskedLM, RobertaModel)

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "on", "mat", "##s", "##ing", "a", "dog", "ran",
          ".", ",", "far", "##ther", "away"]
TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
KMASK = None


class Talk(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.said = []

    def emit(self, record):
        self.said.append(record.getMessage())


def write_tokenizer(folder):
    with open(folder + "/vocab.txt", "w") as f:
        f.write("\n".join(PIECES) + "\n")
    with open(folder + "/tokenizer_config.json", "w") as f:
        json.dump({"tokenizer_class": "BertTokenizer", "do_lower_case": True}, f)


def old_names(name):
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


# What BART's config.json had in 2020: it changes nothing.
LEGACY = dict(add_bias_logits=False, add_final_layer_norm=False, classif_dropout=0.1, normalize_before=False,
              normalize_embedding=True, static_position_embeddings=False, num_hidden_layers=2, gradient_checkpointing=False)


def old_bart(tensors):
    """As old files have it: copies of the embeddings, versions, and no bias of the logits."""
    for copy in ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight"):
        tensors[copy] = tensors["model.shared.weight"].clone()
    tensors["model.encoder.version"] = torch.tensor([3.0])
    del tensors["final_logits_bias"]
    return tensors


def copies_alone(tensors):
    tensors["model.decoder.embed_tokens.weight"] = tensors.pop("model.shared.weight")
    return tensors


def renamed(rename):
    return lambda tensors: {rename(k): v for k, v in tensors.items()}


CASES = [
    # name, class, config keys, dtype, change of the tensors, shards
    ("bert", BertForMaskedLM, dict(hidden_size=12, num_attention_heads=3, intermediate_size=20), "F32", None, False),
    ("bert-heads-of-5", BertForMaskedLM, dict(hidden_size=35, num_attention_heads=7, intermediate_size=41, type_vocab_size=1,
                                              max_position_embeddings=40, hidden_act="gelu_new"), "F32", None, False),
    ("bert-f16", BertForMaskedLM, dict(hidden_size=26, num_attention_heads=2, intermediate_size=7, vocab_size=23), "F16", None, False),
    ("bert-bf16-sharded", BertForMaskedLM, dict(hidden_size=33, num_attention_heads=3, num_hidden_layers=3), "BF16", None, True),
    ("bert-old-names", BertForMaskedLM, dict(hidden_size=14, num_attention_heads=7, layer_norm_eps=1e-6), "F32", renamed(old_names), False),
    ("bert-bare", BertModel, dict(hidden_size=18, num_attention_heads=6), "F32", None, False),
    ("bert-wrapped", BertModel, dict(hidden_size=18, num_attention_heads=6), "F16", renamed(lambda n: "0.auto_model." + n), False),
    ("bert-module", BertForMaskedLM, dict(hidden_size=18, num_attention_heads=6), "F32", renamed(lambda n: "module." + n), False),
    ("bert-pretraining", BertForPreTraining, dict(hidden_size=10, num_attention_heads=5), "F32", None, False),
    ("roberta", RobertaForMaskedLM, dict(hidden_size=12, num_attention_heads=3, max_position_embeddings=40, type_vocab_size=1),
     "F32", None, False),
    ("roberta-514", RobertaForMaskedLM, dict(hidden_size=21, num_attention_heads=3, max_position_embeddings=514,
                                             type_vocab_size=2, hidden_act="gelu_new", layer_norm_eps=1e-5), "BF16", None, False),
    ("roberta-sharded", RobertaForMaskedLM, dict(hidden_size=22, num_attention_heads=11, num_hidden_layers=4), "F16", None, True),
    ("roberta-bare", RobertaModel, dict(hidden_size=12, num_attention_heads=4, type_vocab_size=1), "F32", None, False),
    ("bart", BartForConditionalGeneration, dict(), "F32", None, False),
    ("bart-odd-relu-scaled", BartForConditionalGeneration,
     dict(d_model=35, encoder_layers=1, decoder_layers=3, encoder_attention_heads=7, decoder_attention_heads=5, encoder_ffn_dim=3,
          decoder_ffn_dim=41, activation_function="relu", scale_embedding=True, forced_bos_token_id=2), "F32", None, False),
    ("bart-f16", BartForConditionalGeneration, dict(d_model=26, activation_function="gelu_new", vocab_size=27, **LEGACY), "F16", None,
     False),
    ("bart-bf16-sharded", BartForConditionalGeneration, dict(encoder_layers=3, max_position_embeddings=1024), "BF16", None, True),
    ("bart-bare", BartModel, dict(), "F32", None, False),
    ("bart-old", BartForConditionalGeneration, LEGACY, "F16", old_bart, False),
    ("bart-copies-alone", BartForConditionalGeneration, dict(), "F32", copies_alone, False),
    ("bart-module", BartForConditionalGeneration, dict(), "BF16", renamed(lambda n: "module." + n), False),
    ("bart-generation", BartForConditionalGeneration,
     dict(d_model=22, encoder_layers=3, decoder_layers=2, encoder_attention_heads=11, decoder_attention_heads=2, encoder_ffn_dim=9,
          decoder_ffn_dim=31, generation=dict(forced_bos_token_id=3, forced_eos_token_id=None, eos_token_id=[2, 7], min_length=3,
                                              max_length=30, no_repeat_ngram_size=3, num_beams=4, length_penalty=2.0)), "F16", None, True),
    ("bart-old-generation", BartForConditionalGeneration,
     dict(encoder_layers=1, decoder_layers=4, scale_embedding=True, max_position_embeddings=77, generation=None), "BF16", old_bart, False),
    ("bart-classifier", BartForSequenceClassification, dict(), "F32", None, False),
]


def pick(*values):
    return values[torch.randint(len(values), ()).item()]


def make_config(cls, keys):
    if cls.__name__.startswith("Bart"):
        sizes = dict(vocab_size=len(PIECES), d_model=12, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
                     decoder_attention_heads=2, encoder_ffn_dim=20, decoder_ffn_dim=20, max_position_embeddings=64, init_std=0.3,
                     pad_token_id=0, bos_token_id=2, eos_token_id=3, decoder_start_token_id=3, forced_eos_token_id=3)
        if "d_model" not in keys:  # an odd shape of its own for each case
            heads = [pick(1, 2, 3, 6) for _ in range(2)]
            sizes.update(d_model=6 * pick(2, 3, 5, 7), encoder_layers=pick(1, 2, 3, 4), decoder_layers=pick(1, 2, 3, 4),
                         encoder_attention_heads=heads[0], decoder_attention_heads=heads[1], encoder_ffn_dim=pick(5, 20, 33),
                         decoder_ffn_dim=pick(3, 20, 41))
        return BartConfig(**{**sizes, **keys})
    sizes = dict(vocab_size=len(PIECES), hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=20,
                 max_position_embeddings=64, initializer_range=0.3)
    sizes.update(keys)
    roberta = cls.__name__.startswith("Roberta")
    return RobertaConfig(**sizes, pad_token_id=1, bos_token_id=0, eos_token_id=2) if roberta else BertConfig(**sizes)


def rewrite(path, change):
    with open(path) as f:
        content = json.load(f)
    with open(path, "w") as f:
        json.dump(change(content), f)


def make(folder, cls, keys, dtype, change, sharded):
    """keys["generation"]: what generation_config.json has; None: there is no such file, and config.json has forced and several ids."""
    generation = keys.get("generation", {})
    keys = {k: v for k, v in keys.items() if k != "generation"}
    model = cls(make_config(cls, keys)).to(TYPES[dtype])
    with torch.no_grad():  # biases and norms that are not just zeros and ones
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.05)
    model.save_pretrained(folder, max_shard_size="2KB" if sharded else "5GB")
    if change:
        save_file(change(load_file(folder + "/model.safetensors")), folder + "/model.safetensors", metadata={"format": "pt"})
    if generation is None:
        os.remove(folder + "/generation_config.json")
        rewrite(folder + "/config.json", lambda c: {**c, "forced_bos_token_id": 2, "eos_token_id": [3, 9]})
    elif generation:
        rewrite(folder + "/generation_config.json", lambda c: {**c, **generation})
    write_tokenizer(folder)


def all_tensors(folder):
    tensors = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(".safetensors"):
            tensors.update(load_file(f"{folder}/{name}"))
    return tensors


def own_name(name, root):
    for prefix in ("0.auto_model.", "module."):
        name = name.removeprefix(prefix)
    name = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
    backbone = ("shared.", "encoder.", "decoder.") if root == "model." else ("embeddings.", "encoder.", "pooler.")
    return root + name if name.startswith(backbone) else name


def is_own(name, root):
    """Whether an export has it without --extras."""
    if root == "model.":
        return name == "final_logits_bias" or (name.startswith(root) and "embed_tokens" not in name)
    return name.startswith(("cls.predictions.", "lm_head.")) or (name.startswith(root) and "pooler" not in name)


COPIES = ("embed_tokens.weight", "lm_head.weight")


def kmask(*args):
    done = subprocess.run([KMASK, *args], capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"kmask {' '.join(args)}: {done.stderr.strip()}")
    return done.stdout


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))


def compare_tensors(source, out, root, extras, type_):
    before = {own_name(k, root): v for k, v in all_tensors(source).items()}
    after = all_tensors(out)
    if "model.decoder.embed_tokens.weight" in before and "model.shared.weight" not in before:
        before["model.shared.weight"] = before["model.decoder.embed_tokens.weight"]
    for name, tensor in before.items():
        if root == "model." and name.endswith(COPIES):
            assert name not in after, f"{name} was exported beside the embeddings"
            continue
        buffer = name.endswith(".version")
        if not is_own(name, root) and not buffer and not extras:
            assert name not in after, f"{name} was exported without --extras"
            continue
        expected = tensor.to(type_) if tensor.is_floating_point() else tensor
        assert name in after, f"{name} is missing in the export"
        assert same_bits(expected, after[name]), f"{name} differs"
    fresh = set(after) - set(before)
    assert all(n.startswith(("cls.predictions.", "lm_head.", "final_logits_bias")) for n in fresh), fresh


def compare_fill(model_file, out):
    text = "the cat sat on [MASK] mats [MASK]"
    tokenizer = AutoTokenizer.from_pretrained(out)
    model = AutoModelForMaskedLM.from_pretrained(out, dtype=torch.float32).eval()
    ids = tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        p = model(input_ids=ids.input_ids, attention_mask=ids.attention_mask).logits.softmax(-1)[0]
    places = (ids.input_ids[0] == tokenizer.mask_token_id).nonzero().flatten().tolist()
    found = json.loads(kmask("fill", model_file, text, "--top", "8", "--json"))["masks"]
    worst = 0.0
    for place, candidates in zip(places, found, strict=True):
        for c in candidates:
            worst = max(worst, abs(c["p"] / p[place, c["id"]].item() - 1))
    assert worst < 1e-4, f"probabilities differ by {worst:.1e}"
    return worst


def probe(model_file, ids, work):
    with open(work + "/ids.json", "w") as f:
        json.dump(ids, f)
    kmask("probe", model_file, "--input", work + "/ids.json", "--out", work + "/probe.h5")
    return h5py.File(work + "/probe.h5")


def compare_loss(model_file, model, work):
    ids = torch.randint(5, len(PIECES), (3, 11))
    labels = torch.where(torch.rand(ids.shape) < 0.3, ids.roll(1, 1), -100)
    labels[0, 0] = 7
    if is_bart(model.config._name_or_path):  # a target of its own, longer than the source
        labels = torch.randint(5, len(PIECES), (3, 14))
    with torch.no_grad():
        expected = model.double().eval()(input_ids=ids, labels=labels).loss.item()
    with probe(model_file, {"input_ids": ids.tolist(), "labels": labels.tolist()}, work) as out:
        error = abs(float(np.asarray(out["loss"]).reshape(-1)[0]) / expected - 1)
    assert error < 1e-5, f"the loss differs by {error:.1e}"
    return error


def check_published(folder, work, talk):
    model_file, out = work + "/published.h5", work + "/published"
    account = json.loads(kmask("import", folder, "--out", model_file, "--json"))
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("The compiler turns source code into machine code, one file at a time.").input_ids
    with torch.no_grad():
        states = model.double()(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
    worst = 0.0
    with probe(model_file, {"input_ids": [ids]}, work) as got:
        for layer, state in enumerate(states):
            difference = np.abs(np.asarray(got[f"hidden_states/{layer}"]) - state.numpy()).max()
            worst = max(worst, difference / np.abs(state.numpy()).max())
    assert worst < 1e-4, f"hidden states differ by {worst:.1e}"
    kmask("export", model_file, "--out", out)
    compare_tensors(folder, out, account["model_type"] + ".", False, torch.float32)
    load_quietly(out, talk)
    assert AutoTokenizer.from_pretrained(out)("one file at a time").input_ids == tokenizer("one file at a time").input_ids
    shutil.rmtree(out)
    return (f"{len(account['used'])} used, {len(account['ignored'])} ignored, {len(account['fresh'])} fresh; "
            f"hidden states of {len(states) - 1} layers within {worst:.0e}")


def is_bart(folder):
    return read_json(folder + "/config.json")["model_type"] == "bart"


def load_quietly(out, talk):
    talk.said.clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        auto = AutoModelForSeq2SeqLM if is_bart(out) else AutoModelForMaskedLM
        model, info = auto.from_pretrained(out, output_loading_info=True)
    bad = {k: v for k, v in info.items() if v}
    assert not bad, bad
    assert not talk.said, talk.said
    assert not [w for w in caught if "transformers" in str(w.filename)], [str(w.message) for w in caught]
    return model


def read_json(path):
    with open(path) as f:
        return json.load(f)


def compare_config(source, out):
    """What the two files say is still said, but for the class and the type of the numbers. An older folder says in config.json alone
    how text is generated; an export says it in both."""
    generation = source + "/generation_config.json"
    before, after = read_json(source + "/config.json"), read_json(out + "/config.json")
    for key, value in before.items():
        if key not in ("architectures", "dtype"):
            assert after.get(key) == value, f"config.json: {key} was {value} and is {after.get(key)}"
    if not is_bart(source):
        return
    after = read_json(out + "/generation_config.json")
    before = read_json(generation) if os.path.exists(generation) else {k: v for k, v in before.items() if k.endswith("_token_id")}
    for key, value in before.items():
        assert after.get(key) == value, f"generation_config.json: {key} was {value} and is {after.get(key)}"


def check(case, work, talk):
    name, cls, keys, dtype, change, sharded = case
    source, model_file, out, again = (f"{work}/{name}{end}" for end in ("", ".h5", "-out", "-again.h5"))
    os.makedirs(source)
    make(source, cls, keys, dtype, change, sharded)
    root = {"Bart": "model.", "Bert": "bert."}.get(cls.__name__[:4], "roberta.")
    account = json.loads(kmask("import", source, "--out", model_file, "--json"))
    kmask("export", model_file, "--out", out)
    compare_tensors(source, out, root, False, torch.float32)
    loss = compare_loss(model_file, load_quietly(out, talk), work)
    worst = 0.0 if root == "model." else compare_fill(model_file, out)
    compare_config(source, out)
    back = json.loads(kmask("import", out, "--out", again, "--json"))
    assert back["weights_hash"] == account["weights_hash"] and not back["fresh"], "an import of the export differs"
    kmask("export", model_file, "--out", out + "-typed", "--dtype", dtype.lower(), "--extras")
    compare_tensors(source, out + "-typed", root, True, TYPES[dtype])
    for folder in (source, out, out + "-typed"):
        shutil.rmtree(folder)
    return f"{len(account['used'])} used, {len(account['ignored'])} ignored, {len(account['fresh'])} fresh; loss within {loss:.0e}, fill {worst:.0e}"


def main():
    global KMASK
    KMASK = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "build/release/kmask")
    torch.manual_seed(7)
    logging.getLogger("transformers").handlers.clear()
    talk = Talk()
    logging.getLogger("transformers").addHandler(talk)
    failures = 0
    with tempfile.TemporaryDirectory() as work:
        tasks = [(f"{c[0]:20} {c[3]:5}", check, c) for c in CASES]
        tasks += [(os.path.basename(f.rstrip("/")), check_published, f) for f in sys.argv[2:]]
        for name, run, case in tasks:
            try:
                print(f"{name} ok: {run(case, work, talk)}", flush=True)
            except AssertionError as error:
                failures += 1
                print(f"{name} FAILED: {error}", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
