#!/usr/bin/env bash
# The mistakes that everyone makes once: keys of other programs, JSON that is nearly right, verbs, paths, launchers, folders. Each is
# answered with one sentence that has the cure.
. "$SOURCE/tests/common.sh"
make_corpus
make_config c.json run

# says KEY ANSWER: the key of another program, in the file and with --set, is answered with kmask's key.
says() {
    expect 2 "Did you mean $2" "$KMASK" plan c.json --set "$1=1"
    [ "$(grep -c . err.txt)" -eq 1 ] || fail "$1: more than one sentence: $(cat err.txt)"
    [[ $1 == *.* ]] || {
        echo "{\"$1\": 1}" >top.json
        expect 2 "$2" "$KMASK" plan top.json
    }
}
says batch_size train.sequences
says train.per_device_train_batch_size train.sequences
says gradient_accumulation_steps train.sequences
says learning_rate optimizer.lr
says optimizer.learningRate optimizer.lr
says epochs train.steps
says num_train_epochs train.steps
says train.max_steps train.steps
says max_seq_length data.length
says data.block_size data.length
says mlm_probability mask.ratio
says mask.whole_word_mask mask.unit
says warmup_steps schedule.warmup
says lr_scheduler_type schedule.name
says max_grad_norm optimizer.clip
says adam_beta2 optimizer.beta2
says output_dir run.dir
says model.model_name_or_path model.init
says model.num_layers model.num_hidden_layers
says save_steps checkpoint.every
says save_total_limit checkpoint.keep
says logging_steps log.every
says eval_steps eval.every
says train_file data.train
says validation_file data.eval
says fp16 train.precision
says gradient_checkpointing train.recompute
says lr optimizer.lr
says model.hidden-size model.hidden_size
expect 2 "Did you mean finetune.batch" "$KMASK" finetune c.json --set finetune.per_device_train_batch_size=8
expect 2 "Did you mean task.length" "$KMASK" finetune c.json --set task.max_seq_length=8
grep -q "rows of each step" <("$KMASK" pretrain c.json --set batch_size=8 2>&1) || fail "batch_size: what train.sequences is is not said"

# JSON that is nearly right: line and column of the fault, and what to change.
json() { # WORDS TEXT
    printf '%b' "$2" >bad.json
    expect 2 "bad.json: $1" "$KMASK" plan bad.json
}
json "line 2, column 17: not valid JSON: a comma with nothing after it" '{"run":\n {"dir": "läuft",},\n "x": {}}'
json "line 1, column 11: not valid JSON: a comma with nothing after it" '{"a": [1,2,]}'
json "line 2, column 1: not valid JSON: a comma is missing" '{"run": {"dir": "r"}\n"data": {}}'
json "line 1, column 2: not valid JSON: a key without double quotes" '{run: {"dir": "r"}}'
json "line 1, column 2: not valid JSON: a single quote" "{'run': 1}"
json "line 1, column 22: not valid JSON: a comment" '{"run": {"dir": "r"},// here\n "x": 1}'
json "line 1, column 7: not valid JSON: a word without double quotes" '{"a": True}'
json "line 1, column 7: not valid JSON: a number begins with a digit" '{"a": .5}'
json "line 1, column 9: not valid JSON: a letter or underscore" '{"a": 10_000}'
json "line 1, column 7: not valid JSON: a text that begins here" '{"a": "b\n}'
json "line 2, column 1: not valid JSON: the text ends here" '{"a": {"b": 1}\n'
json "line 1, column 9: not valid JSON: more text" '{"a": 1}}'
json "empty, expected JSON" ''

# Keys as options, and without --set.
expect 2 "Keys of the config are set with --set" "$KMASK" pretrain c.json --steps 100
expect 2 "Keys of the config are set with --set" "$KMASK" plan c.json --lr=1e-4
expect 2 "kmask pretrain CONFIG.json" "$KMASK" pretrain --config c.json
expect 2 "Did you mean --set train.steps=5?" "$KMASK" pretrain c.json train.steps=5
expect 2 "takes one config file, found 2" "$KMASK" pretrain c.json --set train.steps 5
expect 2 "Did you mean train.steps?" "$KMASK" pretrain c.json --set steps=5
expect 2 "takes one config file, found 0" "$KMASK" pretrain
expect 2 "expected a whole number" "$KMASK" tokenizer train --type wordpiece --vocab-size 30k --out t2 text.txt
expect 2 "expected a number" "$KMASK" plan c.json --set optimizer.lr=1,e-3
expect 2 "expected one of bert|roberta|bart" "$KMASK" plan c.json --set model.type=distilbert

# Sizes that do not fit together, and steps that are fewer than the warmup.
expect 2 "model.max_position_embeddings is 64" "$KMASK" plan c.json --set data.length=512
expect 2 "expected a multiple of the 4 model.num_attention_heads" "$KMASK" plan c.json --set model.hidden_size=50
expect 2 "expected at most train.steps (20)" "$KMASK" plan c.json --set schedule.warmup=500

# Verbs by other names; a file where the verb belongs.
expect 2 "Did you mean pretrain?" "$KMASK" train c.json
expect 2 "Did you mean eval?" "$KMASK" evaluate m.h5
expect 2 "Did you mean fill?" "$KMASK" fill-mask m.h5
expect 2 "Did you mean tokenizer?" "$KMASK" tokenize text.txt
expect 2 "kmask VERB c.json" "$KMASK" c.json

# Paths: nothing there, a folder, text where a corpus belongs, a corpus where a model belongs, a vocabulary's file, a name on a hub.
expect 1 "found a folder, expected a corpus" "$KMASK" pretrain c.json --set data.train=tok
expect 1 "kmask corpus build" "$KMASK" plan c.json --set data.train=text.txt
expect 1 "found a corpus, expected a model" "$KMASK" eval corpus.h5 --corpus corpus.holdout.h5
expect 1 "Give the folder that holds the vocabulary" "$KMASK" corpus build --tokenizer tok/vocab.txt --out x.h5 text.txt
expect 2 "--out FILE.h5" "$KMASK" corpus build text.txt x.h5
expect 2 "--corpus FILE.h5" "$KMASK" eval c.json corpus.h5
expect 2 "cannot open" "$KMASK" pretrain absent.json
expect 1 "absent.txt" "$KMASK" tokenizer train --type wordpiece --vocab-size 600 --out t2 absent.txt
expect 1 "absent.h5" "$KMASK" pretrain c.json --set data.train=absent.h5
expect 1 "text.txt" "$KMASK" pretrain c.json --set data.train=text.txt
expect 1 "downloads nothing" "$KMASK" import bert-base-uncased --out m.h5
sed 's/^ "model": .*/ "model": {"init": "google\/bert_uncased"},/; /^  *"intermediate_size"/d' c.json >hub.json
expect 1 "downloads nothing" "$KMASK" pretrain hub.json
expect 1 "downloads nothing" "$KMASK" fill bert-base-uncased "a [MASK]"

# Folders: one that has files of others is left alone; one of a run is gone on with.
mkdir -p others && echo precious >others/config.json
expect 2 "others has files that are not a run's, such as config.json" "$KMASK" pretrain c.json --set run.dir=others
expect 2 "such as config.json" "$KMASK" plan c.json --set run.dir=others
expect 2 "has files that are not a run's" "$KMASK" pretrain c.json --set run.dir=.
[ "$(ls -A others)" = config.json ] && grep -qx precious others/config.json || fail "a folder of others was touched"
mkdir -p begun && touch begun/slurm-1.out begun/.note
expect 0 "a new run of 2 steps" "$KMASK" pretrain c.json --set run.dir=begun --set train.steps=2 --set schedule.warmup=1
expect 0 "is finished" "$KMASK" pretrain c.json --set run.dir=begun --set train.steps=2 --set schedule.warmup=1
grep -qE '^\{"started":"20[0-9T:-]*Z","step":0,"host":"[^"]+",.*"ranks":1,"threads":1,' begun/starts.jsonl || fail "starts.jsonl: $(cat begun/starts.jsonl)"
grep -qE '^\{"ended":"20[0-9T:-]*Z","step":2,"status":0\}' begun/starts.jsonl || fail "starts.jsonl: $(cat begun/starts.jsonl)"

# Launchers: more ranks than a step has work for, tasks that MPI does not know, as root without leave, a second process at work.
expect 2 "Start at most 8 ranks" "$LAUNCH" 9 "$KMASK" pretrain c.json --set run.dir=nine
expect 2 "srun --mpi=pmix" env SLURM_JOB_ID=1 SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=4 SLURM_NTASKS=4 SLURM_PROCID=0 "$KMASK" pretrain c.json --set run.dir=four
if [ "$(id -u)" = 0 ]; then
    expect 1 "OMPI_ALLOW_RUN_AS_ROOT" env -u OMPI_ALLOW_RUN_AS_ROOT -u OMPI_ALLOW_RUN_AS_ROOT_CONFIRM mpirun -n 2 "$KMASK" pretrain c.json
fi
expect 0 "Raise train.steps to go on" "$KMASK" pretrain c.json --set run.dir=begun --set train.steps=2 --set schedule.warmup=1
expect 2 "optimizer.lr" "$KMASK" pretrain c.json --set run.dir=begun --set train.steps=4 --set schedule.warmup=1 --set optimizer.lr=1e-4

# A model that is no better than frequencies is said to be none, by pretrain and by eval.
grep -q "not below the unigram entropy" err.txt && fail "a run that is finished already warns"
expect 0 "not below the unigram entropy" "$KMASK" pretrain c.json --set run.dir=short --set train.steps=2 --set schedule.warmup=1
expect 0 "schedule.warmup" "$KMASK" eval short/checkpoints/step-00000002.h5 --corpus corpus.holdout.h5
finish
