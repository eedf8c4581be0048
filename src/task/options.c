/* options: the sections `task` and `finetune` of a config. */
#include "kind.h"
#include "kmask/task.h"
#include "preset.h"

#include <string.h>

#define AT(member) offsetof(km_task_config, member)
static const km_option task_options[] = {
    {"kind", KM_CHOICE, AT(kind), NULL, NULL, KM_FIXED,
     .help = "classes, numbers, or text to text (default: the preset's, else classification)",
     .choices = km_task_kind_names},
    {"name", KM_FILE, AT(name), NULL, NULL, KM_ORIGIN,
     .help = "what tables call the task (default: the preset, else the train file)"},
    {"preset", KM_CHOICE, AT(preset), NULL, NULL, KM_FIXED,
     .help = "columns, labels and metrics of a published task; keys that are given win",
     .choices = km_preset_names},
    {"train", KM_FILE, AT(train), NULL, KM_REQUIRED, KM_FIXED,
     .help = "TSV, CSV or JSONL, also .gz; with a preset also the folder of its files",
     .also = "train_file|train_path|dataset|dataset_name"},
    {"dev", KM_FILE, AT(dev), NULL, NULL, KM_FIXED, .help = "chooses the best step and run",
     .also = "validation_file|dev_file|eval_file|validation|valid"},
    {"test", KM_FILE, AT(test), NULL, NULL, KM_FIXED, .help = "scored once, with the best step",
     .also = "test_file|predict_file"},
    {"text", KM_TEXT_LIST, AT(text), NULL, NULL, KM_FIXED,
     .help = "column of the text, by name or number; several are joined by a blank (default: text)"},
    {"text_pair", KM_FILE, AT(text_pair), NULL, NULL, KM_FIXED, .help = "column of the second text of a pair",
     .also = "sentence2|text_b"},
    {"label", KM_FILE, AT(label), NULL, NULL, KM_FIXED, .help = "column of the label (default: label)",
     .also = "label_column|label_column_name|label_key"},
    {"header", KM_FLAG, AT(header), NULL, "true", KM_FIXED, .help = "the first line names the columns"},
    {"metrics", KM_TEXT_LIST, AT(metrics), NULL, NULL, KM_FIXED,
     .help = "the first decides (default: the preset's, else accuracy, or pearson and spearman)",
     .choices = km_metric_names},
    {"labels", KM_TEXT_LIST, AT(labels), NULL, NULL, KM_FIXED,
     .help = "names of the classes in order (default: those of train, sorted)"},
    {"length", KM_INT, AT(length), "5..65535", "128", KM_FIXED, .help = "tokens of a text or pair, at most",
     .also = "max_seq_length|max_length|max_seq_len|seq_length"},
    {"train_share", KM_DOUBLE, AT(train_share), ">0..1", "1", KM_FIXED,
     .help = "share of the training examples that is used"},
    {"dev_share", KM_DOUBLE, AT(dev_share), "0..<1", "0", KM_FIXED,
     .help = "without dev: so much of train is kept for it"},
    {"test_share", KM_DOUBLE, AT(test_share), "0..<1", "0", KM_FIXED,
     .help = "without test: so much of train is kept for it"},
    {"matched_share", KM_DOUBLE, AT(matched_share), "0..<1", "0", KM_FIXED,
     .help = "so much of train is kept to be scored beside dev and test, as `matched`"},
    {"train_seed", KM_INT, AT(train_seed), "0..9007199254740992", "1", KM_FIXED,
     .help = "which examples these shares take"},
    {"context_in_source", KM_FLAG, AT(context_in_source), NULL, "false", KM_FIXED,
     .help = "seq2seq: the source has the question's context (open book)"},
    {"lower_case", KM_FLAG, AT(lower_case), NULL, "false", KM_FIXED,
     .help = "seq2seq: sources and targets in lower case, as UnifiedQA has them"},
    {"target_length", KM_INT, AT(target_length), "3..65535", NULL, KM_FIXED,
     .help = "seq2seq: tokens of a target, at most (default: length)"},
};
#undef AT
KM_SECTION(km_task_section, "task", km_task_config, task_options);

#define AT(member) offsetof(km_finetune_config, member)
static const km_option finetune_options[] = {
    {"init", KM_TEXT_LIST, AT(init), NULL, KM_REQUIRED, KM_FIXED,
     .help = "model files, checkpoints or safetensors folders: one or a list",
     .also = "model_name_or_path|model_name|pretrained_model_name_or_path|checkpoint"},
    {"epochs", KM_DOUBLE, AT(epochs), ">0..100000", "3", KM_FIXED, .help = "how often every example is seen",
     .also = "num_train_epochs|num_epochs|max_epochs"},
    {"steps", KM_INT, AT(steps), "1..1000000000", NULL, KM_FIXED, .help = "updates, instead of epochs",
     .also = "max_steps|num_train_steps"},
    {"batch", KM_NUMBER_LIST, AT(batch), "1..65536", "32", KM_FIXED,
     .help = "examples of an update; a list is searched",
     .also = "batch_size|train_batch_size|per_device_train_batch_size|per_gpu_train_batch_size|sequences|gradient_"
             "accumulation_steps"},
    {"lr", KM_DOUBLE_LIST, AT(lr), ">0..1", "2e-5", KM_FIXED, .help = "highest learning rate; a list is searched",
     .also = "learning_rate|peak_lr"},
    {"search", KM_CHOICE, AT(search), "grid|lr_then_batch", "grid", KM_FIXED,
     .help = "grid: every lr with every batch; lr_then_batch: every lr with the first batch, then the best lr with "
             "the other batches (Ye et al. 2021)"},
    {"precision", KM_CHOICE, AT(precision), "fp32|bf16", "fp32", KM_FIXED,
     .help = "of the products of training; dev and test are always computed in fp32",
     .also = "fp16|bf16|dtype|torch_dtype|mixed_precision|amp"},
    {"schedule", KM_CHOICE, AT(schedule), "linear|cosine|constant", "linear", KM_FIXED,
     .help = "of the learning rate after the warmup", .also = "lr_scheduler_type|scheduler"},
    {"warmup", KM_DOUBLE, AT(warmup), "0..1000000000", "0.1", KM_FIXED,
     .help = "below 1: share of the updates; else updates",
     .also = "warmup_steps|num_warmup_steps|warmup_ratio|warmup_proportion"},
    {"weight_decay", KM_DOUBLE, AT(weight_decay), "0..1", "0.01", KM_FIXED,
     .help = "of all weights but biases and layer norms"},
    {"beta1", KM_DOUBLE, AT(beta1), "0..<1", "0.9", KM_FIXED, .help = "of AdamW"},
    {"beta2", KM_DOUBLE, AT(beta2), "0..<1", "0.999", KM_FIXED, .help = "of AdamW"},
    {"eps", KM_DOUBLE, AT(eps), ">0..1", "1e-8", KM_FIXED, .help = "of AdamW"},
    {"clip", KM_DOUBLE, AT(clip), "0..1e30", "1", KM_FIXED, .help = "largest norm of a gradient; 0: any",
     .also = "max_grad_norm|grad_clip"},
    {"dropout", KM_DOUBLE, AT(dropout), "0..<1", NULL, KM_FIXED,
     .help = "all shares of dropout (default: the model's)"},
    {"seeds", KM_NUMBER_LIST, AT(seeds), "0..9007199254740992", "1", KM_FIXED,
     .help = "a run for each: fresh weights, order of examples, dropout", .also = "seed|random_seed"},
    {"patience", KM_INT, AT(patience), "1..1000000", NULL, KM_FIXED,
     .help = "evaluations without a better one after which a run ends (default: none)",
     .also = "early_stopping_patience"},
    {"evaluate_every", KM_INT, AT(evaluate_every), "1..1000000000", NULL, KM_FIXED,
     .help = "updates between evaluations on dev (default: an epoch)", .also = "eval_steps|eval_interval"},
    {"evaluate_epochs", KM_DOUBLE, AT(evaluate_epochs), ">0..100000", NULL, KM_FIXED,
     .help = "the same in epochs, in place of evaluate_every"},
    {"micro_batch", KM_INT, AT(micro_batch), "1..65536", NULL, KM_FIXED,
     .help = "examples that are computed together (default: about 1,024 tokens, at most a quarter of the batch)"},
    {"ranks_per_run", KM_INT, AT(ranks_per_run), "1..65536", NULL, KM_MAY_CHANGE,
     .help = "ranks that work on a run together (default: as few as keep all ranks at work)"},
    {"label_smoothing", KM_DOUBLE, AT(label_smoothing), "0..<1", "0", KM_FIXED,
     .help = "seq2seq: share of the loss that goes to all other tokens"},
    {"smoothing_form", KM_CHOICE, AT(smoothing_form), "fairseq|transformers", "fairseq", KM_FIXED,
     .help = "seq2seq: divided among the other tokens, or among all"},
    {"beam", KM_INT, AT(beam), "1..256", "4", KM_FIXED, .help = "seq2seq: beams of generation; 1: greedy"},
    {"min_length", KM_INT, AT(min_length), "0..65536", "1", KM_FIXED,
     .help = "seq2seq: tokens of an answer with start and end, at least"},
    {"max_length", KM_INT, AT(max_length), "2..65536", "20", KM_FIXED, .help = "seq2seq: and at most"},
    {"length_penalty", KM_DOUBLE, AT(length_penalty), "-100..100", "1", KM_FIXED,
     .help = "seq2seq: an answer's score is divided by its length to this power"},
    {"no_repeat_ngram", KM_INT, AT(no_repeat_ngram), "0..65536", "0", KM_FIXED,
     .help = "seq2seq: so many tokens in a row never come twice; 0: they may"},
};
#undef AT
KM_SECTION(km_finetune_section, "finetune", km_finetune_config, finetune_options);

static const km_part parts[] = {
    {&km_run_section, offsetof(km_finetune_input, run)},
    {&km_task_section, offsetof(km_finetune_input, task)},
    {&km_finetune_section, offsetof(km_finetune_input, finetune)},
    {&km_parallel_section, offsetof(km_finetune_input, parallel)},
};
const km_schema km_finetune_schema = {
    .verb = "finetune", .size = sizeof(km_finetune_input), .parts = parts, .count = KM_COUNT(parts)};

static km_status finish(km_finetune_input *in) {
    static const char *const required[] = {"run.dir", "task.train", "finetune.init", NULL};
    KM_TRY(km_schema_require(&km_finetune_schema, in, required));
    if (!km_given(&km_finetune_section, &in->finetune, "dropout")) {
        in->finetune.dropout = -1;
    }
    KM_TRY(km_preset_apply(&in->task));
    KM_TRY(km_schema_fill(&km_finetune_schema, in));
    if (in->finetune.evaluate_every > 0 && in->finetune.evaluate_epochs > 0) {
        return km_fail(KM_USAGE, "finetune.evaluate_epochs: found beside evaluate_every, expected one of both");
    }
    if (strcmp(in->finetune.precision, "bf16") == 0 && in->finetune.label_smoothing > 0) {
        return km_fail(KM_USAGE,
                       "finetune.precision: found bf16 with label_smoothing %g, expected fp32 or no smoothing",
                       in->finetune.label_smoothing);
    }
    if (in->task.dev[0] == '\0' && in->task.dev_share == 0) {
        return km_fail(KM_USAGE,
                       "task.dev: missing, expected the file that chooses the best step, or task.dev_share");
    }
    if (!km_at_most(in->task.dev_share + in->task.test_share + in->task.matched_share, 0.9)) {
        return km_fail(
            KM_USAGE,
            "task.dev_share, test_share and matched_share: found %g, %g and %g, expected at most 0.9 together",
            in->task.dev_share, in->task.test_share, in->task.matched_share);
    }
    return KM_OK;
}

km_status km_finetune_load(km_finetune_input *out, const km_config_source *source) {
    KM_TRY(km_schema_read(&km_finetune_schema, out, source));
    km_status status = finish(out);
    return status == KM_OK || source->path == NULL ? status : km_context(status, "%s", source->path);
}
