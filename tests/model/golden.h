/* Reads what files of tests/model/golden have in common: numbers, a model's config, its parameters with the reference's
 * gradients. tools/golden_model.py writes them and describes both kinds. */
#ifndef KMASK_TESTS_MODEL_GOLDEN_H
#define KMASK_TESTS_MODEL_GOLDEN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "kmask/model.h"

typedef struct golden_reader {
    char *bytes; /* the whole file; the test frees */
    size_t size, at;
} golden_reader;

/* The next count values of `size` bytes each: part of in->bytes, aligned by chance. */
static inline const void *take(golden_reader *in, size_t count, size_t size) {
    const char *from = in->bytes + in->at;
    in->at += count * size;
    assert_true(in->at <= in->size);
    return from;
}

static inline int32_t take_int(golden_reader *in) {
    int32_t value;
    memcpy(&value, take(in, 1, 4), 4);
    return value;
}

static inline double take_double(golden_reader *in) {
    double value;
    memcpy(&value, take(in, 1, 8), 8);
    return value;
}

static inline golden_reader open_golden(const char *path, const char kind[4]) {
    golden_reader in = {0};
    assert_int_equal(km_file_read(&in.bytes, &in.size, path, 1 << 20), KM_OK);
    assert_memory_equal(take(&in, 4, 1), kind, 4);
    return in;
}

/* All but dropout. */
static inline void take_config(golden_reader *in, km_model_config *config) {
    snprintf(config->type, sizeof config->type, "%s", take_int(in) ? "roberta" : "bert");
    int64_t *sizes[] = {&config->vocab_size,          &config->hidden_size,       &config->num_hidden_layers,
                        &config->num_attention_heads, &config->intermediate_size, &config->max_position_embeddings,
                        &config->type_vocab_size,     &config->pad_token_id};
    for (size_t i = 0; i < KM_COUNT(sizes); i++) {
        *sizes[i] = take_int(in);
    }
    snprintf(config->hidden_act, sizeof config->hidden_act, "%s", take_int(in) ? "gelu_new" : "gelu");
    config->layer_norm_eps = take_double(in);
}

/* Weights and the reference's gradients, (table->size) each, by name: every part of the table must be there, and the file ends. */
static inline void take_parameters(golden_reader *in, const km_table *table, float *weights, float *gradient) {
    assert_int_equal(take_int(in), table->count);
    for (int i = 0; i < table->count; i++) {
        char name[113] = {0};
        memcpy(name, take(in, 112, 1), 112);
        const km_param *param = km_table_find(table, name);
        if (param == NULL) {
            fail_msg("the table has no %s", name);
        }
        assert_int_equal(take_int(in), param->count);
        memcpy(weights + param->offset, take(in, param->count, 4), param->count * 4);
        memcpy(gradient + param->offset, take(in, param->count, 4), param->count * 4);
    }
    assert_int_equal(in->at, in->size);
}

#endif
