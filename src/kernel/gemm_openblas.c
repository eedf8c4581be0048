/* Matrix products by OpenBLAS on the calling thread, and which of its kernels suits this CPU. */
#include "gemm.h"

#include "simd.h"

#include <strings.h>

#include <cblas.h>
#undef I /* cblas.h includes complex.h, which defines it */

void km_kernel_start(void) {
    openblas_set_num_threads(1);
}

bool km_kernel_concurrent(void) {
    return openblas_get_parallel() != OPENBLAS_SEQUENTIAL;
}

static bool is_one_of(const char *name, const char *const *names) {
    while (*names != NULL && strcasecmp(name, *names) != 0) {
        names++;
    }
    return *names != NULL;
}

/* The widest instruction set of this CPU among those that KM_SIMD functions are compiled for. */
static const char *cpu_class(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl")) {
        return "avx512";
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        return "avx2";
    }
#endif
    return "generic";
}

const char *km_kernel_vector(void) {
#if KM_CLONES
    return cpu_class();
#elif defined(__AVX512F__)
    return "avx512";
#elif defined(__AVX2__)
    return "avx2";
#else
    return "generic";
#endif
}

const char *km_kernel_better_core(void) {
    /* OpenBLAS kernels that use AVX-512, and those that use AVX2 or more. */
    static const char *const wide[] = {"SkylakeX", "Cooperlake", "SapphireRapids", NULL};
    static const char *const narrow[] = {"Haswell",        "Zen",       "SkylakeX", "Cooperlake",
                                         "SapphireRapids", "Excavator", NULL};
    const char *core = openblas_get_corename(), *class = cpu_class();
    if (strcmp(class, "avx512") == 0 && !is_one_of(core, wide)) {
        return "SkylakeX";
    }
    return strcmp(class, "avx2") == 0 && !is_one_of(core, narrow) ? "Haswell" : NULL;
}

const char *km_kernel_core(void) {
    return openblas_get_corename();
}

/* The first two words of OpenBLAS's description, "OpenBLAS 0.3.21 NO_LAPACKE ...". */
const char *km_kernel_blas(void) {
    static char name[64];
    const char *config = openblas_get_config();
    size_t length = 0;
    for (int words = 0; config[length] != '\0' && length + 1 < sizeof name; length++) {
        words += config[length] == ' ';
        if (words == 2) {
            break;
        }
    }
    memcpy(name, config, length);
    name[length] = '\0';
    return name;
}

void km_gemm_openblas(const km_matrix *a, const km_matrix *b, float *out, int ldo, int rows, int columns, int inner,
                      bool add) {
    cblas_sgemm(CblasRowMajor, a->transposed ? CblasTrans : CblasNoTrans, b->transposed ? CblasTrans : CblasNoTrans,
                rows, columns, inner, 1.0f, a->at, a->ld, b->at, b->ld, add ? 1.0f : 0.0f, out, ldo);
}
