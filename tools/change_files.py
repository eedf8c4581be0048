#!/usr/bin/env python3
"""change_files.py [--kmask PROGRAM] [--count N] [--first I] FILE.h5...: changes kmask's files as somebody could who seals
them again, and holds kmask to its promise: each changed file opens or is refused in one sentence, within 10 seconds.

A change is a function of its number (--first repeats one): 1 to 4 places get a flipped bit, an extreme byte, an extreme number, or the
bytes of another place. Nine of ten places lie outside the elements of arrays, where the file's structures, its config and its tokenizer
are. Models and checkpoints are given to `inspect` and `fill`, corpora to `inspect` and `corpus show`, and to `eval` with --model.
Needs h5py, and libxxhash for the checksums."""
import argparse, concurrent.futures, ctypes, os, random, subprocess, sys, tempfile

import h5py

BLOCK = 4096


class Hash(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


xxh3 = ctypes.CDLL("libxxhash.so.0").XXH3_128bits
xxh3.restype, xxh3.argtypes = Hash, [ctypes.c_char_p, ctypes.c_size_t]


def seal(data):
    """The user block again, as src/store/user_block.c writes it."""
    data[16:24] = len(data).to_bytes(8, "little")
    for at, part in ((24, bytes(data[BLOCK:])), (BLOCK - 16, None)):
        h = xxh3(part, len(part)) if part is not None else xxh3(bytes(data[:BLOCK - 16]), BLOCK - 16)
        data[at:at + 16] = h.low.to_bytes(8, "little") + h.high.to_bytes(8, "little")
    return data


def look(path):
    """The kind of a file, and the places of its arrays."""
    extents = []
    with h5py.File(path, "r") as f:
        kind = f.attrs["kind"]
        f.visititems(lambda _, o: extents.append((o.id.get_offset(), o.id.get_offset() + o.nbytes))
                     if isinstance(o, h5py.Dataset) and o.nbytes else None)
    return kind, sorted(extents)


def structures(size, extents):
    """Ranges of bytes outside the elements of arrays."""
    at, out = BLOCK, []
    for begin, end in extents + [(size, size)]:
        if begin > at:
            out.append((at, begin))
        at = max(at, end)
    return out


def changed(original, ranges, rng):
    data = bytearray(original)
    weights = [end - begin for begin, end in ranges]
    place = lambda: rng.randrange(*rng.choices(ranges, weights)[0]) if rng.random() < 0.9 else rng.randrange(BLOCK, len(data))
    for _ in range(rng.randint(1, 4)):
        at = place()
        match rng.randrange(5):
            case 0: data[at] ^= 1 << rng.randrange(8)
            case 1: data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, ord('"'), ord("{"), ord("-"), ord("9")))
            case 2: data[at:at + 8] = rng.choice((0, 1, 2**31 - 1, 2**32, 2**63, 2**64 - 1, len(data))).to_bytes(8, "little")
            case 3:
                other, count = place(), rng.randint(1, 64)
                data[at:at + count] = data[other:other + count]
            case 4: data[at:at + 4] = rng.randrange(len(data)).to_bytes(4, "little")
    return seal(data[:len(original)])


def verbs(kmask, kind, path, model):
    yield [kmask, "inspect", path, "--json"]
    if kind == "corpus":
        yield [kmask, "corpus", "show", path]
        if model:
            yield [kmask, "eval", model, "--corpus", path]
    else:
        yield [kmask, "fill", path, "a [MASK] ."]


def fault_of(command):
    """What is wrong with an ending, or None. Status 1 and 2 come with a sentence, others are crashes."""
    try:
        run = subprocess.run(command, capture_output=True, timeout=10)
    except subprocess.TimeoutExpired:
        return "no end within 10 s"
    said = run.stderr.decode(errors="replace").strip()
    if run.returncode not in (0, 1, 2) or "AddressSanitizer" in said or "runtime error" in said:
        return f"status {run.returncode}: {said[-300:]}"
    if run.returncode and not said.splitlines()[-1:][0].startswith("kmask: "):
        return f"no sentence: {said[-300:]}"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", metavar="FILE.h5")
    parser.add_argument("--kmask", default="build/release/kmask")
    parser.add_argument("--model", help="with it, `eval` reads the corpora too")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    faults = 0
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        for path in options.files:
            original = open(path, "rb").read()
            kind, extents = look(path)
            ranges = structures(len(original), extents)

            def one(number):
                changed_path = f"{folder}/{number}.h5"
                with open(changed_path, "wb") as f:
                    f.write(changed(original, ranges, random.Random(f"{path} {number}")))
                found = [f"{' '.join(c[1:])}: {why}" for c in verbs(options.kmask, kind, changed_path, options.model)
                         if (why := fault_of(c))]
                refused = subprocess.run([options.kmask, "inspect", changed_path], capture_output=True).returncode != 0
                os.unlink(changed_path)
                return number, found, refused

            opened = 0
            with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
                for number, found, refused in pool.map(one, range(options.first, options.first + options.count)):
                    opened += not refused
                    for why in found:
                        print(f"{path}, change {number}: {why}")
                        faults += 1
            print(f"{path}: {kind}, {options.count} changes, {opened} open, {options.count - opened} are refused")
    print(f"{faults} faults")
    sys.exit(faults > 0)


main()
