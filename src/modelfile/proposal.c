/* proposal: the network that proposes masks, as a checkpoint or snapshot has it beside its model. */
#include "kmask/modelfile.h"

#include <stdlib.h>

static int dim_of(const km_store *store, const char *tensor, int dim) {
    char *name = km_format("/" KM_PROPOSAL_NETWORK "/%s", tensor);
    const km_array *array = km_store_find(store, name);
    free(name);
    return array != NULL && array->rank == 2 ? (int)KM_MIN(array->dims[dim], (uint64_t)INT32_MAX) : 0;
}

/* Sizes that do not fit each other are found when the tensors are compared with the table. */
static km_status read_network(km_policy_net **net, float **weights, const km_store *store) {
    km_policy_shape shape = {.kind = KM_POLICY_PROPOSAL,
                             .V = dim_of(store, "embed.weight", 0),
                             .C = dim_of(store, "embed.weight", 1),
                             .H = dim_of(store, "conv.weight", 0),
                             .M = dim_of(store, "linear1.weight", 0)};
    shape.K = shape.C > 0 ? dim_of(store, "conv.weight", 1) / shape.C : 0;
    km_status status = km_policy_net_create(net, &shape);
    if (status != KM_OK) {
        return km_context(KM_FAILED, "%s: the network that proposes masks", km_store_path(store));
    }
    const km_network network = {.name = KM_PROPOSAL_NETWORK, .table = km_policy_net_table(*net), .groups = 1};
    KM_TRY(km_network_check(store, &network));
    KM_TRY(
        km_allocate((void **)weights, network.table->size * sizeof **weights, "the network that proposes masks"));
    return km_network_read(store, &network, KM_WEIGHTS, 0, network.table->size, *weights);
}

km_status km_proposal_open(km_policy_net **net, float **weights, const char *path) {
    *net = NULL;
    *weights = NULL;
    if (km_import_is_folder(path)) {
        return KM_OK;
    }
    char *file = km_bundle_file_of(path);
    km_store *store = NULL;
    km_status status = km_store_open(&store, file);
    free(file);
    KM_TRY(status);
    if (km_store_find(store, "/" KM_PROPOSAL_NETWORK "/embed.weight") != NULL) {
        status = read_network(net, weights, store);
    }
    km_store_close(store);
    if (status != KM_OK) {
        km_policy_net_destroy(*net);
        free(*weights);
        *net = NULL;
        *weights = NULL;
    }
    return status;
}
