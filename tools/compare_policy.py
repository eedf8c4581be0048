#!/usr/bin/env python3
"""Compares `kmask policy probe` with PyTorch in float64, on random networks and inputs.

    tools/compare_policy.py [--kmask build/release/kmask] [--meta]

Five shapes of a supervised policy with padded rows: logits, loss and gradients, against nn.LSTM on packed sequences. Prints the largest
difference of each, relative to the largest number of the array (at least 1e-3: the gradient of start.bias is 0), and fails above 1e-4. --meta: seven settings of a
meta-learned policy, against automatic differentiation through both inner steps: decisions, losses, and the policy's gradient, which fails
above 1e-3 of its norm or below a cosine of 0.99999. Needs torch, numpy, h5py and safetensors; --meta also transformers."""
import argparse
import json
import subprocess
import sys
import tempfile

import h5py
import numpy as np
import torch
from safetensors.torch import save_file

SHAPES = [  # rows, longest, vocabulary, width, hidden, layers
    (1, 5, 11, 4, 3, 1),
    (4, 9, 30, 8, 6, 2),
    (7, 33, 100, 16, 12, 2),
    (3, 64, 57, 24, 32, 3),
    (16, 21, 200, 40, 20, 2),
]

SETTINGS = [  # alpha0, alpha1, temperature, hard, beta
    (0.01, 0.01, 1.0, False, 0.0),
    (0.1, 0.05, 0.5, False, 0.01),
    (0.2, 0.2, 0.7, False, 0.0),
    (0.05, 0.1, 1.0, True, 0.0),
    (0.2, 0.1, 0.5, True, 0.01),
    (0.1, 0.2, 0.8, True, 0.1),
    (0.2, 0.2, 1.0, False, 0.001),
]


class Supervised(torch.nn.Module):
    def __init__(self, vocabulary, width, hidden, layers):
        super().__init__()
        self.embed = torch.nn.Embedding(vocabulary, width)
        self.lstm = torch.nn.LSTM(width, hidden, layers, batch_first=True, bidirectional=True)
        self.start = torch.nn.Linear(2 * hidden, 1)
        self.end = torch.nn.Linear(2 * hidden, 1)

    def forward(self, ids, mask):
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            self.embed(ids), mask.sum(1).cpu(), batch_first=True, enforce_sorted=False)
        states, _ = torch.nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        return self.start(states).squeeze(-1), self.end(states).squeeze(-1)


def difference(found, wanted):
    wanted = np.asarray(wanted, dtype=np.float64)
    return float(np.abs(np.asarray(found, dtype=np.float64) - wanted).max() / max(np.abs(wanted).max(), 1e-3))


def supervised(kmask, folder, shape, seed):
    rows, longest, vocabulary, width, hidden, layers = shape
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = Supervised(vocabulary, width, hidden, layers)
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, f"{folder}/net.safetensors")
    net = net.double()
    lengths = rng.integers(1, longest + 1, rows)
    lengths[rng.integers(rows)] = longest
    ids = torch.tensor(rng.integers(0, vocabulary, (rows, longest)))
    mask = torch.tensor((np.arange(longest) < lengths[:, None]).astype(np.int64))
    start = torch.tensor([int(rng.integers(n)) for n in lengths])
    end = torch.tensor([int(rng.integers(s, n)) for s, n in zip(start.tolist(), lengths)])
    with open(f"{folder}/input.json", "w") as file:
        json.dump({"input_ids": ids.tolist(), "attention_mask": mask.tolist(), "start": start.tolist(),
                   "end": end.tolist()}, file)
    subprocess.run([kmask, "policy", "probe", "--net", f"{folder}/net.safetensors", "--kind", "supervised", "--input",
                    f"{folder}/input.json", "--out", f"{folder}/out.h5"], check=True, stdout=subprocess.DEVNULL)
    first, last = net(ids, mask)
    hide = mask == 0
    loss = 0.5 * (torch.nn.functional.cross_entropy(first.masked_fill(hide, -torch.inf), start) +
                  torch.nn.functional.cross_entropy(last.masked_fill(hide, -torch.inf), end))
    loss.backward()
    with h5py.File(f"{folder}/out.h5") as out:
        worst = {"start_logits": difference(out["start_logits"][()], first.detach()),
                 "end_logits": difference(out["end_logits"][()], last.detach()),
                 "loss": difference(out["loss"][()], loss.detach())}
        worst["gradients"] = max(difference(out["grad"][name][()], value.grad)
                                 for name, value in net.named_parameters())
    return worst


def write_tokenizer(folder, vocabulary):
    pieces = ["<s>", "<pad>", "</s>", "<unk>"] + [chr(33 + i) for i in range(vocabulary - 5)] + ["<mask>"]
    with open(f"{folder}/vocab.json", "w") as file:
        json.dump({piece: i for i, piece in enumerate(pieces)}, file)
    with open(f"{folder}/merges.txt", "w") as file:
        file.write("#version: 0.2\n")


class Meta(torch.nn.Module):
    def __init__(self, vocabulary, width, hidden, kernel, middle):
        super().__init__()
        self.embed = torch.nn.Embedding(vocabulary, width)
        self.conv = torch.nn.Conv1d(width, hidden, kernel, padding=kernel // 2)
        self.linear1 = torch.nn.Linear(hidden, middle)
        self.linear2 = torch.nn.Linear(middle, 2)

    def forward(self, ids, seen):
        x = self.embed(ids) * seen.unsqueeze(-1)
        return self.linear2(torch.relu(self.linear1(self.conv(x.transpose(1, 2)).transpose(1, 2))))


def texts(rng, rows, longest, vocabulary):
    made = []
    for _ in range(rows):
        made.append([0] + rng.integers(5, vocabulary - 1, int(rng.integers(1, longest - 1))).tolist() + [2])
    length = max(map(len, made))
    return torch.tensor([row + [1] * (length - len(row)) for row in made])


def shifted(ids, start):
    return torch.cat([torch.full((len(ids), 1), start), ids[:, :-1]], 1)


def meta(kmask, folder, setting, seed):
    from transformers import BartConfig, BartForConditionalGeneration
    alpha0, alpha1, temperature, hard, beta = setting
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    vocabulary = 60
    config = BartConfig(vocab_size=vocabulary, d_model=24, encoder_layers=2, decoder_layers=2, encoder_attention_heads=3,
                        decoder_attention_heads=3, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=40,
                        dropout=0, attention_dropout=0, activation_dropout=0, init_std=0.1, attn_implementation="eager")
    model = BartForConditionalGeneration(config).double().eval()
    single = BartForConditionalGeneration(config).float()
    single.load_state_dict({k: v.float() for k, v in model.state_dict().items()})
    model.load_state_dict({k: v.double() for k, v in single.state_dict().items()})
    single.save_pretrained(f"{folder}/model")
    write_tokenizer(f"{folder}/model", vocabulary)
    net = Meta(vocabulary, 16, 12, 3, 10).float()
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, f"{folder}/net.safetensors")
    net = net.double()
    rows = 4
    context, source, target = (texts(rng, rows, n, vocabulary) for n in (20, 9, 6))
    gumbel = torch.tensor(rng.gumbel(size=(*context.shape, 2)).astype(np.float32)).double()
    gamma, epsilon = 0.15, 0.05
    with open(f"{folder}/input.json", "w") as file:
        json.dump({"context": context.tolist(), "source": source.tolist(), "target": target.tolist(), "gumbel": gumbel.tolist(),
                   "alpha0": alpha0, "alpha1": alpha1, "beta": beta, "gamma": gamma, "epsilon": epsilon,
                   "temperature": temperature, "hard": hard}, file)
    subprocess.run([kmask, "policy", "probe", "--net", f"{folder}/net.safetensors", "--kind", "meta", "--model", f"{folder}/model",
                    "--input", f"{folder}/input.json", "--out", f"{folder}/out.h5"], check=True, stdout=subprocess.DEVNULL)
    theta = {k: v.detach().clone().requires_grad_() for k, v in model.named_parameters()}
    start = config.decoder_start_token_id

    def loss(theta, target, **inputs):
        out = torch.func.functional_call(model, {**theta, "model.encoder.embed_tokens.weight": theta["model.shared.weight"],
                                                 "model.decoder.embed_tokens.weight": theta["model.shared.weight"],
                                                 "lm_head.weight": theta["model.shared.weight"]}, (), dict(
            decoder_input_ids=shifted(target, start), use_cache=False, **inputs))
        return torch.nn.functional.cross_entropy(out.logits.flatten(0, 1), target.masked_fill(target == 1, -100).flatten())

    def step(theta, value, rate):
        grads = torch.autograd.grad(value, list(theta.values()), create_graph=True)
        return {k: v - rate * g for (k, v), g in zip(theta.items(), grads)}

    soft = torch.softmax((net(context, (context != 1).double()) + gumbel) / temperature, -1)[..., 1]
    special = torch.isin(context, torch.tensor([0, 1, 2, 3, vocabulary - 1]))
    d = soft
    if hard:
        d = (soft > 0.5).double() - soft.detach() + soft
    d = torch.where(special, torch.zeros_like(d), d)
    words = theta["model.shared.weight"]
    mixed = (1 - d).unsqueeze(-1) * words[context] + d.unsqueeze(-1) * words[vocabulary - 1]
    pretrain = loss(theta, context, inputs_embeds=mixed, attention_mask=(context != 1).long())
    theta1 = step(theta, pretrain, alpha0)
    before = loss(theta1, target, input_ids=source, attention_mask=(source != 1).long())
    theta2 = step(theta1, before, alpha1)
    after = loss(theta2, target, input_ids=source, attention_mask=(source != 1).long())
    length = (~special).sum(1)
    over = gamma * length - d.sum(1)
    regularizer = torch.where(over.abs() > epsilon * length, over ** 2, torch.zeros_like(over)).mean()
    (after - before + beta * regularizer).backward()
    with h5py.File(f"{folder}/out.h5") as out:
        worst = {"decisions": float(np.abs(out["decisions"][()] - d.detach().numpy()).max())}
        for name, value in dict(loss_pretrain=pretrain, loss_before=before, loss_after=after, regularizer=regularizer).items():
            worst[name] = abs(float(out[name][()]) - value.item()) / max(abs(value.item()), 1e-3)
        wanted = np.concatenate([v.grad.numpy().ravel() for _, v in net.named_parameters()])
        found = np.concatenate([out["grad"][k][()].ravel() for k, _ in net.named_parameters()]).astype(np.float64)
    norm = np.linalg.norm(wanted)
    return worst, np.linalg.norm(found - wanted) / norm, 1 - found @ wanted / norm / np.linalg.norm(found)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kmask", default="build/release/kmask")
    parser.add_argument("--meta", action="store_true")
    arguments = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for seed, setting in enumerate(SETTINGS if arguments.meta else []):
            worst, error, angle = meta(arguments.kmask, folder, setting, seed)
            failed |= error > 1e-3 or angle > 1e-5 or max(worst.values()) > 1e-4
            print("alpha0 %g, alpha1 %g, temperature %g, hard %d, beta %g: " % setting + f"gradient {error:.1e} of its norm, "
                  f"1 - cosine {angle:.1e}, " + ", ".join(f"{name} {value:.1e}" for name, value in worst.items()))
        for seed, shape in enumerate([] if arguments.meta else SHAPES):
            worst = supervised(arguments.kmask, folder, shape, seed)
            failed |= max(worst.values()) > 1e-4
            print("rows %d, longest %d, vocabulary %d, width %d, hidden %d, layers %d: " % shape +
                  ", ".join(f"{name} {value:.1e}" for name, value in worst.items()))
    sys.exit("differences are too large" if failed else 0)


if __name__ == "__main__":
    main()
