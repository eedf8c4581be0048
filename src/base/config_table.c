/* The one table of options, in the order in which they are printed. */
#include "config_option.h"

#include <stdlib.h>
#include <string.h>

#define AT(place) offsetof(km_config, place)

const km_option km_options[] = {
    {"run.dir", KM_FILE, AT(run.dir), NULL, KM_REQUIRED, KM_MAY_CHANGE, "the run folder; what is in it is resumed"},
    {"run.seed", KM_INT, AT(run.seed), "0..9007199254740992", "1", KM_FIXED, "of all randomness"},
    {"run.max_hours", KM_DOUBLE, AT(run.max_hours), ">0..", NULL, KM_MAY_CHANGE,
     "stop in order, with a checkpoint, before this is over (status 75)"},

    {"model.type", KM_CHOICE, AT(model.type), "bert|roberta", NULL, KM_FIXED, "the architecture"},
    {"model.preset", KM_CHOICE, AT(model.preset), "tiny|small|bert-base|bert-large|roberta-base", NULL, KM_ORIGIN,
     "type and sizes by name; keys that are given win"},
    {"model.init", KM_FILE, AT(model.init), NULL, NULL, KM_ORIGIN,
     "weights and all model keys from a checkpoint, model or safetensors folder; only dropout may be given too"},
    {"model.vocab_size", KM_INT, AT(model.vocab_size), "1..2147483647", NULL, KM_FIXED,
     "rows of the embedding (default: the tokenizer's pieces)"},
    {"model.hidden_size", KM_INT, AT(model.hidden_size), "1..65536", NULL, KM_FIXED, "width"},
    {"model.num_hidden_layers", KM_INT, AT(model.num_hidden_layers), "1..1000", NULL, KM_FIXED, "layers"},
    {"model.num_attention_heads", KM_INT, AT(model.num_attention_heads), "1..1024", NULL, KM_FIXED,
     "heads; they divide hidden_size"},
    {"model.intermediate_size", KM_INT, AT(model.intermediate_size), "1..262144", NULL, KM_FIXED,
     "width of the feed-forward part (default: 4 hidden_size)"},
    {"model.max_position_embeddings", KM_INT, AT(model.max_position_embeddings), "3..1048576", NULL, KM_FIXED,
     "positions (default: 512, roberta 514)"},
    {"model.type_vocab_size", KM_INT, AT(model.type_vocab_size), "1..1024", NULL, KM_FIXED,
     "segment types (default: 2, roberta 1)"},
    {"model.layer_norm_eps", KM_DOUBLE, AT(model.layer_norm_eps), ">0..1", NULL, KM_FIXED,
     "added to variances (default: 1e-12, roberta 1e-5)"},
    {"model.hidden_act", KM_CHOICE, AT(model.hidden_act), "gelu|gelu_new", NULL, KM_FIXED,
     "gelu: exact (the default), gelu_new: by tanh"},
    {"model.hidden_dropout_prob", KM_DOUBLE, AT(model.hidden_dropout_prob), "0..<1", "0.1", KM_FIXED,
     "dropout of embeddings and of each part's output"},
    {"model.attention_probs_dropout_prob", KM_DOUBLE, AT(model.attention_probs_dropout_prob), "0..<1", "0.1",
     KM_FIXED, "dropout of attention weights"},
    {"model.initializer_range", KM_DOUBLE, AT(model.initializer_range), "0..10", "0.02", KM_FIXED,
     "standard deviation of initial weights"},
    {"model.pad_token_id", KM_INT, AT(model.pad_token_id), "0..2147483647", NULL, KM_FIXED,
     "the row that stays zero; RoBERTa's positions start after it (default: the tokenizer's)"},

    {"data.train", KM_FILE, AT(data.train), NULL, KM_REQUIRED, KM_MAY_CHANGE,
     "the corpus; another path must have the same content"},
    {"data.eval", KM_FILE, AT(data.eval), NULL, NULL, KM_MAY_CHANGE, "a corpus that is held out"},
    {"data.length", KM_INT, AT(data.length), "3..65535", "128", KM_FIXED,
     "tokens of a row, with first and last special token"},
    {"data.packing", KM_CHOICE, AT(data.packing), "full_sentences|documents|stream", "full_sentences", KM_FIXED,
     "whole sentences; the same, never across documents; or filled to the brim"},

    {"mask.policy", KM_CHOICE, AT(mask.policy), "fully_explored|random", "fully_explored", KM_FIXED,
     "K disjoint masks of a row, or K independent ones"},
    {"mask.unit", KM_CHOICE, AT(mask.unit), "subword|word|span", "subword", KM_FIXED, "what is masked as a whole"},
    {"mask.ratio", KM_RATIO, AT(mask.ratio), ">0..1", "0.15", KM_FIXED,
     "share of a row that each mask hides; partition: 1/K of it"},
    {"mask.splits", KM_INT, AT(mask.splits), "1..1024", "4", KM_FIXED, "masks of each row (K)"},
    {"mask.over", KM_CHOICE, AT(mask.over), "step|epochs", "step", KM_FIXED,
     "the K masks of a row in one step, or one a visit over K epochs"},
    {"mask.replace_mask", KM_DOUBLE, AT(mask.replace_mask), "0..1", "1", KM_FIXED,
     "share of masked tokens shown as [MASK]"},
    {"mask.replace_random", KM_DOUBLE, AT(mask.replace_random), "0..1", "0", KM_FIXED,
     "share shown as a random token; the rest stays as it is"},

    {"train.steps", KM_INT, AT(train.steps), "1..1e9", KM_REQUIRED, KM_MAY_CHANGE, "updates in all"},
    {"train.sequences", KM_INT, AT(train.sequences), "1..1048576", KM_REQUIRED, KM_FIXED, "rows of each step"},
    {"train.micro_batch", KM_INT, AT(train.micro_batch), "1..4096", NULL, KM_FIXED,
     "views computed at once by one thread (default: 1024 / length)"},
    {"train.loss_norm", KM_CHOICE, AT(train.loss_norm), "tokens|masks", "tokens", KM_FIXED,
     "the summed loss is divided by masked tokens, or by masks (Eq. 4)"},
    {"train.precision", KM_CHOICE, AT(train.precision), "fp32|bf16", "fp32", KM_FIXED,
     "of what is multiplied; bf16 is twice as fast on CPUs with AVX512_BF16 or AMX, by oneDNN"},
    {"train.recompute", KM_BOOL, AT(train.recompute), NULL, "false", KM_MAY_CHANGE,
     "less memory, about a third more work, the same bits"},

    {"optimizer.lr", KM_DOUBLE, AT(optimizer.lr), ">0..", KM_REQUIRED, KM_FIXED, "learning rate at its peak"},
    {"optimizer.beta1", KM_DOUBLE, AT(optimizer.beta1), "0..<1", "0.9", KM_FIXED, "AdamW"},
    {"optimizer.beta2", KM_DOUBLE, AT(optimizer.beta2), "0..<1", "0.999", KM_FIXED, "AdamW"},
    {"optimizer.eps", KM_DOUBLE, AT(optimizer.eps), ">0..1", "1e-6", KM_FIXED, "AdamW"},
    {"optimizer.weight_decay", KM_DOUBLE, AT(optimizer.weight_decay), "0..", "0.01", KM_FIXED,
     "not on biases and layer norms"},
    {"optimizer.clip", KM_DOUBLE, AT(optimizer.clip), "0..", "1", KM_FIXED,
     "largest global norm of the gradient, 0: off (default 0 with loss_norm masks)"},

    {"schedule.name", KM_CHOICE, AT(schedule.name), "linear|cosine|constant|inverse_sqrt", "linear", KM_FIXED,
     "of the learning rate after warmup"},
    {"schedule.warmup", KM_INT, AT(schedule.warmup), "0..1e9", "0", KM_FIXED,
     "steps from 0 to the full learning rate"},

    {"checkpoint.every", KM_INT, AT(checkpoint.every), "1..1e9", "1000", KM_MAY_CHANGE,
     "steps between checkpoints; the last step is always saved"},
    {"checkpoint.keep", KM_INT, AT(checkpoint.keep), "1..1000", "2", KM_MAY_CHANGE, "newest checkpoints that stay"},
    {"checkpoint.snapshots", KM_EVERY, AT(checkpoint.snapshots), "1..1e9", NULL, KM_MAY_CHANGE,
     "weights that stay for good: every so many steps, or at these"},

    {"eval.every", KM_INT, AT(eval.every), "0..1e9", "0", KM_MAY_CHANGE,
     "steps between evaluations on data.eval; 0: only at the last"},
    {"eval.ratio", KM_DOUBLE, AT(eval.ratio), "0.001..1", "0.15", KM_MAY_CHANGE,
     "every token is masked once in ceil(1/ratio) parts"},

    {"parallel.threads", KM_INT, AT(parallel.threads), "1..1024", "1", KM_MAY_CHANGE, "of each rank"},
    {"parallel.gemm", KM_CHOICE, AT(parallel.gemm), "openblas|onednn", "openblas", KM_MAY_CHANGE,
     "the library that multiplies in fp32; another one, other bits"},
    {"parallel.timeout", KM_DOUBLE, AT(parallel.timeout), "0..", "600", KM_MAY_CHANGE,
     "seconds without a sign of life or of progress until a run is given up; 0: never"},

    {"log.every", KM_INT, AT(log.every), "1..1e9", "1", KM_MAY_CHANGE, "steps between lines of metrics.jsonl"},

    {"variance.model", KM_TEXT_LIST, AT(variance.model), NULL, NULL, KM_ORIGIN,
     "kmask variance: model files; fresh: the config's model (the default)"},
    {"variance.rows", KM_NUMBER_LIST, AT(variance.rows), "0..9007199254740992", NULL, KM_ORIGIN,
     "rows from which mini-batches of train.sequences are drawn (default: those of the first step)"},
    {"variance.params", KM_TEXT_LIST, AT(variance.params), NULL, NULL, KM_ORIGIN,
     "tensor names, with * and ?; or projections:N of all (default: all)"},
    {"variance.policies", KM_TEXT_LIST, AT(variance.policies), "fully_explored|random", NULL, KM_ORIGIN,
     "default: both"},
    {"variance.units", KM_TEXT_LIST, AT(variance.units), "subword|word|span", NULL, KM_ORIGIN,
     "default: mask.unit"},
    {"variance.splits", KM_NUMBER_LIST, AT(variance.splits), "1..1024", NULL, KM_ORIGIN,
     "numbers of masks K (default: mask.splits)"},
    {"variance.draws", KM_INT, AT(variance.draws), "2..1000000", NULL, KM_ORIGIN,
     "K-mask gradients, and pairs at each distance, of each row (default: 64)"},
    {"variance.distances", KM_NUMBER_LIST, AT(variance.distances), "0..131070", NULL, KM_ORIGIN,
     "Hamming distances of mask pairs, even (default: nine from 0 to 2 tau)"},
    {"variance.exhaustive", KM_BOOL, AT(variance.exhaustive), NULL, "false", KM_ORIGIN,
     "every mask instead of random ones, where they can be enumerated"},
    {"variance.dropout", KM_BOOL, AT(variance.dropout), NULL, "false", KM_ORIGIN, "with the model's dropout"},
};
const int km_option_count = KM_COUNT(km_options);

_Static_assert(KM_COUNT(km_options) <= sizeof(((km_config *)0)->given), "km_config.given is too short");

bool km_option_required(const km_option *option) {
    return option->standard != NULL && strcmp(option->standard, KM_REQUIRED) == 0;
}

int km_option_find(const char *key) {
    for (int i = 0; i < km_option_count; i++) {
        if (strcmp(km_options[i].key, key) == 0) {
            return i;
        }
    }
    return -1;
}

bool km_config_given(const km_config *config, const char *key) {
    int i = km_option_find(key);
    return i >= 0 && config->given[i] != 0;
}

/* The same name in another section, else what `key` begins, else the nearest key. */
char *km_option_hint(const char *key) {
    const char *dot = strchr(key, '.'), *name = dot == NULL ? key : dot + 1, *near = NULL;
    const char *words[KM_COUNT(km_options) + 1] = {NULL};
    for (int i = 0; i < km_option_count; i++) {
        words[i] = km_options[i].key;
        if (near == NULL && strcmp(strchr(words[i], '.') + 1, name) == 0) {
            near = words[i];
        }
    }
    for (int i = 0; near == NULL && dot != NULL && *name != '\0' && i < km_option_count; i++) {
        near = strncmp(words[i], key, strlen(key)) == 0 ? words[i] : NULL;
    }
    near = near != NULL ? near : km_nearest(key, words);
    return near == NULL ? km_strdup(" See `kmask pretrain --help` for all keys.")
                        : km_format(" Did you mean %s?", near);
}
