/* study: measurements of what masks do. The variance of gradients by policy. */
#ifndef KMASK_STUDY_H
#define KMASK_STUDY_H

#include "kmask/base.h"
#include "kmask/comm.h"

/* ---- Gradient variance -------------------------------------------------------------------------------------------- */

/* Measures what config->variance asks for (Zheng et al. 2020, Theorem 1, Eq. 5, Figures 2 and 3; src/train/variance.h says what
 * exactly). `folder`: where results and finished parts are kept; NULL: nowhere. On rank 0 *out is the result, the
 * caller's; NULL elsewhere. KM_STOPPED after a signal or run.max_hours: call again to go on. The same numbers on any
 * number of ranks and threads. Collective. */
km_status km_variance(km_comm *comm, const km_config *config, const char *folder, km_json **out) KM_NODISCARD;

#endif
