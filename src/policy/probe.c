/* probe: `kmask policy probe` reads its input, and writes what a policy makes of it. */
#include "probe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST_BYTES ((size_t)1 << 30)

/* ---- Rows of numbers ---- */

static km_status take_numbers(double *out, int room, int *count, const km_json *list, const char *key,
                              const char *path) {
    for (const km_json *item = km_json_first(list); item != NULL; item = km_json_next(item), ++*count) {
        if (out != NULL && *count < room && !km_json_number(&out[*count], item)) {
            return km_fail(KM_FAILED, "%s: %s: found something that is no number", path, key);
        }
    }
    return KM_OK;
}

static km_status take_row(double *out, int room, int *count, const km_json *row, int depth, const char *key,
                          const char *path) {
    *count = 0;
    if (!km_json_is_array(row)) {
        return km_fail(KM_FAILED, "%s: %s: expected a list of rows, each a list", path, key);
    }
    if (depth == 2) {
        return take_numbers(out, room, count, row, key, path);
    }
    for (const km_json *inner = km_json_first(row); inner != NULL; inner = km_json_next(inner)) {
        KM_TRY(take_numbers(out, room, count, inner, key, path));
    }
    return KM_OK;
}

km_status km_grid_read(km_grid *out, const km_json *json, const char *key, int depth, double pad,
                       const char *path) {
    const km_json *list = km_json_get(json, key);
    *out = (km_grid){0};
    if (!km_json_is_array(list) || km_json_size(list) == 0 || km_json_size(list) > 1 << 20) {
        return km_fail(KM_FAILED, "%s: %s: %s, expected a list of rows", path, key,
                       list == NULL ? "missing" : "not a list, or of no rows");
    }
    out->rows = (int)km_json_size(list);
    out->lengths = km_new((size_t)out->rows, sizeof *out->lengths);
    int r = 0;
    for (const km_json *row = km_json_first(list); row != NULL; row = km_json_next(row), r++) {
        KM_TRY(take_row(NULL, 0, &out->lengths[r], row, depth, key, path));
        out->length = KM_MAX(out->length, out->lengths[r]);
    }
    const size_t count = (size_t)out->rows * (size_t)out->length;
    out->values = km_new(KM_MAX(count, (size_t)1), sizeof *out->values);
    for (size_t i = 0; i < count; i++) {
        out->values[i] = pad;
    }
    r = 0;
    for (const km_json *row = km_json_first(list); row != NULL; row = km_json_next(row), r++) {
        int found = 0;
        KM_TRY(take_row(out->values + (size_t)r * (size_t)out->length, out->length, &found, row, depth, key, path));
    }
    return KM_OK;
}

void km_grid_free(km_grid *grid) {
    free(grid->values);
    free(grid->lengths);
    *grid = (km_grid){0};
}

km_status km_probe_stream_make(km_probe_stream *out, const km_grid *ids, const int *lengths, int V, const char *key,
                               const char *path) {
    const size_t count = (size_t)ids->rows * (size_t)ids->length;
    *out = (km_probe_stream){.starts = km_new((size_t)ids->rows + 1, sizeof *out->starts),
                             .ids = km_new(KM_MAX(count, (size_t)1), sizeof *out->ids),
                             .keys = km_new(KM_MAX(count, (size_t)1), sizeof *out->keys)};
    int n = 0;
    for (int r = 0; r < ids->rows; r++) {
        for (int t = 0; t < lengths[r]; t++) {
            const double id = ids->values[(size_t)r * (size_t)ids->length + (size_t)t];
            if (!(id >= 0 && id < V && id == floor(id))) {
                return km_fail(KM_FAILED, "%s: %s: row %d, position %d: found %.10g, expected an id from 0 to %d",
                               path, key, r, t, id, V - 1);
            }
            out->ids[n] = (int32_t)id;
            out->keys[n++] = (uint64_t)r * 65536 + (uint64_t)t;
        }
        out->starts[r + 1] = n;
        out->stream.longest = KM_MAX(out->stream.longest, lengths[r]);
    }
    out->stream.tokens = n;
    out->stream.starts = out->starts;
    out->stream.ids = out->ids;
    out->stream.keys = out->keys;
    return KM_OK;
}

void km_probe_stream_free(km_probe_stream *stream) {
    free(stream->starts);
    free(stream->ids);
    free(stream->keys);
    *stream = (km_probe_stream){0};
}

/* ---- Gradients ---- */

static void add_slice(void *payload, size_t offset, const float *gradient, size_t count) {
    double *sum = ((km_gradient_double *)payload)->sum + offset;
    for (size_t i = 0; i < count; i++) {
        sum[i] += (double)gradient[i];
    }
}

static void slices_done(void *payload, size_t offset) {
    (void)payload, (void)offset;
}

km_sink km_gradient_double_sink(km_gradient_double *gradient) {
    return (km_sink){.payload = gradient, .ready = add_slice, .done = slices_done};
}

/* ---- The file ---- */

void km_probe_add(km_probe_file *file, const char *name, int rank, const uint64_t *dims, const double *values) {
    file->items = km_grow(file->items, (size_t)file->count + 1, sizeof *file->items);
    struct km_probe_array *array = &file->items[file->count++];
    size_t count = 1;
    *array = (struct km_probe_array){.rank = rank};
    snprintf(array->name, sizeof array->name, "%s", name);
    for (int i = 0; i < rank; i++) {
        array->dims[i] = dims[i];
        count *= (size_t)dims[i];
    }
    array->values = km_new(KM_MAX(count, (size_t)1), sizeof *array->values);
    for (size_t i = 0; i < count; i++) {
        array->values[i] = (float)values[i];
    }
}

void km_probe_add_gradient(km_probe_file *file, const km_policy_net *net, const double *gradient, double scale) {
    const km_table *table = km_policy_net_table(net);
    const km_policy_shape *shape = km_policy_net_shape(net);
    for (int i = 0; i < table->count; i++) {
        const km_param *param = &table->params[i];
        const bool conv = strcmp(param->name, "conv.weight") == 0;
        const uint64_t cube[3] = {(uint64_t)shape->H, (uint64_t)shape->C, (uint64_t)shape->K};
        char name[144];
        double *values = km_new(param->count, sizeof *values);
        for (size_t e = 0; e < param->count; e++) {
            values[e] = gradient[param->offset + e] * scale;
        }
        snprintf(name, sizeof name, "/grad/%s", param->name);
        km_probe_add(file, name, conv ? 3 : param->rank, conv ? cube : param->dims, values);
        free(values);
    }
}

static km_status fill_file(km_store *store, const km_probe_file *file) {
    KM_TRY(km_store_set_text(store, "kind", "probe"));
    KM_TRY(km_store_set_text(store, "created_by", "kmask " KM_VERSION));
    for (int i = 0; i < file->count; i++) {
        KM_TRY(km_store_add(store, file->items[i].name, KM_F32, file->items[i].rank, file->items[i].dims));
    }
    KM_TRY(km_store_layout(store));
    for (int i = 0; i < file->count; i++) {
        const km_array *array = km_store_find(store, file->items[i].name);
        KM_TRY(km_store_write(store, array, 0, array->count, file->items[i].values));
    }
    return KM_OK;
}

km_status km_probe_write(const km_probe_file *file, const char *path) {
    km_store *store = NULL;
    KM_TRY(km_store_create_out(&store, path, NULL));
    km_status status = fill_file(store, file);
    if (status != KM_OK) {
        km_store_abandon(store);
        return status;
    }
    return km_store_commit(store);
}

void km_probe_free(km_probe_file *file) {
    for (int i = 0; i < file->count; i++) {
        free(file->items[i].values);
    }
    free(file->items);
    *file = (km_probe_file){0};
}

/* ---- All of it ---- */

static km_status probe(km_comm *comm, const km_policy *policy, km_policy_kind kind, const char *model,
                       const char *input, const char *output) {
    km_json *json = NULL;
    km_probe_file file = {0};
    const km_policy_kind found = km_policy_net_shape(policy->net)->kind;
    if (found != kind) {
        return km_fail(KM_USAGE, "--kind: found %s, but the file holds a policy of kind %s",
                       km_policy_kind_name(kind), km_policy_kind_name(found));
    }
    KM_TRY(km_json_load(&json, input, MOST_BYTES));
    km_status status = kind == KM_POLICY_SUPERVISED ? km_probe_supervised(policy, json, input, &file)
                                                    : km_probe_meta(comm, policy, model, json, input, &file);
    km_json_destroy(json);
    status = status == KM_OK ? km_probe_write(&file, output) : status;
    km_probe_free(&file);
    return status;
}

km_status km_policy_probe(km_comm *comm, const char *net, km_policy_kind kind, const char *model, const char *input,
                          const char *output) {
    km_policy *policy = NULL;
    KM_TRY(km_out_check(output));
    KM_TRY(km_policy_open(&policy, net));
    km_status status = probe(comm, policy, kind, model, input, output);
    km_policy_close(policy);
    return status;
}
