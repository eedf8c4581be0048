/* network: one network's tensors in a model file or checkpoint, by the names of its table. */
#include "kmask/modelfile.h"

#include <stdlib.h>
#include <string.h>

/* ---- Names of arrays ---- */

static const char OPTIMIZER[] = "/optimizer/";
static const char *const moments[KM_GROUPS] = {[KM_FIRST_MOMENTS] = "m/", [KM_SECOND_MOMENTS] = "v/"};

static bool is_model(const km_network *network) {
    return strcmp(network->name, KM_MODEL_NETWORK) == 0;
}

/* The name of a tensor's array in a file; the caller frees. */
static char *array_name(const km_network *network, km_group group, const char *tensor) {
    if (group == KM_WEIGHTS) {
        return km_format("/%s/%s", network->name, tensor);
    }
    const bool model = is_model(network);
    return km_format("%s%s%s%s%s", OPTIMIZER, model ? "" : network->name, model ? "" : "/", moments[group], tensor);
}

/* Which moments a text begins with ("m/" or "v/"); KM_WEIGHTS where it begins with neither. */
static km_group moments_at(const char *text) {
    for (km_group group = KM_FIRST_MOMENTS; group < KM_GROUPS; group++) {
        if (strncmp(text, moments[group], strlen(moments[group])) == 0) {
            return group;
        }
    }
    return KM_WEIGHTS;
}

bool km_network_parse(km_network_tensor *out, const char *array) {
    const size_t optimizer = sizeof OPTIMIZER - 1;
    if (array[0] != '/') {
        return false;
    }
    *out = (km_network_tensor){.network = KM_MODEL_NETWORK, .group = KM_WEIGHTS, .tensor = array + 1};
    if (strncmp(array, OPTIMIZER, optimizer) == 0) {
        out->tensor = array + optimizer;
        out->group = moments_at(out->tensor);
    }
    if (out->group == KM_WEIGHTS) { /* the network's name comes first */
        const size_t length = strcspn(out->tensor, "/");
        if (length >= sizeof out->network || out->tensor[length] == '\0') {
            return false;
        }
        snprintf(out->network, sizeof out->network, "%.*s", (int)length, out->tensor);
        out->tensor += length + 1;
        if (strncmp(array, OPTIMIZER, optimizer) != 0) {
            return true;
        }
        out->group = moments_at(out->tensor);
    }
    out->tensor += out->group == KM_WEIGHTS ? 0 : strlen(moments[out->group]);
    return out->group != KM_WEIGHTS;
}

char *km_network_hash_name(const km_network *network) {
    return is_model(network) ? km_strdup("weights_hash") : km_format("%s_weights_hash", network->name);
}

/* ---- Finding and checking ---- */

bool km_array_fits(const km_array *array, const km_param *param) {
    bool fits = array->type == KM_F32 && array->rank == param->rank && array->count == param->count;
    for (int i = 0; fits && i < param->rank; i++) {
        fits = array->dims[i] == param->dims[i];
    }
    return fits;
}

/* Sets *out to the parameter's array; KM_FAILED where it is missing or has another shape. */
static km_status find(const km_array **out, const km_store *store, const km_network *network, km_group group,
                      const km_param *param) {
    char *name = array_name(network, group, param->name);
    const km_array *array = *out = km_store_find(store, name);
    km_status status = KM_OK;
    if (array == NULL) {
        status = km_fail(KM_FAILED, "%s: tensor %s is missing", km_store_path(store), name);
    } else if (!km_array_fits(array, param)) {
        status =
            km_fail(KM_FAILED, "%s: tensor %s: found %s of %llu x %llu, expected float32 of %llu x %llu",
                    km_store_path(store), name, km_dtype_name(array->type), (unsigned long long)array->dims[0],
                    (unsigned long long)(array->rank > 1 ? array->dims[1] : 1), (unsigned long long)param->dims[0],
                    (unsigned long long)(param->rank > 1 ? param->dims[1] : 1));
    }
    free(name);
    return status;
}

km_status km_network_check(const km_store *store, const km_network *network) {
    for (int group = KM_WEIGHTS; group < network->groups; group++) {
        for (int i = 0; i < network->table->count; i++) {
            const km_array *array = NULL;
            KM_TRY(find(&array, store, network, (km_group)group, &network->table->params[i]));
        }
    }
    return KM_OK;
}

/* ---- Reading and writing ---- */

/* A transfer of elements of one group between memory and a file. */
typedef struct transfer {
    const km_store *from;
    km_store *to;
    const km_network *network;
    km_group group;
    size_t first; /* the element of the group's flat array with which the caller's numbers begin */
    const float *data;
    float *out;
} transfer;

static km_status read_overlap(void *payload, const km_param *param, size_t first, size_t count) {
    const transfer *t = payload;
    const km_array *array = NULL;
    KM_TRY(find(&array, t->from, t->network, t->group, param));
    return km_store_read(t->from, array, first - param->offset, count, t->out + (first - t->first));
}

km_status km_network_read(const km_store *store, const km_network *network, km_group group, size_t first,
                          size_t count, float *out) {
    transfer t = {.from = store, .network = network, .group = group, .first = first, .out = out};
    return km_table_walk(network->table, first, count, read_overlap, &t);
}

km_status km_network_add(km_store *store, const km_network *network) {
    for (int group = KM_WEIGHTS; group < network->groups; group++) {
        for (int i = 0; i < network->table->count; i++) {
            const km_param *param = &network->table->params[i];
            char *name = array_name(network, (km_group)group, param->name);
            km_status status = km_store_add(store, name, KM_F32, param->rank, param->dims);
            free(name);
            KM_TRY(status);
        }
    }
    return KM_OK;
}

static km_status write_overlap(void *payload, const km_param *param, size_t first, size_t count) {
    const transfer *t = payload;
    const km_array *array = NULL;
    KM_TRY(find(&array, t->to, t->network, t->group, param));
    return km_store_write(t->to, array, first - param->offset, count, t->data + (first - t->first));
}

km_status km_network_write(km_store *store, const km_network *network, km_group group, size_t first, size_t count,
                           const float *data) {
    transfer t = {.to = store, .network = network, .group = group, .first = first, .data = data};
    return km_table_walk(network->table, first, count, write_overlap, &t);
}

km_status km_weights_read(const km_store *store, const km_table *table, float *weights) {
    const km_network model = {.name = KM_MODEL_NETWORK, .table = table, .groups = 1};
    return km_network_read(store, &model, KM_WEIGHTS, 0, table->size, weights);
}
