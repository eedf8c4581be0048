#!/usr/bin/env python3
"""Compares `kmask policy probe` with PyTorch in float64, on random networks and inputs.

    tools/compare_policy.py [--kmask build/release/kmask]

Five shapes of a supervised policy with padded rows: logits, loss and gradients, against nn.LSTM on packed sequences. Prints the largest
difference of each, relative to the largest number of the array (at least 1e-3: the gradient of start.bias is 0), and fails above 1e-4. Needs torch, numpy, h5py and safetensors."""
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kmask", default="build/release/kmask")
    arguments = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for seed, shape in enumerate(SHAPES):
            worst = supervised(arguments.kmask, folder, shape, seed)
            failed |= max(worst.values()) > 1e-4
            print("rows %d, longest %d, vocabulary %d, width %d, hidden %d, layers %d: " % shape +
                  ", ".join(f"{name} {value:.1e}" for name, value in worst.items()))
    sys.exit("differences above 1e-4" if failed else 0)


if __name__ == "__main__":
    main()
