/* The table: what the flat array of weights holds, under the field's own names. Placement runs twice: once to
 * count, once to write. */
#include "architecture.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 16, TABLE_BLOCK = 4096 }; /* elements */

static size_t round_up(size_t n, size_t unit) {
    return (n + unit - 1) / unit * unit;
}

/* ---- Adding parts ------------------------------------------------------------------------------------------- */

/* Right behind the last one. */
static size_t append(km_table *t, km_start start, bool trained, int rows, int columns, const char *format,
                     va_list list) {
    size_t offset = t->size;
    size_t count = (size_t)rows * (size_t)KM_MAX(columns, 1);
    if (t->params != NULL) {
        km_param *param = &t->params[t->count];
        *param = (km_param){.rank = columns > 0 ? 2 : 1,
                            .dims = {(uint64_t)rows, (uint64_t)columns},
                            .offset = offset,
                            .count = count,
                            .decay = start == KM_START_NORMAL,
                            .trained = trained,
                            .start = start};
        vsnprintf(param->name, sizeof param->name, format, list);
    }
    t->count++;
    t->size += count;
    t->elements += trained ? count : 0;
    return offset;
}

size_t km_table_add(km_table *t, km_start start, int rows, int columns, const char *format, ...) {
    va_list list;
    va_start(list, format);
    t->size = round_up(t->size, ALIGN);
    size_t offset = append(t, start, true, rows, columns, format, list);
    va_end(list);
    return offset;
}

size_t km_table_add_adjacent(km_table *t, km_start start, int rows, int columns, const char *format, ...) {
    va_list list;
    va_start(list, format);
    size_t offset = append(t, start, true, rows, columns, format, list);
    va_end(list);
    return offset;
}

size_t km_table_add_buffer(km_table *t, int rows, int columns, const char *format, ...) {
    va_list list;
    va_start(list, format);
    t->size = round_up(t->size, ALIGN);
    size_t offset = append(t, KM_START_ZERO, false, rows, columns, format, list);
    va_end(list);
    return offset;
}

km_dense km_table_add_dense(km_table *t, int in, int out, const char *prefix) {
    km_dense dense = {.in = in, .out = out};
    dense.w = km_table_add(t, KM_START_NORMAL, out, in, "%s.weight", prefix);
    dense.b = km_table_add(t, KM_START_ZERO, out, 0, "%s.bias", prefix);
    return dense;
}

km_norm km_table_add_norm(km_table *t, int C, const char *prefix) {
    km_norm norm;
    norm.w = km_table_add(t, KM_START_ONE, C, 0, "%s.weight", prefix);
    norm.b = km_table_add(t, KM_START_ZERO, C, 0, "%s.bias", prefix);
    return norm;
}

void km_table_end(km_table *t) {
    t->size = round_up(t->size, TABLE_BLOCK);
}

static void place(km_model *m, km_param *params) {
    km_table *table = &m->table;
    *table = (km_table){.params = params};
    m->architecture->place(m, table);
    m->head_offset = round_up(table->size, ALIGN);
    m->head->kind->place(m, table);
    km_table_end(table);
}

void km_table_build(km_model *model) {
    place(model, NULL);
    place(model, km_new((size_t)model->table.count, sizeof(km_param)));
}

/* ---- Reading it --------------------------------------------------------------------------------------------- */

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
