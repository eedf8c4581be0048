/* state: the list of what a run saves, and loading it from a file. */
#include "state.h"

#include <string.h>

km_state km_run_state(const km_run *run) {
    km_state state = {.count = 1, .earlier_updates = run->trainer != NULL ? run->trainer->earlier_updates : 0};
    state.networks[0] = (km_trained){
        .network = {.name = KM_MODEL_NETWORK, .table = km_model_table(run->model), .groups = KM_GROUPS},
        .parameters = run->trainer != NULL ? run->trainer->parameters : NULL,
    };
    if (run->proposal != NULL) {
        state.networks[state.count++] = (km_trained){
            .network = {.name = KM_PROPOSAL_NETWORK,
                        .table = km_policy_net_table(run->proposal),
                        .groups = KM_GROUPS},
            .parameters = km_trainer_proposal(run->trainer),
        };
    }
    return state;
}

/* ---- Parts ---- */

static int add_parts(km_state_part *out, const km_trained *trained, km_group from, int to, int rank, int ranks) {
    const size_t owned = km_parameters_owned(trained->network.table, rank, ranks);
    int count = 0;
    for (int group = (int)from; group < to; group++) {
        out[count++] = (km_state_part){.trained = trained, .group = (km_group)group, .count = owned};
    }
    return count;
}

int km_state_parts(km_state_part out[KM_STATE_PARTS], const km_state *state, bool weights_only, int rank,
                   int ranks) {
    int count = 0;
    for (int i = 0; i < state->count; i++) {
        count += add_parts(out + count, &state->networks[i], KM_WEIGHTS, KM_FIRST_MOMENTS, rank, ranks);
    }
    for (int i = 0; i < state->count && !weights_only; i++) {
        const km_trained *trained = &state->networks[i];
        count += add_parts(out + count, trained, KM_FIRST_MOMENTS, trained->network.groups, rank, ranks);
    }
    return count;
}

size_t km_state_elements(const km_state *state, bool weights_only, int rank, int ranks) {
    km_state_part parts[KM_STATE_PARTS];
    const int count = km_state_parts(parts, state, weights_only, rank, ranks);
    size_t sum = 0;
    for (int i = 0; i < count; i++) {
        sum += parts[i].count;
    }
    return sum;
}

/* ---- Loading ---- */

/* One group of a network in an open file. */
typedef struct file_group {
    const km_store *store;
    const km_network *network;
    km_group group;
} file_group;

static km_status read_part(void *payload, size_t first, size_t count, float *data) {
    const file_group *from = payload;
    memset(data, 0, count * sizeof *data); /* for the gaps between parameters, which no file has */
    return km_network_read(from->store, from->network, from->group, first, count, data);
}

static km_status load_network(const km_trained *trained, km_comm *comm, const km_store *store) {
    const km_network *network = &trained->network;
    km_parameters *p = trained->parameters;
    const size_t size = network->table->size;
    const bool root = km_comm_rank(comm) == 0;
    KM_TRY(km_comm_agree(comm, root ? km_network_read(store, network, KM_WEIGHTS, 0, size, p->weights) : KM_OK));
    km_comm_broadcast(comm, p->weights, size * sizeof *p->weights);
    float *moments[KM_GROUPS] = {[KM_FIRST_MOMENTS] = p->m, [KM_SECOND_MOMENTS] = p->v};
    for (int group = KM_FIRST_MOMENTS; group < KM_MIN(network->groups, (int)KM_GROUPS); group++) {
        file_group from = {store, network, (km_group)group};
        KM_TRY(km_exchange_distribute(p->exchange, moments[group], read_part, &from));
    }
    return KM_OK;
}

static km_status read_step(int64_t *step, const km_store *store) {
    return km_store_number(store, "step", step)
               ? KM_OK
               : km_fail(KM_FAILED, "%s: no attribute `step`; this is not a checkpoint", km_store_path(store));
}

km_status km_state_load(const km_state *state, int64_t *step, km_comm *comm, const km_store *store) {
    KM_TRY(km_comm_agree(comm, km_comm_rank(comm) == 0 ? read_step(step, store) : KM_OK));
    km_comm_broadcast(comm, step, sizeof *step);
    for (int i = 0; i < state->count; i++) {
        KM_TRY(load_network(&state->networks[i], comm, store));
    }
    return KM_OK;
}

int64_t km_state_earlier_updates(const km_store *store) {
    const int64_t most = INT64_C(1) << 53; /* a file that somebody has changed may hold any number */
    int64_t updates = 0;
    return km_store_number(store, KM_EARLIER_UPDATES, &updates) ? KM_MIN(KM_MAX(updates, 0), most) : 0;
}

km_status km_state_check(const km_state *state, const km_store *store) {
    for (int i = 0; i < state->count; i++) {
        KM_TRY(km_network_check(store, &state->networks[i].network));
    }
    return KM_OK;
}
