#!/usr/bin/env bash
# likely_answers.sh DATA [--dir DIR] [--ranks N] [--epochs 8] [--pretrain 600] [--dropout 0.3] [--arms "fresh dropout bart frozen"]: how often do
# supervised policies name the answer? DATA is a folder with squad-triples/dev.json.gz, a list of {context, question, answer}; a fifth of the
# contexts is held out. A BiLSTM of 2 x 128 units is trained with batches of 32 (Adam, 1e-3), and ends when two epochs bring no better loss:
#   fresh      fresh embeddings, 100 wide
#   dropout    the same with dropout
#   bart       with dropout, from the embeddings of a BART, 128 wide, that was pre-trained on the contexts for --pretrain steps of denoising
#   frozen     the same, and the embeddings are not trained
# Beside them: five spans of the recognizer of names, dates and numbers (`corpus build --spans find`), and five random spans of whole words, of
# the answers' lengths. Prints a table: the answer is the best span, and it is among the best five. The runs lie in DIR (./likely-answers): what is finished
# is not made again, what was interrupted goes on. Needs python3.
set -euo pipefail
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dir=$PWD/likely-answers ranks=$(nproc) epochs=8 pretrain=600 dropout=0.3 arms="fresh dropout bart frozen"
[ $# -ge 1 ] && [ -d "$1/squad-triples" ] || { echo "likely_answers.sh: expected the folder of the data sets (see its first lines)" >&2; exit 2; }
data=$(cd "$1" && pwd) && shift
while [ $# -gt 1 ]; do
    case $1 in
        --dir) dir=$2 ;;
        --ranks) ranks=$2 ;;
        --epochs) epochs=$2 ;;
        --pretrain) pretrain=$2 ;;
        --dropout) dropout=$2 ;;
        --arms) arms=$2 ;;
        *) echo "likely_answers.sh: no option $1; see its first lines" >&2; exit 2 ;;
    esac
    shift 2
done
export PATH=$project/build/release:$PATH
mkdir -p "$dir" && cd "$dir"
run() { mpirun --oversubscribe -n "$ranks" "$@"; }

# ---- Examples; a context is on one side. Contexts are lines.
if [ ! -e held.h5 ]; then
    python3 - "$data/squad-triples/dev.json.gz" <<'END'
import gzip, hashlib, json, sys
out = {name: open(name + ".jsonl", "w", encoding="utf-8") for name in ("train", "dev")}
texts = {name: {} for name in out}
for one in json.load(gzip.open(sys.argv[1])):
    context, source, target = (" ".join(one[key].split()) for key in ("context", "question", "answer"))
    name = "dev" if hashlib.sha256(context.encode()).digest()[0] < 51 else "train"
    print(json.dumps({"context": context, "source": source, "target": target}, ensure_ascii=False), file=out[name])
    texts[name][context] = True
for name, lines in texts.items():
    open(name + ".txt", "w", encoding="utf-8").write("".join(line + "\n" for line in lines))
END
    kmask tokenizer train --type wordpiece --cased --vocab-size 12000 --document line --out tok train.txt >tok.log 2>&1
    kmask corpus build --tokenizer tok --document line --out train.h5 train.txt >train.log 2>&1
    kmask corpus build --tokenizer tok --document line --spans find --out held.h5 dev.txt >held.log 2>&1
fi
case " $arms " in *" bart "* | *" frozen "*)
    cat >base.json <<END
{"run": {"dir": "base", "seed": 1},
 "model": {"type": "bart", "d_model": 128, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
           "encoder_ffn_dim": 512, "decoder_ffn_dim": 512, "max_position_embeddings": 512, "init_std": 0.05},
 "data": {"train": "train.h5", "length": 96}, "mask": {"policy": "denoise", "splits": 1}, "train": {"steps": $pretrain, "sequences": 24},
 "optimizer": {"lr": 1e-3, "beta2": 0.98}, "schedule": {"warmup": 40}, "checkpoint": {"every": 200}, "log": {"every": 20}}
END
    run kmask pretrain base.json ;;
esac

# ---- Policies.
arm() { # NAME [--set ...]
    local name=$1
    shift
    case " $arms " in *" $name "*) ;; *) return 0 ;; esac
    cat >"$name.json" <<END
{"run": {"dir": "$name", "seed": 1},
 "policy": {"kind": "supervised", "examples": "train.jsonl", "dev": "dev.jsonl", "init": "tok", "width": 100, "hidden": 128, "batch": 32,
            "micro_batch": 8, "lr": 1e-3, "epochs": $epochs, "patience": 2},
 "checkpoint": {"every": 1000}}
END
    run kmask policy train "$name.json" "$@"
}
base=base/checkpoints/step-$(printf %08d "$pretrain").h5
arm fresh
arm dropout --set "policy.dropout=$dropout"
arm bart --set "policy.dropout=$dropout" --set "policy.init=$base" --set policy.embedding_std=1
arm frozen --set "policy.dropout=$dropout" --set "policy.init=$base" --set policy.embedding_std=1 --set policy.embeddings=frozen

# ---- What costs no training.
kmask corpus show held.h5 --rows 1000000 --length 512 --packing documents --json >held.rows
python3 -c 'import json; [print(json.loads(line)["target"]) for line in open("dev.jsonl", encoding="utf-8")]' |
    kmask tokenizer encode --tokenizer tok >answers.ids
kmask tokenizer encode --tokenizer tok <dev.txt >contexts.ids
python3 - $arms <<'END'
import json, random, sys
random.seed(1)
rows = {tuple(row["input_ids"][1:-1]): row for row in map(json.loads, open("held.rows"))}
contexts = {text.rstrip("\n"): tuple(map(int, ids.split())) for text, ids in zip(open("dev.txt", encoding="utf-8"), open("contexts.ids"))}
examples = []  # those whose context is one row, as nearly all are
for line, ids in zip(open("dev.jsonl", encoding="utf-8"), open("answers.ids")):
    row, answer = rows.get(contexts[json.loads(line)["context"]]), [int(i) for i in ids.split()]
    if row is None:
        continue
    starts = row["word_starts"]
    found = [at for at in range(1, len(row["input_ids"]) - len(answer)) if row["input_ids"][at:at + len(answer)] == answer]
    if answer and found:
        words = sum(starts[found[0]:found[0] + len(answer)])
        examples.append((row, found[0], found[0] + len(answer), words))
lengths = [words for _, _, _, words in examples]

def recognized(row, begin, end, words):
    spans = [span[:2] for span in row["spans"]]
    return min(1, 5 / len(spans)) if [begin, end] in spans else 0

def at_random(row, begin, end, words, draws=400):
    size = len(row["input_ids"]) - 1
    edges = [i for i in range(1, size) if row["word_starts"][i]] + [size]
    hit = 0
    for _ in range(draws):
        for _ in range(5):
            length = random.choice(lengths)
            first = random.randrange(max(1, len(edges) - length))
            if edges[first] == begin and edges[min(first + length, len(edges) - 1)] == end:
                hit += 1
                break
    return hit / draws

mean = lambda values: 100 * sum(values) / len(values)
print("| spans | best epoch | dev loss | the answer is the best span | it is among the best five |\n| --- | --- | --- | --- | --- |")
for arm in sys.argv[1:]:
    log = [json.loads(line) for line in open(arm + "/metrics.jsonl")]
    epochs = [line for line in log if "eval_loss" in line]
    best = min(range(len(epochs)), key=lambda i: epochs[i]["eval_loss"])
    most = max(epochs, key=lambda line: line["eval_among_5"])
    print("| %s | %d of %d | %.3f | %.1f %% | %.1f %% (at most %.1f %%, epoch %d) |" % (arm, best + 1, len(epochs), epochs[best]["eval_loss"],
          100 * epochs[best]["eval_accuracy"], 100 * epochs[best]["eval_among_5"], 100 * most["eval_among_5"], epochs.index(most) + 1))
print("| five of the recognizer's | | | | %.1f %% |" % mean([recognized(*one) for one in examples]))
print("| five at random, of the answers' lengths | | | | %.1f %% |" % mean([at_random(*one) for one in examples]))
END
