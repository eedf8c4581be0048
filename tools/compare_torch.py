#!/usr/bin/env python3
"""compare_torch.py [--kmask build/release/kmask] [--work n512,n128,small] [--bart] [--threads 1,2] [--laps 5]
    [--precision fp32|bf16] [--blas-kernel NAME] [--out FILE.json]

A training step of the same masked language model in kmask and in PyTorch with transformers, in turns, and the ratio of
their speeds. Needs torch and transformers; models are fresh and tokens random, so no other file is needed.

What is the same on both sides: the architecture and its sizes, fp32 (or --precision bf16: kmask's train.precision, and torch.autocast
over forward and loss, weights and optimizer fp32), dropout 0.1 wherever BERT has it, the number of views of a
step, their length and how many of their tokens are masked, no padding; forward, loss, backward, clipping by the global norm at
1.0, AdamW (0.9, 0.999, 1e-6) with decay 0.01 on all but biases and layer norms; the number of threads and the cores. kmask makes
its masks and batches, and its exact sum, meanwhile; for PyTorch the batches are there before the clock starts. kmask goes
through a step in micro-batches of about 1,024 tokens, PyTorch through all views at once, which is faster for it.

Two opponents: the best of eager attention, scaled_dot_product_attention, and torch.compile of either, with the vocabulary's head at
masked tokens alone and the allocator tuned (MALLOC_* below), each tried first; and what transformers' run_mlm does: its
default attention, the head at every token, nothing tuned. AdamW is the fused one on both.

--bart (or --work bart-full,bart-masked): BART-base, whose sources are 8 rows of 128 tokens with 15 % of them replaced. Its decoder
writes the whole row (128 tokens) or what was hidden (21 tokens). Every token of a target counts, so there is one opponent: the
best. attention_dropout and activation_dropout are 0 as in BART's config.

PyTorch's MKL does not use all of every CPU (on AMD it leaves AVX-512 alone), so its product's rate is printed too: a ratio is one of
programs, libraries included.

Laps go kmask, best, run_mlm, kmask, ...; a lap is one step (kmask: one process with a step to warm up, then one that counts; PyTorch:
a server that stays). Printed are medians and the spread of the laps' own ratios. Peak memory is the resident size's largest
(VmHWM) of the whole process, with python and its libraries; kmask saves nothing here, so its copy for saving is left out."""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

WORK = {
    "n512": dict(preset="bert-base", length=512, views=4, vocabulary=30522, sizes=(12, 768, 12, 3072)),
    "n128": dict(preset="bert-base", length=128, views=8, vocabulary=30522, sizes=(12, 768, 12, 3072)),
    "small": dict(preset="small", length=128, views=32, vocabulary=8192, sizes=(4, 256, 4, 1024)),
    "bart-full": dict(preset="bart-base", length=128, views=8, vocabulary=50265, sizes=(6, 768, 12, 3072), target="full", written=128),
    "bart-masked": dict(preset="bart-base", length=128, views=8, vocabulary=50265, sizes=(6, 768, 12, 3072), target="masked", written=21),
    "bart-tiny": dict(preset="bart-tiny", length=32, views=8, vocabulary=512, sizes=(2, 128, 2, 512), target="full", written=32),
    "tiny": dict(preset="tiny", length=32, views=8, vocabulary=512, sizes=(2, 128, 2, 512)),
}
TUNED = {"MALLOC_TOP_PAD_": str(1 << 28), "MALLOC_MMAP_THRESHOLD_": str(1 << 33), "MALLOC_TRIM_THRESHOLD_": str(1 << 34)}
CANDIDATES = ["eager", "sdpa", "eager+compile", "sdpa+compile"]
RATIO = 0.15


def masked_of_view(work):
    """Predicted tokens."""
    return work["written"] if "target" in work else max(1, int(RATIO * (work["length"] - 2) + 0.5))


# ---- PyTorch: a server that makes a step for each line it reads ------------------------------------------------------


def peak_bytes():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))


def make_bart(torch, work, attention):
    from transformers import BartConfig, BartForConditionalGeneration

    layers, width, heads, wide = work["sizes"]
    config = BartConfig(
        vocab_size=work["vocabulary"], d_model=width, encoder_layers=layers, decoder_layers=layers, encoder_attention_heads=heads,
        decoder_attention_heads=heads, encoder_ffn_dim=wide, decoder_ffn_dim=wide, dropout=0.1, attention_dropout=0.0,
        activation_dropout=0.0)
    if attention is not None:
        config._attn_implementation = attention
    torch.manual_seed(1)
    return BartForConditionalGeneration(config).train()


def make_model(torch, work, attention):
    from transformers import BertConfig, BertForMaskedLM

    if "target" in work:
        return make_bart(torch, work, attention)
    layers, width, heads, wide = work["sizes"]
    config = BertConfig(
        vocab_size=work["vocabulary"], hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=wide, max_position_embeddings=512, type_vocab_size=2, hidden_act="gelu", hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.1)
    if attention is not None:
        config._attn_implementation = attention
    torch.manual_seed(1)
    return BertForMaskedLM(config).train()


def make_batch(torch, work):
    """Ids with the masked ones replaced, where those are (flat), and what stood there."""
    if "target" in work:
        return (torch.randint(5, work["vocabulary"], (work["views"], work["length"])),
                torch.randint(5, work["vocabulary"], (work["views"], work["written"])))
    views, length, count = work["views"], work["length"], masked_of_view(work)
    ids = torch.randint(5, work["vocabulary"], (views, length))
    at = torch.stack([torch.randperm(length - 2)[:count].sort().values + 1 for _ in range(views)])
    flat = (at + torch.arange(views)[:, None] * length).reshape(-1)
    labels = ids.reshape(-1)[flat].clone()
    ids.view(-1)[flat] = 4
    return ids, flat, labels


def product_rate(torch, work, dtype):
    """GFLOP/s of PyTorch's own product of a layer's widest shape, the best of ten."""
    rows, (_, width, _, wide) = min(work["views"] * work["length"], 1024), work["sizes"]
    x, w, best = torch.randn(rows, width).to(dtype), torch.randn(wide, width).to(dtype), float("inf")
    for _ in range(10):
        start = time.perf_counter()
        x @ w.T
        best = min(best, time.perf_counter() - start)
    return 2e-9 * rows * width * wide / best


def serve(work, variant, threads, precision):
    import torch

    half = precision == "bf16"
    torch.set_num_threads(threads)
    name, *flags = variant.split("+")
    model = make_model(torch, work, None if name == "run_mlm" else name)
    decay = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.999), eps=1e-6, fused=True)

    def masked_head(ids, flat, labels):
        hidden = model.bert(ids)[0]
        logits = model.cls(hidden.reshape(-1, hidden.shape[-1])[flat])
        return torch.nn.functional.cross_entropy(logits, labels)

    def full_head(ids, flat, labels):
        every = torch.full((ids.numel(),), -100)
        every[flat] = labels
        return model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=every.view_as(ids)).loss

    def of_target(ids, labels):
        return model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).loss

    loss_of = of_target if "target" in work else full_head if name == "run_mlm" else masked_head
    if "compile" in flags:
        loss_of = torch.compile(loss_of)

    def step(batch):
        start = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            loss = loss_of(*batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        float(loss.detach())
        return time.perf_counter() - start

    for _ in range(2):
        step(make_batch(torch, work))
    print("ready", product_rate(torch, work, torch.bfloat16 if half else torch.float32), flush=True)
    for _ in sys.stdin:
        batch = make_batch(torch, work)
        print(json.dumps({"seconds": step(batch), "peak": peak_bytes()}), flush=True)


class Server:
    def __init__(self, work_name, variant, threads, cores, precision):
        self.variant = variant
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
        if variant != "run_mlm":
            environment.update(TUNED)
        environment["OMP_NUM_THREADS"] = str(threads)
        command = [sys.executable, os.path.abspath(__file__), "--serve", work_name, variant, str(threads), precision]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
                                        preexec_fn=lambda: os.sched_setaffinity(0, cores))
        words = self.process.stdout.readline().split()
        if words[:1] != ["ready"]:
            self.close()
            sys.exit(f"compare_torch.py: {variant} did not start; its words are above")
        self.product_rate = float(words[1])

    def lap(self):
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


# ---- kmask -----------------------------------------------------------------------------------------------------------


def kmask_lap(program, work, threads, cores, kernel, precision):
    command = [program, "bench", "--preset", work["preset"], "--length", str(work["length"]), "--views", str(work["views"]),
               "--threads", str(threads), "--precision", precision, "--repeat", "1", "--steps-only", "--json",
               "--set", f"model.vocab_size={work['vocabulary']}", "--set", f"mask.ratio={RATIO}"]
    if "target" in work:
        for key in ("policy=random", f"target={work['target']}", "merge=false", "splits=1"):
            command += ["--set", "mask." + key]
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_CORETYPE"}
    if kernel:
        environment["OPENBLAS_CORETYPE"] = kernel
    if threads > 1 and work["views"] * work["length"] // 1024 < threads:
        command += ["--micro-batch", str(work["views"] // threads)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
                          preexec_fn=lambda: os.sched_setaffinity(0, cores))
    if done.returncode != 0:
        sys.exit(f"compare_torch.py: {' '.join(command)}: {done.stderr.strip()}")
    result = json.loads(done.stdout)
    if result["masked"] != work["views"] * masked_of_view(work):
        sys.exit(f"compare_torch.py: kmask masked {result['masked']} tokens, PyTorch masks "
                 f"{work['views'] * masked_of_view(work)}: not the same work")
    return {"seconds": result["step_seconds"], "peak": result["peak_memory_bytes"], "kernel": result["blas_kernel"]}


# ---- In turns --------------------------------------------------------------------------------------------------------


def find_best(work_name, threads, cores, names, tries, precision):
    seconds = {}
    if len(names) == 1:
        return names[0], seconds
    for name in names:
        server = Server(work_name, name, threads, cores, precision)
        seconds[name] = statistics.median(server.lap()["seconds"] for _ in range(tries))
        server.close()
        print(f"  {name}: {seconds[name]:.3f} s a step", flush=True)
    return min(seconds, key=seconds.get), seconds


def compare(program, work_name, threads, laps, names, tries, kernel, precision):
    work, cores = WORK[work_name], sorted(os.sched_getaffinity(0))[:threads]
    if len(cores) < threads:
        sys.exit(f"compare_torch.py: {threads} threads need as many cores, this process may use {len(cores)}")
    tokens = work["views"] * work["length"]
    print(f"{work_name}: {work['preset']}, {work['views']} views of {work['length']} tokens, "
          f"{masked_of_view(work)} masked in each, {threads} thread(s), {precision}", flush=True)
    best, tried = find_best(work_name, threads, cores, names, tries, precision)
    rivals = {"best": Server(work_name, best, threads, cores, precision)}
    if "target" not in work:
        rivals["run_mlm"] = Server(work_name, "run_mlm", threads, cores, precision)
    print(f"  PyTorch's own product of a layer's widest shape: {rivals['best'].product_rate:.0f} GFLOP/s", flush=True)
    times, peaks = {"kmask": [], **{name: [] for name in rivals}}, {}
    for _ in range(laps):
        for name in times:
            lap = kmask_lap(program, work, threads, cores, kernel, precision) if name == "kmask" else rivals[name].lap()
            times[name].append(lap["seconds"])
            peaks[name] = max(peaks.get(name, 0), lap["peak"])
    for server in rivals.values():
        server.close()
    result = {"work": work_name, "threads": threads, "precision": precision, "best": best, "tried_seconds": tried, "laps": times, "peak_bytes": peaks,
              "product_gflops": rivals["best"].product_rate,
              "tokens_per_s": {name: tokens / statistics.median(seconds) for name, seconds in times.items()}}
    for name in rivals:
        ratios = sorted(b / a for a, b in zip(times["kmask"], times[name]))
        result[f"over_{name}"] = {"median": statistics.median(ratios), "least": ratios[0], "most": ratios[-1],
                                  "memory": peaks["kmask"] / peaks[name]}
    return result


def show(results):
    print("\n| work | threads | kmask | best PyTorch, masked head | ratio | run_mlm | ratio | memory: kmask, best, run_mlm |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for r in results:
        speed, peak = r["tokens_per_s"], r["peak_bytes"]
        def ratio(name):
            over = r.get(f"over_{name}")
            return f"{over['median']:.2f} ({over['least']:.2f} to {over['most']:.2f})" if over else ""
        plain = f"{speed['run_mlm']:.0f}" if "run_mlm" in speed else ""
        print(f"| {r['work']} | {r['threads']} | {speed['kmask']:.0f} tokens/s | {speed['best']:.0f} ({r['best']}) | {ratio('best')} | "
              f"{plain} | {ratio('run_mlm')} | {', '.join(f'{size / 1e9:.2f}' for size in peak.values())} GB |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = os.path.dirname(os.path.abspath(__file__))
    parser.add_argument("--kmask", default=os.path.join(here, "..", "build", "release", "kmask"))
    parser.add_argument("--work", default="n512,n128,small", help="of " + ", ".join(WORK))
    parser.add_argument("--bart", action="store_true", help="the same as --work bart-full,bart-masked")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--laps", type=int, default=5)
    parser.add_argument("--tries", type=int, default=3, help="steps of each candidate when the best is looked for")
    parser.add_argument("--candidates", default=",".join(CANDIDATES), help="those that are tried")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--blas-kernel", help="OPENBLAS_CORETYPE for kmask: Haswell makes products alike where PyTorch's use AVX2")
    parser.add_argument("--out", help="results as JSON")
    parser.add_argument("--serve", nargs=4, metavar=("WORK", "VARIANT", "THREADS", "PRECISION"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(WORK[options.serve[0]], options.serve[1], int(options.serve[2]), options.serve[3])
        return
    results = []
    options.work = "bart-full,bart-masked" if options.bart else options.work
    for work in options.work.split(","):
        if work not in WORK:
            parser.error(f"--work: no {work}; there are {', '.join(WORK)}")
        for threads in options.threads.split(","):
            results.append(compare(options.kmask, work, int(threads), options.laps, options.candidates.split(","),
                                   options.tries, options.blas_kernel, options.precision))
            if options.out:
                with open(options.out, "w") as file:
                    json.dump(results, file, indent=1)
    show(results)


if __name__ == "__main__":
    main()
