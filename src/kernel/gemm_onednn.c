/* Matrix products by oneDNN, on the calling thread. If the build has not found oneDNN, these functions only report that.
 *
 * Products of bf16 are matmul primitives whose sizes and strides are given when they run. A primitive for fixed shapes takes
 * 0.3 ms to make, and as micro-batches differ in their number of rows, nearly every one would need new ones. On plain
 * row-major operands both kinds are equally fast (measured with 2.6.3 on Zen 5, the three products in BERT-base's shapes: 460
 * to 515 GFLOP/s). */
#include "gemm.h"

#include "kmask/base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if KM_ONEDNN

#include <dlfcn.h>

#include <dnnl.h>

/* ---- Threads, version and instruction set --------------------------------------------------------------------- */

/* oneDNN uses as many threads as OpenMP's setting for the calling thread says, so every thread sets 1 for itself. The
 * function is looked up in the OpenMP runtime that oneDNN was linked with. */
static void stay_on_this_thread(void) {
    typedef void set_threads(int);
    static _Thread_local bool done;
    if (!done) {
        void *symbol = dlsym(RTLD_DEFAULT, "omp_set_num_threads");
        if (symbol != NULL) {
            set_threads *set = NULL;
            memcpy(&set, &symbol, sizeof set);
            set(1);
        }
        done = true;
    }
}

bool km_onednn_usable(void) {
    const unsigned runtime = dnnl_version()->cpu_runtime;
    return runtime == DNNL_RUNTIME_OMP || runtime == DNNL_RUNTIME_SEQ;
}

const char *km_kernel_onednn(void) {
    static char name[64];
    const dnnl_version_t *v = dnnl_version();
    snprintf(name, sizeof name, "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
    return name;
}

const char *km_kernel_isa(void) {
    static char other[32];
    const int isa = (int)dnnl_get_effective_cpu_isa();
    static const struct {
        int isa;
        const char *name;
    } names[] = {{dnnl_cpu_isa_sse41, "sse41"},
                 {dnnl_cpu_isa_avx, "avx"},
                 {dnnl_cpu_isa_avx2, "avx2"},
                 {dnnl_cpu_isa_avx2_vnni, "avx2_vnni"},
                 {dnnl_cpu_isa_avx512_core, "avx512_core"},
                 {dnnl_cpu_isa_avx512_core_vnni, "avx512_core_vnni"},
                 {dnnl_cpu_isa_avx512_core_bf16, "avx512_core_bf16"},
                 {dnnl_cpu_isa_avx512_core_amx, "avx512_core_amx"}};
    for (size_t i = 0; i < KM_COUNT(names); i++) {
        if (names[i].isa == isa) {
            return names[i].name;
        }
    }
    snprintf(other, sizeof other, "isa 0x%x", (unsigned)isa);
    return other;
}

/* ---- Floats ------------------------------------------------------------------------------------------------- */

/* Stops the program if a call has failed. The shapes are kmask's own and valid, so only memory can be missing. */
static void expect(dnnl_status_t status, const char *what) {
    if (status != dnnl_success) {
        fprintf(stderr, "kmask: oneDNN: %s failed with its status %d%s\n", what, (int)status,
                status == dnnl_out_of_memory ? ", out of memory. Ask for more memory a process." : "");
        _Exit(KM_FAILED);
    }
}

void km_gemm_onednn(const km_matrix *a, const km_matrix *b, float *out, int ldo, int rows, int columns, int inner,
                    bool add) {
    stay_on_this_thread();
    expect(dnnl_sgemm(a->transposed ? 'T' : 'N', b->transposed ? 'T' : 'N', rows, columns, inner, 1.0f, a->at,
                      a->ld, b->at, b->ld, add ? 1.0f : 0.0f, out, ldo),
           "a product of floats");
}

/* ---- bf16 --------------------------------------------------------------------------------------------------- */

/* What becomes of a product; each kind needs a primitive of its own. */
enum { TO_FLOATS, TO_SUM, TO_BF16, TO_BIASED_FLOATS, TO_BIASED_BF16, RESULTS };
enum { PRODUCTS = 3 };

struct km_bf16_gemm {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_t primitives[PRODUCTS][RESULTS]; /* each made when it is first needed */
};

/* How a matrix lies in memory. In oneDNN 2 such a description is a value, in oneDNN 3 a pointer. */
typedef dnnl_memory_desc_t shape;

#if DNNL_VERSION_MAJOR >= 3
static dnnl_status_t describe_strides(shape *out, const dnnl_dims_t dims, dnnl_data_type_t type,
                                      const dnnl_dims_t strides) {
    return dnnl_memory_desc_create_with_strides(out, 2, dims, type, strides);
}

static void release_shape(shape *s) {
    if (*s != NULL) {
        (void)dnnl_memory_desc_destroy(*s);
    }
}

static dnnl_status_t describe_product(dnnl_primitive_desc_t *out, dnnl_engine_t engine, const shape of[4],
                                      bool biased, dnnl_primitive_attr_t attributes) {
    return dnnl_matmul_primitive_desc_create(out, engine, of[0], of[1], biased ? of[3] : NULL, of[2], attributes);
}

static dnnl_status_t point_to(dnnl_memory_t *out, const shape *s, dnnl_engine_t engine, void *at) {
    return dnnl_memory_create(out, *s, engine, at);
}

static dnnl_status_t append_sum(dnnl_post_ops_t after) {
    return dnnl_post_ops_append_sum(after, 1.0f, 0, dnnl_data_type_undef);
}
#else
static dnnl_status_t describe_strides(shape *out, const dnnl_dims_t dims, dnnl_data_type_t type,
                                      const dnnl_dims_t strides) {
    return dnnl_memory_desc_init_by_strides(out, 2, dims, type, strides);
}

static void release_shape(shape *s) {
    (void)s;
}

static dnnl_status_t describe_product(dnnl_primitive_desc_t *out, dnnl_engine_t engine, const shape of[4],
                                      bool biased, dnnl_primitive_attr_t attributes) {
    dnnl_matmul_desc_t matmul;
    dnnl_status_t status = dnnl_matmul_desc_init(&matmul, &of[0], &of[1], biased ? &of[3] : NULL, &of[2]);
    return status == dnnl_success ? dnnl_primitive_desc_create(out, &matmul, attributes, engine, NULL) : status;
}

static dnnl_status_t point_to(dnnl_memory_t *out, const shape *s, dnnl_engine_t engine, void *at) {
    return dnnl_memory_create(out, s, engine, at);
}

static dnnl_status_t append_sum(dnnl_post_ops_t after) {
    return dnnl_post_ops_append_sum(after, 1.0f);
}
#endif

/* Describes the operand (rows,columns) of a product; with `transposed` its transpose lies in memory. With 0 rows, the sizes
 * are given when the primitive runs. */
static dnnl_status_t describe(shape *out, dnnl_data_type_t type, int rows, int columns, int ld, bool transposed) {
    const dnnl_dim_t later = DNNL_RUNTIME_DIM_VAL;
    const dnnl_dims_t dims = {rows > 0 ? rows : later, rows > 0 ? columns : later};
    const dnnl_dim_t step = rows > 0 ? ld : later;
    const dnnl_dims_t strides = {transposed ? 1 : step, transposed ? step : 1};
    return describe_strides(out, dims, type, strides);
}

/* Describes a row of biases. With 0 columns, their number is given when the primitive runs. */
static dnnl_status_t describe_bias(shape *out, int columns) {
    const dnnl_dim_t count = columns > 0 ? columns : DNNL_RUNTIME_DIM_VAL;
    const dnnl_dims_t dims = {1, count}, strides = {count, 1};
    return describe_strides(out, dims, dnnl_f32, strides);
}

static dnnl_data_type_t type_of(int result) {
    return result == TO_BF16 || result == TO_BIASED_BF16 ? dnnl_bf16 : dnnl_f32;
}

static bool has_bias(int result) {
    return result == TO_BIASED_FLOATS || result == TO_BIASED_BF16;
}

/* Makes a primitive add its product to what is in the result. */
static dnnl_status_t add_to_result(dnnl_primitive_attr_t attributes) {
    dnnl_post_ops_t after = NULL;
    dnnl_status_t status = dnnl_post_ops_create(&after);
    status = status == dnnl_success ? append_sum(after) : status;
    status = status == dnnl_success ? dnnl_primitive_attr_set_post_ops(attributes, after) : status;
    (void)dnnl_post_ops_destroy(after);
    return status;
}

static dnnl_status_t make_of(dnnl_primitive_t *out, km_bf16_gemm *g, int product, int result,
                             dnnl_primitive_attr_t attributes) {
    shape of[4];
    dnnl_primitive_desc_t kind = NULL;
    memset(of, 0, sizeof of);
    dnnl_status_t status = describe(&of[0], dnnl_bf16, 0, 0, 0, product == KM_BF16_BACKWARD_WEIGHT);
    status = status == dnnl_success ? describe(&of[1], dnnl_bf16, 0, 0, 0, product == KM_BF16_FORWARD) : status;
    status = status == dnnl_success ? describe(&of[2], type_of(result), 0, 0, 0, false) : status;
    status = status == dnnl_success ? describe_bias(&of[3], 0) : status;
    status = status == dnnl_success && result == TO_SUM ? add_to_result(attributes) : status;
    status = status == dnnl_success ? describe_product(&kind, g->engine, of, has_bias(result), attributes) : status;
    status = status == dnnl_success ? dnnl_primitive_create(out, kind) : status;
    if (kind != NULL) {
        (void)dnnl_primitive_desc_destroy(kind);
    }
    for (size_t i = 0; i < KM_COUNT(of); i++) {
        release_shape(&of[i]);
    }
    return status;
}

static dnnl_status_t make(dnnl_primitive_t *out, km_bf16_gemm *g, int product, int result) {
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_status_t status = dnnl_primitive_attr_create(&attributes);
    status = status == dnnl_success ? make_of(out, g, product, result, attributes) : status;
    (void)dnnl_primitive_attr_destroy(attributes);
    return status;
}

km_bf16_gemm *km_bf16_gemm_create(void) {
    if (!km_onednn_usable()) {
        return NULL;
    }
    stay_on_this_thread();
    km_bf16_gemm *g = km_new(1, sizeof *g);
    if (dnnl_engine_create(&g->engine, dnnl_cpu, 0) != dnnl_success ||
        dnnl_stream_create(&g->stream, g->engine, dnnl_stream_default_flags) != dnnl_success ||
        make(&g->primitives[KM_BF16_FORWARD][TO_FLOATS], g, KM_BF16_FORWARD, TO_FLOATS) != dnnl_success) {
        km_bf16_gemm_destroy(g);
        return NULL;
    }
    return g;
}

void km_bf16_gemm_destroy(km_bf16_gemm *g) {
    if (g == NULL) {
        return;
    }
    for (int i = 0; i < PRODUCTS * RESULTS; i++) {
        if (g->primitives[i / RESULTS][i % RESULTS] != NULL) {
            (void)dnnl_primitive_destroy(g->primitives[i / RESULTS][i % RESULTS]);
        }
    }
    if (g->stream != NULL) {
        (void)dnnl_stream_destroy(g->stream);
    }
    if (g->engine != NULL) {
        (void)dnnl_engine_destroy(g->engine);
    }
    free(g);
}

km_bf16_support km_bf16_supported(void) {
    if (!km_onednn_usable()) {
        return KM_BF16_NOT_BUILT;
    }
    km_bf16_gemm *g = km_bf16_gemm_create();
    if (g == NULL) {
        return KM_BF16_NO_CPU;
    }
    km_bf16_gemm_destroy(g);
    const unsigned isa = (unsigned)dnnl_get_effective_cpu_isa(), full = dnnl_cpu_isa_avx512_core_bf16;
    return (isa & full) == full ? KM_BF16_FULL : KM_BF16_SLOW;
}

/* An argument of a primitive: the matrix at `at`. */
static dnnl_exec_arg_t argument(int name, const shape *of, dnnl_engine_t engine, const void *at) {
    dnnl_exec_arg_t arg = {.arg = name};
    expect(point_to(&arg.memory, of, engine, (void *)(uintptr_t)at), "describing a matrix");
    return arg;
}

static int result_of(const km_bf16_result *out, const float *bias) {
    if (out->add) {
        return TO_SUM;
    }
    if (out->floats != NULL) {
        return bias != NULL ? TO_BIASED_FLOATS : TO_FLOATS;
    }
    return bias != NULL ? TO_BIASED_BF16 : TO_BF16;
}

void km_gemm_bf16(km_bf16_gemm *g, km_bf16_product product, const km_bf16 *a, int lda, const km_bf16 *b, int ldb,
                  const float *bias, const km_bf16_result *out, int rows, int columns, int inner) {
    if (rows == 0 || columns == 0) {
        return;
    }
    stay_on_this_thread();
    const int result = result_of(out, bias);
    dnnl_primitive_t *primitive = &g->primitives[product][result];
    if (*primitive == NULL) {
        expect(make(primitive, g, (int)product, result), "making a product of bf16 numbers");
    }
    shape shapes[4];
    expect(describe(&shapes[0], dnnl_bf16, rows, inner, lda, product == KM_BF16_BACKWARD_WEIGHT), "a shape");
    expect(describe(&shapes[1], dnnl_bf16, inner, columns, ldb, product == KM_BF16_FORWARD), "a shape");
    expect(describe(&shapes[2], type_of(result), rows, columns, out->ld, false), "a shape");
    expect(describe_bias(&shapes[3], columns), "a shape");
    const void *to = out->floats != NULL ? (const void *)out->floats : out->rounded;
    const dnnl_exec_arg_t args[] = {
        argument(DNNL_ARG_SRC, &shapes[0], g->engine, a), argument(DNNL_ARG_WEIGHTS, &shapes[1], g->engine, b),
        argument(DNNL_ARG_DST, &shapes[2], g->engine, to), argument(DNNL_ARG_BIAS, &shapes[3], g->engine, bias)};
    const int count = has_bias(result) ? 4 : 3;
    expect(dnnl_primitive_execute(*primitive, g->stream, count, args), "a product of bf16 numbers");
    expect(dnnl_stream_wait(g->stream), "a product of bf16 numbers");
    for (size_t i = 0; i < KM_COUNT(args); i++) {
        (void)dnnl_memory_destroy(args[i].memory);
        release_shape(&shapes[i]);
    }
}

#else

bool km_onednn_usable(void) {
    return false;
}

const char *km_kernel_onednn(void) {
    return NULL;
}

const char *km_kernel_isa(void) {
    return NULL;
}

void km_gemm_onednn(const km_matrix *a, const km_matrix *b, float *out, int ldo, int rows, int columns, int inner,
                    bool add) {
    km_gemm_openblas(a, b, out, ldo, rows, columns, inner, add); /* km_kernel_use never chooses it */
}

km_bf16_support km_bf16_supported(void) {
    return KM_BF16_NOT_BUILT;
}

km_bf16_gemm *km_bf16_gemm_create(void) {
    return NULL;
}

void km_bf16_gemm_destroy(km_bf16_gemm *gemm) {
    (void)gemm;
}

/* Never called: without oneDNN there is no km_bf16_gemm. */
void km_gemm_bf16(km_bf16_gemm *gemm, km_bf16_product product, const km_bf16 *a, int lda, const km_bf16 *b, int ldb,
                  const float *bias, const km_bf16_result *out, int rows, int columns, int inner) {
    (void)gemm, (void)product, (void)a, (void)lda, (void)b, (void)ldb, (void)bias, (void)out;
    (void)rows, (void)columns, (void)inner;
    fprintf(stderr, "kmask: a product in bf16 without oneDNN\n");
    abort();
}

#endif
