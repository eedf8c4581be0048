/* Initial weights: a function of the seed and of each part's own name, so neither order nor neighbours matter. */
#include "architecture.h"

#include <string.h>

enum { INIT_BLOCK = 4096 }; /* values of one generator */

static void fill(float *out, size_t count, float value) {
    for (size_t i = 0; i < count; i++) {
        out[i] = value;
    }
}

static void fill_normal(float *out, const km_param *param, double deviation, uint64_t seed) {
    uint32_t name = (uint32_t)km_hash_bytes(param->name, strlen(param->name)).low;
    for (size_t first = 0; first < param->count; first += INIT_BLOCK) {
        km_rng rng = km_rng_make(seed, KM_RNG_INIT, name, first / INIT_BLOCK);
        size_t count = KM_MIN(param->count - first, (size_t)INIT_BLOCK);
        for (size_t i = 0; i < count; i++) {
            out[first + i] = (float)(deviation * km_rng_normal(&rng));
        }
    }
}

static void init_part(float *out, const km_param *param, double deviation, uint64_t seed) {
    switch (param->start) {
    case KM_START_NORMAL:
        fill_normal(out, param, deviation, seed);
        break;
    case KM_START_ONE:
        fill(out, param->count, 1.0f);
        break;
    case KM_START_ZERO:
        fill(out, param->count, 0.0f);
        break;
    }
}

void km_model_init_weights(const km_model *model, float *weights, uint64_t seed) {
    const km_table *table = &model->table;
    memset(weights, 0, table->size * sizeof *weights);
    for (int i = 0; i < table->count; i++) {
        const km_param *param = &table->params[i];
        init_part(weights + param->offset, param, model->init_deviation, seed);
    }
    model->architecture->clear_rows(model, weights);
}
