/* Private to data/: how the units of a mask are drawn by their scores, one after the other, and what each is then worth. */
#ifndef KMASK_DATA_PROPOSAL_H
#define KMASK_DATA_PROPOSAL_H

#include "kmask/data.h"

/* The units of a row while masks are drawn from them. */
typedef struct km_proposal {
    int count;      /* n */
    int left;       /* units that are not taken */
    double *odds;   /* (n) exp(sharpness * score), the largest being 1 */
    uint8_t *taken; /* (n) */
    double uniform; /* share of a draw that is uniform */
} km_proposal;

/* Draws one of the units that are left, and takes it. *ratio: the probability that a uniform draw would have taken it, divided by that of
 * this draw. */
int km_proposal_draw(km_proposal *proposal, km_rng *rng, double *ratio);

#endif
