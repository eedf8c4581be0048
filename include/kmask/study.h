/* study: measurements of masks: the variance of gradients under different policies, and what the policies hide. */
#ifndef KMASK_STUDY_H
#define KMASK_STUDY_H

#include "kmask/base.h"
#include "kmask/comm.h"
#include "kmask/run.h"

/* ---- Gradient variance -------------------------------------------------------------------------------------------- */

typedef struct km_variance_config {
    uint64_t given;
    km_texts model;                   /* model files, checkpoints, folders, or "fresh" for initial weights */
    km_texts params, policies, units; /* params: patterns of parameters' names */
    km_numbers rows, splits, distances;
    int64_t draws; /* 0: not given */
    bool exhaustive, dropout;
} km_variance_config;
extern const km_section km_variance_section;

/* The config of `kmask variance`: the config of a run, of which only corpus and model are required, and what is to be measured. */
typedef struct km_variance_input {
    /* Mask.policy, mask.unit and mask.splits are the first of the lists in `variance` where these are given. */
    km_config config;
    km_variance_config variance;
} km_variance_input;
extern const km_schema km_variance_schema;
/* Reads the config and checks all of it. Every failure is KM_USAGE. */
km_status km_variance_load(km_variance_input *out, const km_config_source *source) KM_NODISCARD;

/* Measures what input->variance asks for (Zheng et al. 2020, Theorem 1, Eq. 5, Figures 2 and 3; src/study/variance.h says what
 * exactly). `folder`: where results and finished parts are kept; NULL: nowhere. On rank 0 *out is the result, the
 * caller's; NULL elsewhere. KM_STOPPED after a signal or run.max_hours: call again to go on. The same numbers on any
 * number of ranks and threads. Collective. */
km_status km_variance(km_comm *comm, const km_variance_input *input, const char *folder,
                      km_json **out) KM_NODISCARD;

/* ---- What policies hide ------------------------------------------------------------------------------------------- */

typedef struct km_census_config {
    uint64_t given;
    km_texts policies; /* none: mask.policy */
    double share;      /* of the rows */
    int64_t draws;     /* visits of a row, for policies without a closed form */
} km_census_config;
extern const km_section km_census_section;

/* The config of `kmask masks`: the config of a run, of which only the corpus is required, and what is to be counted. */
typedef struct km_census_input {
    km_config config;
    km_census_config masks;
    char path[KM_PATH]; /* of the config, to tell several apart; km_census_load leaves it alone */
} km_census_input;
extern const km_schema km_census_schema;
/* Reads the config and checks all of it. Every failure is KM_USAGE. */
km_status km_census_load(km_census_input *out, const km_config_source *source) KM_NODISCARD;

/* Counts what each policy of each config hides: shares of tags, and how often each token is hidden against how often it occurs (Ye et
 * al. 2021, section 5.3, Figures 3 and 4; src/study/census.h says what exactly). `folder`: where masks.json, masks.h5 and the
 * indexes of rows are kept; NULL: nowhere. On rank 0 *out is the result, the caller's; NULL elsewhere. The same numbers on any
 * number of ranks. Collective. */
km_status km_census(km_comm *comm, const km_census_input *inputs, int count, const char *folder,
                    km_json **out) KM_NODISCARD;

#endif
