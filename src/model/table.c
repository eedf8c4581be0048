/* The table: what the flat array of weights holds, under the field's own names. Placement runs twice: once to
 * count, once to write. */
#include "parts.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 16, TABLE_BLOCK = 4096 }; /* elements */

static size_t round_up(size_t n, size_t unit) {
    return (n + unit - 1) / unit * unit;
}

/* Appends a part right behind the last one; columns 0: a vector. Returns its offset. */
static size_t append(km_table *t, km_start start, int rows, int columns, const char *format, va_list list) {
    size_t offset = t->size;
    size_t count = (size_t)rows * (size_t)KM_MAX(columns, 1);
    if (t->params != NULL) {
        km_param *param = &t->params[t->count];
        *param = (km_param){.rank = columns > 0 ? 2 : 1,
                            .dims = {(uint64_t)rows, (uint64_t)columns},
                            .offset = offset,
                            .count = count,
                            .decay = start == KM_START_NORMAL,
                            .start = start};
        vsnprintf(param->name, sizeof param->name, format, list);
    }
    t->count++;
    t->size += count;
    t->elements += count;
    return offset;
}

static size_t add(km_table *t, km_start start, int rows, int columns, const char *format, ...) KM_PRINTF(5, 6);
static size_t add(km_table *t, km_start start, int rows, int columns, const char *format, ...) {
    va_list list;
    va_start(list, format);
    t->size = round_up(t->size, ALIGN);
    size_t offset = append(t, start, rows, columns, format, list);
    va_end(list);
    return offset;
}

/* Without a gap, so that neighbours are one matrix. */
static void add_adjacent(km_table *t, km_start start, int rows, int columns, const char *format, ...)
    KM_PRINTF(5, 6);
static void add_adjacent(km_table *t, km_start start, int rows, int columns, const char *format, ...) {
    va_list list;
    va_start(list, format);
    append(t, start, rows, columns, format, list);
    va_end(list);
}

static km_dense add_dense(km_table *t, int in, int out, const char *prefix) {
    km_dense dense = {.in = in, .out = out};
    dense.w = add(t, KM_START_NORMAL, out, in, "%s.weight", prefix);
    dense.b = add(t, KM_START_ZERO, out, 0, "%s.bias", prefix);
    return dense;
}

static km_norm add_norm(km_table *t, int C, const char *prefix) {
    km_norm norm;
    norm.w = add(t, KM_START_ONE, C, 0, "%s.weight", prefix);
    norm.b = add(t, KM_START_ZERO, C, 0, "%s.bias", prefix);
    return norm;
}

static void place_embedding(km_model *m, km_table *t) {
    const char *root = m->config.type;
    char prefix[64];
    m->embedding.word = add(t, KM_START_NORMAL, m->V, m->C, "%s.embeddings.word_embeddings.weight", root);
    m->embedding.position =
        add(t, KM_START_NORMAL, m->positions, m->C, "%s.embeddings.position_embeddings.weight", root);
    m->embedding.type = add(t, KM_START_NORMAL, m->types, m->C, "%s.embeddings.token_type_embeddings.weight", root);
    snprintf(prefix, sizeof prefix, "%s.embeddings.LayerNorm", root);
    m->embedding.norm = add_norm(t, m->C, prefix);
}

static km_dense place_qkv(km_table *t, int C, const char *layer) {
    km_dense qkv = {.in = C, .out = 3 * C};
    qkv.w = add(t, KM_START_NORMAL, C, C, "%s.attention.self.query.weight", layer);
    add_adjacent(t, KM_START_NORMAL, C, C, "%s.attention.self.key.weight", layer);
    add_adjacent(t, KM_START_NORMAL, C, C, "%s.attention.self.value.weight", layer);
    qkv.b = add(t, KM_START_ZERO, C, 0, "%s.attention.self.query.bias", layer);
    add_adjacent(t, KM_START_ZERO, C, 0, "%s.attention.self.key.bias", layer);
    add_adjacent(t, KM_START_ZERO, C, 0, "%s.attention.self.value.bias", layer);
    return qkv;
}

static void place_layer(km_model *m, km_table *t, int l) {
    km_layer_parts *parts = &m->layers[l];
    char layer[64], prefix[96];
    snprintf(layer, sizeof layer, "%s.encoder.layer.%d", m->config.type, l);
    parts->qkv = place_qkv(t, m->C, layer);
    snprintf(prefix, sizeof prefix, "%s.attention.output.dense", layer);
    parts->attention_output = add_dense(t, m->C, m->C, prefix);
    snprintf(prefix, sizeof prefix, "%s.attention.output.LayerNorm", layer);
    parts->attention_norm = add_norm(t, m->C, prefix);
    snprintf(prefix, sizeof prefix, "%s.intermediate.dense", layer);
    parts->intermediate = add_dense(t, m->C, m->I, prefix);
    snprintf(prefix, sizeof prefix, "%s.output.dense", layer);
    parts->output = add_dense(t, m->I, m->C, prefix);
    snprintf(prefix, sizeof prefix, "%s.output.LayerNorm", layer);
    parts->output_norm = add_norm(t, m->C, prefix);
}

static void place_head(km_model *m, km_table *t) {
    bool bert = strcmp(m->config.type, "bert") == 0;
    m->head.dense = add_dense(t, m->C, m->C, bert ? "cls.predictions.transform.dense" : "lm_head.dense");
    m->head.norm = add_norm(t, m->C, bert ? "cls.predictions.transform.LayerNorm" : "lm_head.layer_norm");
    m->head.bias = add(t, KM_START_ZERO, m->V, 0, "%s", bert ? "cls.predictions.bias" : "lm_head.bias");
}

static void place(km_model *m, km_param *params) {
    m->table = (km_table){.params = params};
    place_embedding(m, &m->table);
    for (int l = 0; l < m->L; l++) {
        place_layer(m, &m->table, l);
    }
    place_head(m, &m->table);
    m->table.size = round_up(m->table.size, TABLE_BLOCK);
}

void km_table_build(km_model *model) {
    model->layers = km_new((size_t)model->L, sizeof *model->layers);
    place(model, NULL);
    place(model, km_new((size_t)model->table.count, sizeof(km_param)));
}

const km_param *km_table_find(const km_table *table, const char *name) {
    for (int i = 0; i < table->count; i++) {
        if (strcmp(table->params[i].name, name) == 0) {
            return &table->params[i];
        }
    }
    return NULL;
}

static int by_name(const void *a, const void *b) {
    return strcmp((*(const km_param *const *)a)->name, (*(const km_param *const *)b)->name);
}

km_hash km_table_hash(const km_table *table, const float *flat) {
    const km_param **sorted = km_new((size_t)table->count, sizeof *sorted);
    for (int i = 0; i < table->count; i++) {
        sorted[i] = &table->params[i];
    }
    qsort(sorted, (size_t)table->count, sizeof *sorted, by_name);
    km_hasher *hasher = km_hasher_create();
    for (int i = 0; i < table->count; i++) {
        km_hasher_add(hasher, sorted[i]->name, strlen(sorted[i]->name) + 1);
        km_hasher_add(hasher, flat + sorted[i]->offset, sorted[i]->count * sizeof *flat);
    }
    free(sorted);
    return km_hasher_end(hasher);
}

km_status km_table_walk(const km_table *table, size_t first, size_t count, km_overlap *visit, void *payload) {
    int low = 0, high = table->count;
    while (low < high) { /* the first parameter that ends beyond `first` */
        int middle = (low + high) / 2;
        const km_param *p = &table->params[middle];
        if (p->offset + p->count <= first) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    for (; low < table->count && table->params[low].offset < first + count; low++) {
        const km_param *p = &table->params[low];
        size_t begin = KM_MAX(p->offset, first), end = KM_MIN(p->offset + p->count, first + count);
        if (begin < end) {
            KM_TRY(visit(payload, p, begin, end - begin));
        }
    }
    return KM_OK;
}
