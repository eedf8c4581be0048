#!/usr/bin/env python3
"""Compares `kmask generate` with HuggingFace transformers' generate on random BART models.

    pip install torch transformers numpy
    python tools/compare_generate.py --kmask build/release/kmask [--models 12] [--options 6] [--sources 8] [--seed 1]
    python tools/compare_generate.py --kmask build/release/kmask --speed 1,32 [--laps 5]

Each model is drawn by its seed: 1 to 4 layers on either side, other head counts and feed-forward widths on either side, three
activations, scaled embeddings or not, forced first and last tokens or not, one to three ids that end an answer, named in config.json or
in generation_config.json. A model with freshly drawn weights repeats its last
token for ever, so the decoder's weights are larger than usual, and the row of </s> is scaled until some answers end early and others
do not. Each model answers random sources of 2 to 60 tokens under random options: 1 to 6 beams, minimum and maximum lengths, length
penalties from 0 to 2, no_repeat_ngram_size. Every other set of options stands in the model's config.json or generation_config.json, from which
kmask has to take it. transformers takes one source at a time; kmask takes all of them together.

transformers computes in float64, though it adds up scores in float32. Sequences must be equal, or their scores tie to 1e-5; scores
must agree to 1e-4, of a score below -1 relative to it (transformers reports none for greedy search: there the tokens alone are
compared). Status 1 where they do not.

--speed: how fast both are on one core in fp32, in turns, with a BART-base of random weights: as many sources of 8 to 128 tokens at once as
given, 4 beams, 20 tokens each. Files are read and models loaded before the clock starts; kmask's time is the one that it logs.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np
import torch
import transformers
from transformers import BartConfig, BartForConditionalGeneration

TIE, LIMIT = 1e-5, 1e-4


# ---- Models, sources, options ----

def draw_model(seed):
    rng = np.random.default_rng([seed, 21])
    pick = lambda *values: values[rng.integers(len(values))]
    heads, forced = (int(pick(1, 2, 3, 6)), int(pick(1, 2, 3, 6))), (pick(None, 0), pick(None, 2, 2))
    ends = [2] if rng.integers(2) else [2, *map(int, rng.integers(3, 270, rng.integers(1, 3)))]
    config = BartConfig(
        vocab_size=int(pick(270, 331, 517, 1031)), d_model=6 * int(pick(2, 3, 5, 8, 11)), encoder_layers=int(rng.integers(1, 5)),
        decoder_layers=int(rng.integers(1, 5)), encoder_attention_heads=heads[0], decoder_attention_heads=heads[1],
        encoder_ffn_dim=int(pick(5, 33, 77, 128)), decoder_ffn_dim=int(pick(5, 31, 64, 129)),
        max_position_embeddings=int(pick(64, 67, 128)), activation_function=pick("gelu", "gelu_new", "relu"),
        scale_embedding=bool(rng.integers(2)))
    model = BartForConditionalGeneration(config).eval()
    generator = torch.Generator().manual_seed(seed)
    end = float(pick(1, 2, 3, 4))
    with torch.no_grad():
        for name, p in model.named_parameters():
            norm = "norm" in name and name.endswith("weight")
            scale = 0.5 if "decoder.layers" in name else 0.25
            p.copy_((1.0 if norm else 0.0) + (scale if p.dim() == 2 else 0.2) * torch.randn(p.shape, generator=generator))
        model.model.shared.weight[2] *= end
        model.model.shared.weight[1] = 0
    ids = dict(forced_bos_token_id=forced[0], forced_eos_token_id=forced[1], eos_token_id=ends if len(ends) > 1 else ends[0])
    model.generation_config.update(**ids)
    return model.double(), ids


def write_model(kmask, model, ids, named_in, folder):
    """ids are in config.json, as older versions of transformers wrote them, or in generation_config.json."""
    model.float().save_pretrained(folder)
    model.double()
    if named_in == "config.json":
        os.remove(f"{folder}/generation_config.json")
    with open(f"{folder}/{named_in}") as f:
        config = json.load(f)
    with open(f"{folder}/{named_in}", "w") as f:
        json.dump({**config, **ids}, f)
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    chars = [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *chars, "<mask>"]
    with open(f"{folder}/vocab.json", "w") as f:
        json.dump({piece: i for i, piece in enumerate(pieces)}, f)
    with open(f"{folder}/merges.txt", "w") as f:
        f.write("#version: 0.2\n")
    subprocess.run([kmask, "import", folder, "--out", f"{folder}/model.h5"], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    return f"{folder}/model.h5"


def write_options(folder, named_in, options):
    """The options stand in the model's own file; min_new_tokens and max_new_tokens, which win, now and then."""
    with open(f"{folder}/{named_in}") as f:
        config = json.load(f)
    new = {"max_new_tokens": options["max_length"] - 1, "max_length": 60} if options["max_length"] % 2 else {}
    with open(f"{folder}/{named_in}", "w") as f:
        json.dump({**config, "max_new_tokens": None, **options, **new}, f)


def draw_sources(seed, vocab, count):
    rng = np.random.default_rng([seed, 22])
    return [[0, *map(int, rng.integers(3, vocab, rng.integers(0, 59))), 2] for _ in range(count)]


def draw_options(seed, number):
    rng = np.random.default_rng([seed, 23, number])
    longest = int(rng.integers(2, 40))
    return dict(num_beams=int(rng.integers(1, 7)), min_length=int(rng.integers(0, min(longest, 15) + 1)), max_length=longest,
                length_penalty=float(rng.choice([0, 0.5, 1, 1, 1.3, 2])), no_repeat_ngram_size=int(rng.choice([0, 0, 1, 2, 3])))


# ---- The two programs ----

def reference(model, source, options):
    """(ids, score), with score None for greedy search."""
    with torch.no_grad():
        out = model.generate(
            torch.tensor([source]), attention_mask=torch.ones((1, len(source)), dtype=torch.long), early_stopping=False,
            do_sample=False, return_dict_in_generate=True, output_scores=True, **{k: v for k, v in options.items() if k != "length_penalty"
                                                                 or options["num_beams"] > 1})
    return out.sequences[0].tolist(), out.sequences_scores[0].item() if options["num_beams"] > 1 else None


def generate(kmask, path, sources, options, folder, launch=(), log=os.devnull):
    with open(f"{folder}/in.jsonl", "w") as f:
        f.writelines(json.dumps({"input_ids": ids}) + "\n" for ids in sources)
    names = dict(num_beams="beam", min_length="min-length", max_length="max-length", length_penalty="length-penalty",
                 no_repeat_ngram_size="no-repeat-ngram")
    arguments = [word for key, value in options.items() for word in (f"--{names[key]}", str(value))]
    with open(log, "w") as errors:
        return subprocess.run([*launch, kmask, "generate", path, "--in", f"{folder}/in.jsonl", "--json", *arguments], check=True,
                              stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, "KMASK_PROGRESS": "none"}).stdout


# ---- The comparison ----

class Tally:
    def __init__(self):
        self.cases = self.ties = self.failures = self.early = 0
        self.worst, self.lengths, self.tokens = 0.0, set(), set()

    def take(self, what, expected, got, longest):
        ids, score = expected
        off = 0.0 if score is None else abs(score - got["score"]) / max(1.0, abs(score))
        self.cases += 1
        self.early += len(ids) < longest
        self.lengths.add(len(ids))
        self.tokens.update(ids)
        tie = ids != got["output_ids"] and off <= TIE and score is not None
        self.ties += tie
        if (ids != got["output_ids"] and not tie) or off > LIMIT:
            self.failures += 1
            print(f"{what}\n  transformers {score} {ids}\n  kmask        {got['score']} {got['output_ids']}")
        else:
            self.worst = max(self.worst, off)


# ---- Speed ----

def base_model():
    torch.manual_seed(1)
    return BartForConditionalGeneration(BartConfig(
        d_model=768, encoder_layers=6, decoder_layers=6, encoder_attention_heads=12, decoder_attention_heads=12, encoder_ffn_dim=3072,
        decoder_ffn_dim=3072, init_std=0.05)).eval()


def lap_of_transformers(model, sources, options):
    longest = max(map(len, sources))
    ids = torch.tensor([source + [1] * (longest - len(source)) for source in sources])
    start = time.perf_counter()
    with torch.no_grad():
        out = model.generate(ids, attention_mask=(ids != 1).long(), early_stopping=False, do_sample=False, **options)
    return time.perf_counter() - start, [row.tolist() for row in out]


def lap_of_kmask(kmask, path, sources, options, folder):
    log = f"{folder}/log.txt"
    text = generate(kmask, path, sources, options, folder, log=log)
    with open(log) as f:
        return float(re.search(r"answered in ([0-9.]+) s", f.read()).group(1)), [json.loads(line)["output_ids"] for line in text.splitlines()]


def compare_speed(kmask, counts, laps):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    model, options = base_model(), dict(num_beams=4, min_length=20, max_length=20, length_penalty=1.0, no_repeat_ngram_size=0)
    rng = np.random.default_rng(5)
    with tempfile.TemporaryDirectory() as folder:
        path = write_model(kmask, model, dict(forced_bos_token_id=None, forced_eos_token_id=2, eos_token_id=2), "generation_config.json", folder)
        model.float()
        for count in counts:
            times, equal, answers = ([], []), 0, 0
            for _ in range(laps):
                sources = [[0, *map(int, rng.integers(3, 50264, rng.integers(6, 127))), 2] for _ in range(count)]
                seconds, expected = lap_of_transformers(model, sources, options)
                times[0].append(seconds)
                seconds, got = lap_of_kmask(kmask, path, sources, options, folder)
                times[1].append(seconds)
                equal, answers = equal + sum(a == b for a, b in zip(expected, got)), answers + count
            ratios = sorted(a / b for a, b in zip(*times))
            print(f"{count} source(s) at once: transformers {np.median(times[0]):.3f} s, kmask {np.median(times[1]):.3f} s, "
                  f"ratio {np.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}); {equal} of {answers} answers are equal", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kmask", required=True)
    parser.add_argument("--models", type=int, default=12)
    parser.add_argument("--options", type=int, default=6)
    parser.add_argument("--sources", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ranks", type=int, default=1, help="of kmask, by mpirun; answers must be those of one rank, byte by byte")
    parser.add_argument("--speed", help="numbers of sources at once, such as 1,32")
    parser.add_argument("--laps", type=int, default=5)
    given = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    kmask, tally = os.path.abspath(given.kmask), Tally()
    if given.speed:
        compare_speed(kmask, [int(count) for count in given.speed.split(",")], given.laps)
        return
    for seed in range(given.seed, given.seed + given.models):
        model, special = draw_model(seed)
        with tempfile.TemporaryDirectory() as folder:
            named_in = ("config.json", "generation_config.json")[seed % 2]
            path = write_model(kmask, model, special, named_in, folder)
            sources = draw_sources(seed, model.config.vocab_size, given.sources)
            for number in range(given.options):
                options = draw_options(seed, number)
                said = number % 2 == 1
                if said:
                    write_options(folder, named_in, options)
                text = generate(kmask, folder if said else path, sources, {} if said else options, folder)
                if given.ranks > 1 and text != generate(
                        kmask, folder if said else path, sources, {} if said else options, folder, ("mpirun", "-n", str(given.ranks))):
                    sys.exit(f"model {seed}, {options}: {given.ranks} ranks answer otherwise than one")
                for i, line in enumerate(text.splitlines()):
                    tally.take(f"model {seed}, source {i}, {options}", reference(model, sources[i], options), json.loads(line),
                               options["max_length"])
    print(f"{tally.cases} answers, {tally.early} of them ended before the maximum length, {len(tally.lengths)} lengths, "
          f"{len(tally.tokens)} different tokens: {tally.failures} differ, {tally.ties} tie, scores agree to {tally.worst:.1e}")
    sys.exit(tally.failures > 0)


if __name__ == "__main__":
    main()
