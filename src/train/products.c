/* products: which library multiplies, and whether this machine can do what the config asks for. */
#include "kmask/train.h"

#include <string.h>

km_status km_threads_check(int64_t threads) {
    if (threads > 1 && !km_kernel_concurrent()) {
        return km_fail(
            KM_USAGE,
            "parallel.threads: found %lld, but this OpenBLAS is the serial build, whose products two threads "
            "must not call at once. Install the pthread build (Debian: libopenblas0-pthread), or use more "
            "ranks with one thread each.",
            (long long)threads);
    }
    return KM_OK;
}

bool km_is_bf16(const km_train_config *train) {
    return strcmp(train->precision, "bf16") == 0;
}

km_gemm_name km_gemm_named(const km_train_config *train, const km_parallel_config *parallel) {
    const bool onednn = km_is_bf16(train) || strcmp(parallel->gemm, "onednn") == 0;
    return onednn && km_kernel_onednn() != NULL ? (km_gemm_name){km_kernel_onednn(), km_kernel_isa()}
                                                : (km_gemm_name){km_kernel_blas(), km_kernel_core()};
}

km_status km_bf16_check(const char *key, bool computes) {
    switch (km_bf16_supported()) {
    case KM_BF16_NOT_BUILT:
        return km_fail(KM_USAGE,
                       "%s: found bf16, but this kmask was built without oneDNN, or with one whose "
                       "threads cannot be turned off. Install it (Debian: libdnnl-dev), configure with "
                       "-DKMASK_ONEDNN=ON and build again; or train in fp32.",
                       key);
    case KM_BF16_NO_CPU:
        if (computes) {
            return km_fail(KM_USAGE,
                           "%s: found bf16, but oneDNN cannot multiply in bf16 on this CPU, which has no "
                           "AVX-512. Use nodes with AVX512_BF16 or AMX, or train in fp32.",
                           key);
        }
        km_warn("%s: this node's CPU cannot multiply in bf16; those of the compute nodes must", key);
        return KM_OK;
    case KM_BF16_SLOW:
        km_warn("%s: this CPU has neither AVX512_BF16 nor AMX: it computes in bf16, but no faster than "
                "in fp32, and to other bits than CPUs that have",
                key);
        return KM_OK;
    default:
        return KM_OK;
    }
}

km_status km_products_check(const char *key, const km_train_config *train, const km_parallel_config *parallel,
                            bool computes) {
    if (!km_kernel_use(parallel->gemm)) {
        return km_fail(KM_USAGE,
                       "parallel.gemm: found onednn, but this kmask was built without oneDNN, or with one whose "
                       "threads cannot be turned off. Install it (Debian: libdnnl-dev), configure with "
                       "-DKMASK_ONEDNN=ON and build again; or leave the key out.");
    }
    return km_is_bf16(train) ? km_bf16_check(key, computes) : KM_OK;
}
