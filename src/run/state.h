/* state: what a run saves, and what it is resumed from. It is listed once, in km_run_state; saving, loading, checking and
 * planning walk that list. */
#ifndef KMASK_RUN_STATE_H
#define KMASK_RUN_STATE_H

#include "kmask/run.h"

#define KM_EARLIER_UPDATES "earlier_updates" /* the attribute of a checkpoint */

enum { KM_NETWORKS = 4, KM_STATE_PARTS = KM_NETWORKS * KM_GROUPS };

/* A network that the run trains. */
typedef struct km_trained {
    km_network network;        /* what a checkpoint holds of it */
    km_parameters *parameters; /* NULL before there is a trainer, as in a plan */
} km_trained;
/* All networks that the run trains, the model first. */
typedef struct km_state {
    km_trained networks[KM_NETWORKS];
    int count;
    int64_t earlier_updates; /* km_trainer.earlier_updates */
} km_state;

/* Lists the networks of the run. The tables belong to the run's model, the parameters to its trainer, if there is one yet.
 * Local. */
km_state km_run_state(const km_run *run);

/* One group of one network: the elements of it that a rank owns. Parts are copied, sent and written in this order: the weights
 * of all networks, then their moments, so that the parts of a snapshot are the first parts of a checkpoint. */
typedef struct km_state_part {
    const km_trained *trained;
    km_group group;
    size_t count; /* elements of the rank */
} km_state_part;
/* Lists the parts and returns how many there are. Local. */
int km_state_parts(km_state_part out[KM_STATE_PARTS], const km_state *state, bool weights_only, int rank,
                   int ranks);
size_t km_state_elements(const km_state *state, bool weights_only, int rank, int ranks); /* of all parts */

/* Reads all weights and moments from an open file of the same networks, whatever number of ranks wrote it, and sets *step to the
 * step that they were saved after. `store` is used on rank 0 only. Collective. */
km_status km_state_load(const km_state *state, int64_t *step, km_comm *comm, const km_store *store) KM_NODISCARD;
/* The updates that the moments of an open checkpoint had before step 0 of its run. Local. */
int64_t km_state_earlier_updates(const km_store *store);
/* Whether the file holds all arrays of the state, in the same shapes. Local. */
km_status km_state_check(const km_state *state, const km_store *store) KM_NODISCARD;

#endif
