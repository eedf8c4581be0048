/* check: what a config, a corpus, a model and a run folder may have wrong, found before the first step by one process, which
 * changes nothing. km_run_setup goes through these on all ranks or on rank 0, km_plan on none: what a plan lets pass,
 * pre-training does too. In this order; each fills in parts of the run. Local. */
#ifndef KMASK_TRAIN_CHECK_H
#define KMASK_TRAIN_CHECK_H

#include "setup.h"

/* Whether this program and this CPU can make the products that are asked for, by the libraries that are asked for, which are
 * chosen here. Not `computes`: products are made elsewhere, on another CPU; what this one lacks is only said. */
km_status km_check_products(const km_config *config, bool computes) KM_NODISCARD;
bool km_is_bf16(const km_config *config); /* train.precision */
/* Who makes a step's products: "OpenBLAS 0.3.21" and "SkylakeX", "oneDNN 2.6.3" and "avx512_core_bf16". */
typedef struct km_gemm_name {
    const char *library, *kernel;
} km_gemm_name;
km_gemm_name km_gemm_named(const km_config *config);
km_status km_check_corpora(km_run *run) KM_NODISCARD;
/* The newest valid checkpoint of the run folder becomes run->source; the damaged ones are named. [HDF5] */
km_status km_check_newest(km_run *run) KM_NODISCARD;
/* The same; where there is none, model.init. Each file is read once: what is opened here is what config and weights come
 * from. [HDF5] */
km_status km_check_origin(km_run *run) KM_NODISCARD;
/* Fills in what comes from files and checks it against them: tokenizer, shape, what may not change on resume. */
km_status km_check_config(km_run *run) KM_NODISCARD;
/* The rows' file lies in the run folder; its name tells what it depends on. Not `make`: one that is there is used, else a
 * nameless one is made elsewhere. */
km_status km_check_rows(km_run *run, bool make) KM_NODISCARD;
/* The loader, and whether there is work for so many ranks. */
km_status km_check_loader(km_run *run, int ranks) KM_NODISCARD;

#endif
