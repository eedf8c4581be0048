/* The config of a run: every kind of value, every refusal with key and found value, round trips, resuming. */
#include "kmask/run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char *const smallest[] = {"run.dir=r", "data.train=c.h5", "train.steps=100", "train.sequences=8",
                                       "optimizer.lr=0.001"};
static km_config config;

/* Loads the five required keys and `count` more. */
static km_status load(int count, char *const *more) {
    char *set[KM_COUNT(smallest) + 8];
    for (size_t i = 0; i < KM_COUNT(smallest); i++) {
        set[i] = km_strdup(smallest[i]);
    }
    for (int i = 0; i < count; i++) {
        set[KM_COUNT(smallest) + (size_t)i] = more[i];
    }
    km_status status = km_config_load(
        &config, &(km_config_source){.set = set, .set_count = (int)KM_COUNT(smallest) + count}, false);
    for (size_t i = 0; i < KM_COUNT(smallest); i++) {
        free(set[i]);
    }
    return status;
}

#define LOAD(...) load((int)(sizeof((char *[]){__VA_ARGS__}) / sizeof(char *)), (char *[]){__VA_ARGS__})
#define WELL(...)                                                                                                  \
    do {                                                                                                           \
        if (LOAD(__VA_ARGS__) != KM_OK) {                                                                          \
            fail_msg("%s", km_message());                                                                          \
        }                                                                                                          \
    } while (0)

static void says(const char *words) {
    if (strstr(km_message(), words) == NULL) {
        fail_msg("no \"%s\" in: %s", words, km_message());
    }
}

/* The assignment is refused; the message names `key` and `found`. */
static void refused(const char *assignment, const char *key, const char *found) {
    char *copy = km_strdup(assignment);
    assert_int_equal(LOAD("model.preset=tiny", copy), KM_USAGE);
    says(key);
    says(found);
    free(copy);
}

static void no_json(const char *json, const char *words) {
    char path[] = "/tmp/kmask-config-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, json, strlen(json)), strlen(json));
    close(fd);
    assert_int_equal(km_config_load(&config, &(km_config_source){.path = path}, true), KM_USAGE);
    says(path);
    unlink(path);
    says(words);
}

/* ---- Values ---- */

static void values_of_every_kind(void **state) {
    (void)state;
    WELL("model.preset=tiny", "run.seed=9007199254740992", "run.max_hours=1.5", "train.recompute=true",
         "mask.ratio=partition", "checkpoint.snapshots=[1,5,70]", "data.eval=\"a \\\"b\\\"\"");
    assert_true(config.run.seed == INT64_C(9007199254740992));
    assert_true(config.run.max_hours == 1.5);
    assert_true(config.train.recompute);
    assert_true(config.mask.ratio == 0);
    assert_string_equal(config.data.eval, "a \"b\"");
    assert_int_equal(config.checkpoint.snapshots.count, 3);
    assert_true(km_steps_has(&config.checkpoint.snapshots, 70));
    assert_false(km_steps_has(&config.checkpoint.snapshots, 6));
    WELL("model.preset=tiny", "checkpoint.snapshots=10", "run.dir=123", "data.eval=x", "data.eval=null");
    assert_true(km_steps_has(&config.checkpoint.snapshots, 20));
    assert_false(km_steps_has(&config.checkpoint.snapshots, 0));
    assert_false(km_steps_has(&config.checkpoint.snapshots, 25));
    assert_string_equal(config.run.dir, "123");
    assert_string_equal(config.data.eval, "");
    assert_false(km_given(&km_data_section, &config.data, "eval"));
    assert_true(km_given(&km_run_section, &config.run, "dir"));
    assert_false(km_given(&km_run_section, &config.run, "seed"));
    assert_false(km_given(&km_run_section, &config.run, "no"));
}

static void defaults_are_the_documented_ones(void **state) {
    (void)state;
    WELL("model.preset=small");
    assert_int_equal(config.run.seed, 1);
    assert_string_equal(config.model.type, "bert");
    assert_int_equal(config.model.hidden_size, 256);
    assert_int_equal(config.model.num_hidden_layers, 4);
    assert_int_equal(config.model.intermediate_size, 1024);
    assert_int_equal(config.model.max_position_embeddings, 512);
    assert_int_equal(config.model.type_vocab_size, 2);
    assert_int_equal(config.model.vocab_size, 0);
    assert_true(config.model.layer_norm_eps == 1e-12);
    assert_true(config.model.initializer_range == 0.02);
    assert_string_equal(config.model.hidden_act, "gelu");
    assert_int_equal(config.data.length, 128);
    assert_string_equal(config.mask.policy, "fully_explored");
    assert_true(config.mask.ratio == 0.15);
    assert_int_equal(config.mask.splits, 4);
    assert_int_equal(config.train.micro_batch, 8);
    assert_true(config.optimizer.clip == 1);
    assert_true(config.optimizer.eps == 1e-6);
    assert_int_equal(config.checkpoint.keep, 2);
    assert_true(config.parallel.timeout == 600);
}

static void what_follows_from_other_keys(void **state) {
    (void)state;
    WELL("model.preset=roberta-base", "model.hidden_size=24", "data.length=512", "train.loss_norm=masks");
    assert_string_equal(config.model.type, "roberta");
    assert_int_equal(config.model.hidden_size, 24);
    assert_int_equal(config.model.num_hidden_layers, 12);
    assert_int_equal(config.model.max_position_embeddings, 514);
    assert_int_equal(config.model.type_vocab_size, 1);
    assert_true(config.model.layer_norm_eps == 1e-5);
    assert_int_equal(config.train.micro_batch, 2);
    assert_true(config.optimizer.clip == 0);
    WELL("model.type=bert", "model.hidden_size=20", "model.num_hidden_layers=1", "model.num_attention_heads=5",
         "train.loss_norm=masks", "optimizer.clip=1", "train.micro_batch=3");
    assert_int_equal(config.model.intermediate_size, 80);
    assert_int_equal(config.train.micro_batch, 3);
    assert_true(config.optimizer.clip == 1);
    WELL("model.init=m.h5", "model.hidden_dropout_prob=0");
    assert_int_equal(config.model.hidden_size, 0);
    assert_string_equal(config.model.type, "");
}

/* ---- Refusals ---- */

static void wrong_values_are_named(void **state) {
    (void)state;
    refused("mask.splits=1.5", "mask.splits", "found 1.5");
    refused("mask.splits=0", "mask.splits", "found 0, expected a whole number 1..1024");
    refused("mask.splits=1e999", "mask.splits", "beyond all limits");
    refused("mask.splits=\"4\"", "mask.splits", "found \"4\"");
    refused("mask.splits=[4]", "mask.splits", "found [4]");
    refused("mask.splits={}", "mask.splits", "found {}");
    refused("mask.splits=true", "mask.splits", "found true");
    refused("optimizer.lr=NaN", "optimizer.lr", "found \"NaN\"");
    refused("optimizer.lr=0", "optimizer.lr", "found 0, expected a number >0..");
    refused("optimizer.beta1=1", "optimizer.beta1", "found 1, expected a number 0..<1");
    refused("optimizer.weight_decay=-0.1", "optimizer.weight_decay", "found -0.1");
    refused("mask.ratio=0", "mask.ratio", "found 0, expected \"partition\" or a number >0..1");
    refused("mask.ratio=all", "mask.ratio", "found \"all\"");
    refused("train.recompute=1", "train.recompute", "found 1, expected true or false");
    refused("data.packing=full", "data.packing", "expected one of full_sentences|documents|stream");
    refused("data.packing=documents|stream", "data.packing", "found \"documents|stream\"");
    refused("data.packing=", "data.packing", "found \"\"");
    refused("data.train=", "data.train", "found \"\", expected a path");
    refused("run.seed=-1", "run.seed", "found -1");
    refused("run.seed=1e16", "run.seed", "found 1e+16");
    refused("data.length=2", "data.length", "found 2, expected a whole number 3..65535");
    refused("checkpoint.keep=0", "checkpoint.keep", "found 0");
    refused("checkpoint.snapshots=[5,5]", "checkpoint.snapshots", "found [5,5]");
    refused("checkpoint.snapshots=[0]", "checkpoint.snapshots", "found [0]");
    refused("checkpoint.snapshots=[1,\"2\"]", "checkpoint.snapshots", "found [1,\"2\"]");
    refused("checkpoint.snapshots=0", "checkpoint.snapshots", "found 0");
    refused("model.type=gpt2", "model.type", "expected one of bert|roberta|bart");
    refused("train.precision=fp16", "train.precision", "expected one of fp32|bf16");
    refused("parallel.gemm=mkl", "parallel.gemm", "expected one of openblas|onednn");
    char *path = km_new(3000, 1);
    memcpy(path, "run.dir=", 8);
    memset(path + 8, 'x', 1024);
    refused(path, "run.dir", "1026 bytes"); /* with its quotes */
    free(path);
    char *steps = km_format("checkpoint.snapshots=[1");
    for (int i = 2; i <= KM_STEPS + 1; i++) {
        char *longer = km_format("%s,%d", steps, i);
        free(steps);
        steps = longer;
    }
    char *whole = km_format("%s]", steps);
    refused(whole, "checkpoint.snapshots", "at most 64");
    free(whole);
    free(steps);
}

static void unknown_keys_name_the_nearest(void **state) {
    (void)state;
    refused("optimizer.lrr=1", "optimizer.lrr", "Did you mean optimizer.lr?");
    refused("train.lr=1", "train.lr", "Did you mean optimizer.lr?");
    refused("mask.spilts=1", "mask.spilts", "Did you mean mask.splits?");
    refused("train.micro=1", "train.micro", "Did you mean train.micro_batch?");
    refused("xyzzy=1", "xyzzy", "--help");
    refused("mask.splits", "mask.splits", "expected key=value");
    refused("=1", "=1", "expected key=value");
    no_json("{\"mask\": {\"split\": 4}}", "mask.split: unknown key. Did you mean mask.splits?");
    no_json("{\"masks\": {}}", "masks: unknown section. Did you mean mask?");
    no_json("{\"xyzzy\": {}}", "expected one of run, model, data");
    no_json("{\"mask.splits\": 4}", "{\"section\": {\"key\": value}}. Did you mean mask.splits?");
}

static void wrong_files_are_a_sentence(void **state) {
    (void)state;
    no_json("", "empty");
    no_json("{", "line 1");
    no_json("[]", "expected an object");
    no_json("4", "expected an object");
    no_json("{\"run\": 4}", "run: found something else");
    no_json("{\"run\": {\"seed\": 1, \"seed\": 2}}", "run.seed: given twice");
    no_json("{\"run\": {}, \"mask\": {}, \"run\": {}}", "run: this section is given twice");
    no_json("{\"run\": {\"seed\": NaN}}", "line 1");
    no_json("{\"run\": {\"dir\": \"a\\u0000b\"}}", "\\u0000");
    no_json("{\"run\": {\"dir\": {\"deep\": [1, 2]}}}", "run.dir: found {\"deep\":[1,2]}");
    no_json("{\"run\": {}} x", "line 1");
    char deep[4001];
    memset(deep, '[', 4000);
    deep[4000] = '\0';
    no_json(deep, "100 levels");
    assert_int_equal(km_config_parse(&config, "{\"run\": {\"dir\": \"a\\\\u0000\"}}", "origin"), KM_OK);
    assert_string_equal(config.run.dir, "a\\u0000");
    assert_int_equal(km_config_load(&config, &(km_config_source){.path = "/nowhere/c.json"}, true), KM_USAGE);
    says("/nowhere/c.json");
}

/* A file cut anywhere, or with any byte changed, is read or refused, never more. */
static void damaged_files_are_read_or_refused(void **state) {
    (void)state;
    WELL("model.preset=tiny", "checkpoint.snapshots=[3,4]");
    char *text = km_config_print(&config);
    size_t size = strlen(text);
    km_config *other = km_new(1, sizeof *other);
    for (size_t i = 0; i + 2 < size; i++) { /* without the last "}\n" */
        char *copy = km_strdup(text), kept = copy[i];
        static const char bytes[] = "\"{9,\x80 ";
        copy[i] = bytes[i % (sizeof bytes - 1)];
        km_status status = km_config_parse(other, copy, "damaged");
        assert_true(status == KM_OK || (status == KM_USAGE && strstr(km_message(), "damaged") != NULL));
        copy[i] = kept;
        copy[i] = '\0';
        assert_int_equal(km_config_parse(other, copy, "cut"), KM_USAGE);
        free(copy);
    }
    free(other);
    free(text);
}

static void required_keys_are_asked_for(void **state) {
    (void)state;
    char *set[] = {"run.dir=r", "train.steps=1", "train.sequences=8", "model.preset=tiny"};
    assert_int_equal(km_config_load(&config, &(km_config_source){.set = set, .set_count = 4}, false), KM_USAGE);
    says("data.train, optimizer.lr: missing");
    assert_int_equal(km_config_load(&config, &(km_config_source){.set = set, .set_count = 4}, true), KM_OK);
    assert_int_equal(km_config_load(&config, &(km_config_source){.path = NULL}, true), KM_OK);
    char *bad[] = {"mask.splits=0"};
    assert_int_equal(km_config_load(&config, &(km_config_source){.set = bad, .set_count = 1}, true), KM_USAGE);
    assert_int_equal(load(0, NULL), KM_USAGE);
    says("model.type, model.preset and model.init");
    assert_int_equal(LOAD("model.type=bert", "model.hidden_size=8", "model.num_attention_heads=2"), KM_USAGE);
    says("model.num_hidden_layers: missing");
    assert_int_equal(LOAD("model.init=a.h5", "model.layer_norm_eps=0.1"), KM_USAGE);
    says("model.layer_norm_eps: given together with model.init (a.h5)");
    assert_int_equal(LOAD("model.init=a.h5", "model.preset=tiny"), KM_USAGE);
    says("model.preset");
}

static void keys_must_fit_together(void **state) {
    (void)state;
    refused("mask.splits=7", "mask.splits", "7 disjoint masks of mask.ratio 0.15 would hide 1.05");
    WELL("model.preset=tiny", "mask.splits=7", "mask.policy=random");
    WELL("model.preset=tiny", "mask.splits=7", "mask.ratio=partition");
    WELL("model.preset=tiny", "mask.splits=20", "mask.ratio=0.05");
    WELL("model.preset=tiny", "mask.splits=3", "mask.ratio=0.3333333333333333");
    refused("mask.replace_random=0.1", "mask.replace_random", "1.1");
    WELL("model.preset=tiny", "mask.replace_mask=0.9", "mask.replace_random=0.1");
    refused("mask.target=full", "mask.target", "model.type bert has none");
    refused("mask.target=masked", "mask.target", "encoder-decoder such as model.type bart");
    refused("mask.merge=true", "mask.merge", "in their places");
    refused("mask.policy=denoise", "mask.policy", "model.type bert predicts tokens in their places");
    refused("mask.poisson_lambda=0", "mask.poisson_lambda", "0.1..64");
    WELL("model.preset=tiny", "mask.policy=salient", "mask.target=tokens", "mask.merge=false");
    assert_int_equal(config.mask.splits, 1);
    WELL("model.preset=tiny", "mask.policy=salient", "mask.splits=3", "mask.ratio=0.9");
    assert_int_equal(config.mask.splits, 3);
    assert_int_equal(LOAD("model.init=a.h5", "mask.policy=denoise"), KM_OK); /* the model's type is not known yet */
    assert_true(config.mask.ratio == 0.3);
    assert_string_equal(config.mask.unit, "word");
    assert_string_equal(config.mask.target, "");
    refused("model.num_attention_heads=3", "model.hidden_size", "found 128, expected a multiple of the 3");
    refused("data.length=513", "data.length", "model.max_position_embeddings is 512");
    assert_int_equal(LOAD("model.preset=roberta-base", "data.length=513"), KM_USAGE);
    says("at most 512");
    refused("schedule.warmup=101", "schedule.warmup", "found 101, expected at most train.steps (100)");
    refused("eval.every=5", "eval.every", "without data.eval");
}

/* ---- Printing and reading back ---- */

static void random_value(km_rng *rng, const km_field *field, char *out, size_t size) {
    const km_option *option = field->option;
    char key[64];
    snprintf(key, sizeof key, "%s.%s", field->section->name, option->name);
    double unit = km_rng_unit(rng);
    switch (option->kind) {
    case KM_INT:
        snprintf(out, size, "%s=%u", key, 3 + km_rng_below(rng, 62));
        break;
    case KM_DOUBLE:
    case KM_RATIO:
        snprintf(out, size, "%s=%.17g", key, unit * 0.0156 + 0.0011);
        break;
    case KM_FLAG:
        snprintf(out, size, "%s=%s", key, unit < 0.5 ? "true" : "false");
        break;
    case KM_FILE:
        snprintf(out, size, "%s=\xc3\xa4 \"\\ / %u\t", key, km_rng_u32(rng));
        break;
    case KM_CHOICE: {
        int count = 1, pick;
        for (const char *c = km_option_choices(option); *c != '\0'; c++) {
            count += *c == '|';
        }
        const char *word = km_option_choices(option);
        for (pick = (int)km_rng_below(rng, (uint32_t)count); pick > 0; pick--) {
            word = strchr(word, '|') + 1;
        }
        snprintf(out, size, "%s=%.*s", key, (int)strcspn(word, "|"), word);
        break;
    }
    case KM_EVERY:
        snprintf(out, size, unit < 0.5 ? "%s=%u" : "%s=[%u,4000000]", key, 1 + km_rng_below(rng, 99));
        break;
    case KM_DOUBLE_LIST:
        snprintf(out, size, "%s=%.17g,%.17g", key, unit * 0.0156 + 0.0011, 0.001);
        break;
    case KM_NUMBER_LIST:
        snprintf(out, size, unit < 0.5 ? "%s=%u" : "%s=7,%u..1000", key, 900 + km_rng_below(rng, 99));
        break;
    case KM_TEXT_LIST: {
        const char *second = km_option_choices(option) == NULL ? "[\"*.weight\",\"a,b\"]"
                                                               : strchr(km_option_choices(option), '|') + 1;
        snprintf(out, size, "%s=%.*s", key, (int)strcspn(second, "|"), second);
        break;
    }
    }
}

/* What was given is not printed. */
static void forget_given(km_config *of) {
    uint64_t *const given[] = {&of->run.given,   &of->model.given,     &of->data.given,     &of->mask.given,
                               &of->train.given, &of->optimizer.given, &of->schedule.given, &of->checkpoint.given,
                               &of->eval.given,  &of->parallel.given,  &of->log.given,      &of->proposal.given};
    for (size_t i = 0; i < KM_COUNT(given); i++) {
        *given[i] = 0;
    }
}

static void printed_configs_read_back_to_the_same_bits(void **state) {
    (void)state;
    enum { CONFIGS = 3000, MOST = 128, LONG = 200 };
    km_config *back = km_new(1, sizeof *back);
    static char text[MOST][LONG];
    int tried = 0;
    for (uint32_t n = 0; n < CONFIGS; n++) {
        km_rng rng = km_rng_make(1, KM_RNG_TEST, n, 0);
        char *set[MOST];
        int count = 0;
        km_field field;
        for (int i = 0; km_schema_field(&field, &km_config_schema, i); i++) {
            if (km_rng_below(&rng, 3) == 0) {
                set[count] = text[count];
                random_value(&rng, &field, text[count++], LONG);
            }
        }
        if (km_config_load(&config, &(km_config_source){.set = set, .set_count = count}, true) != KM_OK) {
            continue; /* heads that do not divide, a target for decoders... */
        }
        tried++;
        char *printed = km_config_print(&config);
        if (km_config_parse(back, printed, "printed") != KM_OK) {
            fail_msg("%s", km_message());
        }
        char *again = km_config_print(back);
        assert_string_equal(printed, again);
        forget_given(back);
        forget_given(&config);
        assert_memory_equal(back, &config, sizeof config);
        free(again);
        free(printed);
    }
    assert_true(tried > CONFIGS / 100);
    free(back);
}

static void each_number_survives(void **state) {
    (void)state;
    km_config *back = km_new(1, sizeof *back);
    WELL("model.preset=tiny");
    for (uint32_t n = 0; n < 2000; n++) {
        km_rng rng = km_rng_make(2, KM_RNG_TEST, n, 0);
        config.optimizer.lr = km_rng_unit(&rng) * (n % 2 == 0 ? 1e-300 : 1.0) + 5e-324;
        config.run.seed = (int64_t)(km_rng_u64(&rng) >> 11);
        char *printed = km_config_print(&config);
        assert_int_equal(km_config_parse(back, printed, "printed"), KM_OK);
        assert_memory_equal(&back->optimizer.lr, &config.optimizer.lr, sizeof(double));
        assert_true(back->run.seed == config.run.seed);
        free(printed);
    }
    free(back);
}

static void a_file_and_assignments(void **state) {
    (void)state;
    char path[] = "/tmp/kmask-config-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    static const char json[] = "{\"run\": {\"dir\": \"r\", \"seed\": 5}, \"model\": {\"preset\": \"tiny\"},"
                               " \"data\": {\"train\": \"c.h5\", \"eval\": null}, \"optimizer\": {\"lr\": 1e-3},"
                               " \"train\": {\"steps\": 10, \"sequences\": 2}}";
    assert_int_equal(km_file_replace(path, json, sizeof json - 1), KM_OK);
    char *set[] = {"run.seed=6", "run.seed=7"};
    assert_int_equal(km_config_load(&config, &(km_config_source){.path = path, .set = set, .set_count = 2}, false),
                     KM_OK);
    assert_int_equal(config.run.seed, 7);
    char *bad[] = {"mask.splits=9"};
    assert_int_equal(km_config_load(&config, &(km_config_source){.path = path, .set = bad, .set_count = 1}, false),
                     KM_USAGE);
    says(path);
    unlink(path);
}

/* ---- Resuming ---- */

static void goes_on(const char *assignment, bool may, const char *words) {
    km_config *was = km_new(1, sizeof *was);
    char *copy = km_strdup(assignment);
    WELL("model.preset=tiny");
    *was = config;
    WELL("model.preset=tiny", copy);
    km_buffer changes = {0};
    assert_int_equal(km_config_continues(was, &config, &changes), may ? KM_OK : KM_USAGE);
    if (!may) {
        says(words);
        says("model.init");
        assert_int_equal(changes.size, 0);
    } else if (words == NULL) {
        assert_int_equal(changes.size, 0);
    } else if (strstr(changes.data, words) == NULL) {
        fail_msg("no \"%s\" in: %s", words, changes.data);
    }
    km_buffer_free(&changes);
    free(copy);
    free(was);
}

static void a_resumed_run_may_change_these_alone(void **state) {
    (void)state;
    goes_on("run.dir=r", true, NULL);
    goes_on("run.dir=other", true, "run.dir: \"other\", was \"r\"\n");
    goes_on("run.max_hours=3", true, "run.max_hours: 3, was null");
    goes_on("run.seed=2", false, "run.seed (was 1, now 2)");
    goes_on("data.train=copy.h5", true, "data.train");
    goes_on("data.length=64", false, "data.length (was 128, now 64)");
    goes_on("train.steps=200", true, "train.steps: 200, was 100; the schedule follows the new end");
    goes_on("train.recompute=true", true, "train.recompute: true");
    goes_on("train.sequences=9", false, "train.sequences (was 8, now 9)");
    goes_on("train.micro_batch=9", false, "train.micro_batch (was 8, now 9)");
    goes_on("mask.ratio=partition", false, "mask.ratio (was 0.15, now \"partition\")");
    goes_on("checkpoint.snapshots=[3,9]", true, "checkpoint.snapshots: [3, 9], was null");
    goes_on("checkpoint.keep=5", true, "checkpoint.keep");
    goes_on("eval.ratio=0.5", true, "eval.ratio");
    goes_on("parallel.threads=3", true, "parallel.threads: 3, was 1");
    goes_on("log.every=3", true, "log.every");
    goes_on("optimizer.lr=0.0010000000000000002", false, "optimizer.lr (was 0.001, now 0.0010000000000000002)");
    goes_on("schedule.name=cosine", false, "schedule.name");
    goes_on("model.hidden_size=64", false, "model.hidden_size (was 128, now 64)");
    goes_on("model.hidden_dropout_prob=0.1", false, "model.hidden_dropout_prob");
    goes_on("model.intermediate_size=512", true, NULL);
}

static void a_preset_is_only_an_origin(void **state) {
    (void)state;
    km_config *was = km_new(1, sizeof *was);
    WELL("model.preset=small");
    *was = config;
    WELL("model.type=bert", "model.hidden_size=256", "model.num_hidden_layers=4", "model.num_attention_heads=4");
    km_buffer changes = {0};
    assert_int_equal(km_config_continues(was, &config, &changes), KM_OK);
    assert_int_equal(changes.size, 0);
    km_buffer_free(&changes);
    free(was);
}

/* ---- Help and words ---- */

static void help_has_every_key(void **state) {
    (void)state;
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    assert_non_null(stream);
    km_schema_help(&km_config_schema, stream);
    fclose(stream);
    km_field field;
    for (int i = 0; km_schema_field(&field, &km_config_schema, i); i++) {
        char *title = km_format("\n%s\n", field.section->name);
        assert_non_null(strstr(text, field.option->name));
        assert_non_null(strstr(text, title));
        free(title);
    }
    assert_null(strstr(text, "\nvariance\n"));
    assert_non_null(strstr(text, "[full_sentences|documents|stream]"));
    assert_non_null(strstr(text, "[int 1..1024]"));
    free(text);
}

static void the_nearest_word(void **state) {
    (void)state;
    const char *const words[] = {"pretrain", "eval", "report", NULL};
    assert_string_equal(km_nearest("pertrain", words), "pretrain");
    assert_string_equal(km_nearest("evl", words), "eval");
    assert_string_equal(km_nearest("reprot", words), "report");
    assert_null(km_nearest("xyzzy", words));
    assert_null(km_nearest("", words));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_of_every_kind),
        cmocka_unit_test(defaults_are_the_documented_ones),
        cmocka_unit_test(what_follows_from_other_keys),
        cmocka_unit_test(wrong_values_are_named),
        cmocka_unit_test(unknown_keys_name_the_nearest),
        cmocka_unit_test(wrong_files_are_a_sentence),
        cmocka_unit_test(damaged_files_are_read_or_refused),
        cmocka_unit_test(required_keys_are_asked_for),
        cmocka_unit_test(keys_must_fit_together),
        cmocka_unit_test(printed_configs_read_back_to_the_same_bits),
        cmocka_unit_test(each_number_survives),
        cmocka_unit_test(a_file_and_assignments),
        cmocka_unit_test(a_resumed_run_may_change_these_alone),
        cmocka_unit_test(a_preset_is_only_an_origin),
        cmocka_unit_test(help_has_every_key),
        cmocka_unit_test(the_nearest_word),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
