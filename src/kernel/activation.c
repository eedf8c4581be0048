/* Activations of the feed-forward part, with the dropout behind them: GELU in both forms, ReLU. */
#include "bf16.h"
#include "dropout.h"

enum { STRETCH = KM_DROPOUT_STRETCH };

/* ---- Of one element ------------------------------------------------------------------------------------------ */

/* The tanh form (Hendrycks and Gimpel 2016), 0.5 x (1 + tanh(u)), is x sigmoid(2u): 2 sqrt(2/pi) and the cubic
 * coefficient. */
#define TANH_SCALE 1.595769122f
#define TANH_CUBE 0.044715f
#define FAR 1e3f                    /* the derivative is 0 or 1 long before, and v * v does not overflow */
#define NORMAL_DENSITY 0.398942280f /* 1/sqrt(2 pi) */

KM_INLINE float gelu_erf(float x) {
    return x * km_normal(x).cdf;
}

KM_INLINE float gelu_tanh(float x) {
    return x * km_sigmoid(TANH_SCALE * (x + TANH_CUBE * x * x * x)).s;
}

/* NaN stays NaN. */
KM_INLINE float relu(float x) {
    return x < 0.0f ? 0.0f : x;
}

KM_INLINE float gelu_erf_slope(float x) {
    const km_normal_pair at = km_normal(x);
    return at.cdf + x * NORMAL_DENSITY * at.bell;
}

KM_INLINE float gelu_tanh_slope(float x) {
    const float v = x > FAR ? FAR : x < -FAR ? -FAR : x;
    const km_sigmoid_pair at = km_sigmoid(TANH_SCALE * (v + TANH_CUBE * v * v * v));
    return at.s + v * at.s * at.rest * TANH_SCALE * (1.0f + 3.0f * TANH_CUBE * v * v);
}

/* 0 at 0, as PyTorch has it. */
KM_INLINE float relu_slope(float x) {
    return x > 0.0f ? 1.0f : 0.0f;
}

/* `kind` is a constant where these are inlined. */
KM_INLINE float value_of(float x, const km_activation kind) {
    return kind == KM_GELU_ERF ? gelu_erf(x) : kind == KM_GELU_TANH ? gelu_tanh(x) : relu(x);
}

KM_INLINE float slope_of(float x, const km_activation kind) {
    return kind == KM_GELU_ERF ? gelu_erf_slope(x) : kind == KM_GELU_TANH ? gelu_tanh_slope(x) : relu_slope(x);
}

/* ---- Floats --------------------------------------------------------------------------------------------------- */

/* What all of them are called with; only what a pass needs is set. */
typedef struct task {
    float *y, *x;
    const float *b;
    float *dx;
    const float *dy;
    km_bf16 *y_bf16, *dx_bf16;
    const km_bf16 *x_bf16, *dy_bf16;
    const km_dropout *dropout; /* NULL: none */
    const uint64_t *keys;
    int N, C;
} task;

KM_INLINE void forward(const task *t, const km_activation kind) {
    for (int n = 0; n < t->N; n++) {
        float *in = t->x + (size_t)n * (size_t)t->C, *out = t->y + (size_t)n * (size_t)t->C;
        if (t->b != NULL) {
            for (int c = 0; c < t->C; c++) {
                in[c] += t->b[c];
            }
        }
        for (int c = 0; c < t->C; c++) {
            out[c] = value_of(in[c], kind);
        }
        if (t->dropout != NULL) {
            km_dropout_row(out, out, t->dropout, t->keys[n], 0, t->C);
        }
    }
}

KM_INLINE void backward(const task *t, const km_activation kind) {
    for (int n = 0; n < t->N; n++) {
        const size_t at = (size_t)n * (size_t)t->C;
        const float *dy = t->dy + at, *x = t->x + at;
        float *dx = t->dx + at;
        if (t->dropout != NULL) {
            km_dropout_row(dx, dy, t->dropout, t->keys[n], 0, t->C);
            dy = dx;
        }
        for (int c = 0; c < t->C; c++) {
            dx[c] = dy[c] * slope_of(x[c], kind);
        }
    }
}

/* ---- bf16 ----------------------------------------------------------------------------------------------------- */

/* factors (STRETCH) of elements first.. of row n. */
KM_INLINE void factors_of(float *factors, const task *t, int n, int first, int count) {
    const km_dropout_rule rule = km_dropout_rule_of(t->dropout->p);
    uint16_t numbers[STRETCH];
    km_dropout_numbers(numbers, t->dropout, t->keys[n], (uint32_t)first);
    for (int i = 0; i < count; i++) {
        factors[i] = km_dropout_factor(numbers[i], rule);
    }
}

KM_INLINE void forward_bf16(const task *t, const km_activation kind) {
    float values[STRETCH], factors[STRETCH];
    for (int n = 0; n < t->N; n++) {
        for (int first = 0; first < t->C; first += STRETCH) {
            const size_t at = (size_t)n * (size_t)t->C + (size_t)first;
            const int count = t->C - first < STRETCH ? t->C - first : STRETCH;
            for (int i = 0; i < count; i++) {
                values[i] = value_of(km_float_of(t->x_bf16[at + (size_t)i]), kind);
            }
            if (t->dropout != NULL) {
                factors_of(factors, t, n, first, count);
                for (int i = 0; i < count; i++) {
                    values[i] *= factors[i];
                }
            }
            km_bf16_row(t->y_bf16 + at, values, (size_t)count);
        }
    }
}

/* Slopes apart from what they are multiplied with: clang does not vectorize both in one loop. */
KM_INLINE void backward_bf16(const task *t, const km_activation kind) {
    float slopes[STRETCH], factors[STRETCH];
    for (int n = 0; n < t->N; n++) {
        for (int first = 0; first < t->C; first += STRETCH) {
            const size_t at = (size_t)n * (size_t)t->C + (size_t)first;
            const int count = t->C - first < STRETCH ? t->C - first : STRETCH;
            const km_bf16 *x = t->x_bf16 + at, *dy = t->dy_bf16 + at;
            km_bf16 *dx = t->dx_bf16 + at;
            for (int i = 0; i < count; i++) {
                slopes[i] = slope_of(km_float_of(x[i]), kind);
            }
            if (t->dropout != NULL) {
                factors_of(factors, t, n, first, count);
                for (int i = 0; i < count; i++) {
                    slopes[i] *= factors[i];
                }
            }
#pragma omp simd /* dx may be dy */
            for (int i = 0; i < count; i++) {
                dx[i] = km_bf16_of(km_float_of(dy[i]) * slopes[i]);
            }
        }
    }
}

/* ---- Each for every class of CPU ------------------------------------------------------------------------------ */

typedef void pass(const task *t);

#define FOR_EACH_KIND(name)                                                                                        \
    KM_SIMD static void name##_erf(const task *t) {                                                                \
        name(t, KM_GELU_ERF);                                                                                      \
    }                                                                                                              \
    KM_SIMD static void name##_tanh(const task *t) {                                                               \
        name(t, KM_GELU_TANH);                                                                                     \
    }                                                                                                              \
    KM_SIMD static void name##_relu(const task *t) {                                                               \
        name(t, KM_RELU);                                                                                          \
    }                                                                                                              \
    static pass *const name##_of[] = {                                                                             \
        [KM_GELU_ERF] = name##_erf, [KM_GELU_TANH] = name##_tanh, [KM_RELU] = name##_relu}
FOR_EACH_KIND(forward);
FOR_EACH_KIND(backward);
FOR_EACH_KIND(forward_bf16);
FOR_EACH_KIND(backward_bf16);

static const km_dropout *wanted(const km_dropout *dropout) {
    return dropout != NULL && dropout->p > 0 ? dropout : NULL;
}

void km_activation_forward(float *y, float *x, const float *b, km_activation kind, const km_dropout *dropout,
                           const uint64_t *keys, int N, int C) {
    forward_of[kind](&(task){.y = y, .x = x, .b = b, .dropout = wanted(dropout), .keys = keys, .N = N, .C = C});
}

void km_activation_backward(float *dx, const float *dy, const float *x, km_activation kind,
                            const km_dropout *dropout, const uint64_t *keys, int N, int C) {
    backward_of[kind](&(task){.dx = dx,
                              .dy = dy,
                              .x = (float *)(uintptr_t)x, /* read only */
                              .dropout = wanted(dropout),
                              .keys = keys,
                              .N = N,
                              .C = C});
}

void km_activation_forward_bf16(km_bf16 *y, const km_bf16 *x, km_activation kind, const km_dropout *dropout,
                                const uint64_t *keys, int N, int C) {
    forward_bf16_of[kind](
        &(task){.y_bf16 = y, .x_bf16 = x, .dropout = wanted(dropout), .keys = keys, .N = N, .C = C});
}

void km_activation_backward_bf16(km_bf16 *dx, const km_bf16 *dy, const km_bf16 *x, km_activation kind,
                                 const km_dropout *dropout, const uint64_t *keys, int N, int C) {
    backward_bf16_of[kind](&(task){
        .dx_bf16 = dx, .dy_bf16 = dy, .x_bf16 = x, .dropout = wanted(dropout), .keys = keys, .N = N, .C = C});
}
