/* weights: tensors of a model file, by the table's names. */
#include "kmask/modelfile.h"

#include <stdlib.h>

static const char *const prefixes[] = {"/model/", "/optimizer/m/", "/optimizer/v/"};

const char *km_group_prefix(int group) {
    return prefixes[group];
}

const km_array *km_group_find(const km_store *store, int group, const km_param *param) {
    char *name = km_format("%s%s", prefixes[group], param->name);
    const km_array *array = km_store_find(store, name);
    free(name);
    return array;
}

km_status km_group_check_shape(const km_array *array, const km_param *param, int group) {
    if (array == NULL) {
        return km_fail(KM_FAILED, "tensor %s%s is missing", prefixes[group], param->name);
    }
    if (array->type != KM_F32 || array->rank != param->rank || array->count != param->count ||
        (param->rank == 2 && array->dims[0] != param->dims[0])) {
        return km_fail(KM_FAILED, "tensor %s: found %s of %llu x %llu, expected float32 of %llu x %llu",
                       array->name, km_dtype_name(array->type), (unsigned long long)array->dims[0],
                       (unsigned long long)(array->rank > 1 ? array->dims[1] : 1),
                       (unsigned long long)param->dims[0],
                       (unsigned long long)(param->rank > 1 ? param->dims[1] : 1));
    }
    return KM_OK;
}

km_status km_weights_check(const km_store *store, const km_table *table, bool moments) {
    for (int group = 0; group < (moments ? KM_GROUPS : 1); group++) {
        for (int i = 0; i < table->count; i++) {
            km_status status =
                km_group_check_shape(km_group_find(store, group, &table->params[i]), &table->params[i], group);
            if (status != KM_OK) {
                return km_context(status, "%s", km_store_path(store));
            }
        }
    }
    return KM_OK;
}

km_status km_weights_read(const km_store *store, const km_table *table, float *weights) {
    for (int i = 0; i < table->count; i++) {
        const km_param *p = &table->params[i];
        const km_array *array = km_group_find(store, KM_WEIGHTS, p);
        km_status status = km_group_check_shape(array, p, KM_WEIGHTS);
        if (status == KM_OK) {
            status = km_store_read(store, array, 0, p->count, weights + p->offset);
        }
        if (status != KM_OK) {
            return km_context(status, "%s", km_store_path(store));
        }
    }
    return KM_OK;
}
