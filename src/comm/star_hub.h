/* Texts by way of rank 0's host, over TCP and before MPI has started: under srun, whose PMIx breaks where a wire is cut. Host and port
 * follow from the step's environment, so nothing need be exchanged first. */
#ifndef KM_STAR_HUB_H
#define KM_STAR_HUB_H

#include "kmask/base.h"

typedef struct km_hub km_hub;

/* This process is a task of a SLURM step, started by srun itself; its number and theirs. */
bool km_hub_step(int *rank, int *size);
/* Rank 0 listens; NULL where it cannot. */
km_hub *km_hub_open(int rank);
void km_hub_close(km_hub *hub); /* NULL is fine */
/* Once; false: rank 0's host did not take it. */
bool km_hub_put(km_hub *hub, int phase, int rank, const char *text);
/* NULL: not there, or not to be had. The caller frees. */
char *km_hub_get(km_hub *hub, int phase, int rank);

#endif
