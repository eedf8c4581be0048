/* Linear layers of few rows, as a decoder has them that makes one token at a time. OpenBLAS first copies the weights into an order of its
 * own, which takes longer than to multiply few rows with them. Here they are read as they lie, four outputs at a time, and once
 * from memory for all rows. */
#include "kmask/kernel.h"

#include "vector.h"

enum { ROWS = 4, OUTPUTS = 4 };

/* The sums of the lanes in a fixed order. */
KM_INLINE float sum_of(const km_vector *x) {
    float sums[KM_LANES];
    memcpy(sums, x, sizeof sums);
    for (int half = KM_LANES / 2; half > 0; half /= 2) {
        for (int i = 0; i < half; i++) {
            sums[i] += sums[i + half];
        }
    }
    return sums[0];
}

/* y[r ldy + o] = x[r ldx] . w[o ldw] + b[o] for `rows` rows and `outputs` outputs, which are constants where it is called. */
KM_INLINE void multiply_block(float *y, const float *x, const float *w, const float *b, size_t ldy, int I, int rows,
                              int outputs) {
    const size_t ld = (size_t)I;
    const int whole = I / KM_LANES * KM_LANES;
    km_vector sums[ROWS][OUTPUTS] = {{{0}}};
    for (int i = 0; i < whole; i += KM_LANES) {
        km_vector weights[OUTPUTS];
        for (int o = 0; o < outputs; o++) {
            weights[o] = KM_VECTOR_FROM(w + (size_t)o * ld + i);
            __builtin_prefetch(w + (size_t)(o + OUTPUTS) * ld +
                               i); /* of the next outputs; behind the end it does nothing */
        }
        for (int r = 0; r < rows; r++) {
            const km_vector own = KM_VECTOR_FROM(x + (size_t)r * ld + i);
            for (int o = 0; o < outputs; o++) {
                sums[r][o] += own * weights[o];
            }
        }
    }
    for (int r = 0; r < rows; r++) {
        for (int o = 0; o < outputs; o++) {
            float sum = sum_of(&sums[r][o]) + (b != NULL ? b[o] : 0.0f);
            for (int i = whole; i < I; i++) {
                sum += x[(size_t)r * ld + (size_t)i] * w[(size_t)o * ld + (size_t)i];
            }
            y[(size_t)r * ldy + (size_t)o] = sum;
        }
    }
}

/* All rows with `outputs` rows of w. */
KM_INLINE void multiply_rows(float *y, const float *x, const float *w, const float *b, int N, int I, size_t ldy,
                             int outputs) {
    int n = 0;
    for (; n + ROWS <= N; n += ROWS) {
        multiply_block(y + (size_t)n * ldy, x + (size_t)n * (size_t)I, w, b, ldy, I, ROWS, outputs);
    }
    for (; n < N; n++) {
        multiply_block(y + (size_t)n * ldy, x + (size_t)n * (size_t)I, w, b, ldy, I, 1, outputs);
    }
}

KM_SIMD void km_linear_few_forward(float *y, const float *x, const float *w, const float *b, int N, int I, int O) {
    const size_t ldy = (size_t)O;
    int o = 0;
    for (; o + OUTPUTS <= O; o += OUTPUTS) {
        multiply_rows(y + o, x, w + (size_t)o * (size_t)I, b != NULL ? b + o : NULL, N, I, ldy, OUTPUTS);
    }
    for (; o < O; o++) {
        multiply_rows(y + o, x, w + (size_t)o * (size_t)I, b != NULL ? b + o : NULL, N, I, ldy, 1);
    }
}
