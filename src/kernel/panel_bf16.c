/* Products of bf16 matrices in panels. As in panel.c, a tile of 6 x 64 or 12 x 32 floats stays in the registers of AVX-512
 * during the loop over the inner dimension. */
#include "panel_bf16.h"

#include "bf16.h"
#include "vector.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* The arguments of km_pairs_product. */
typedef struct task {
    float *out;
    size_t ldo;
    const km_bf16_pair *a, *b;
    size_t row, step;
    int rows, columns;
    size_t inner, depth;
    bool add;
} task;

/* ---- With AVX512_BF16's instruction for dot products --------------------------------------------------------- */

#if defined(__x86_64__)
#define DOT __attribute__((__target__("avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512bf16,avx2,fma,bmi,bmi2")))
#define DOT_INLINE DOT static inline __attribute__((__always_inline__))

static bool has_dot(void) {
    return km_has_avx512() && __builtin_cpu_supports("avx512bf16");
}

enum { TALL = 12, HIGH = 6 }; /* rows of a tile that is two vectors wide, and of one that is four wide */

/* Computes a tile of R rows and NV vectors. Both are constants once this is inlined, so the compiler keeps `sum` in
 * registers. */
DOT_INLINE void tile(const task *t, float *out, const km_bf16_pair *a, size_t row, size_t step,
                     const km_bf16_pair *b, const int R, const int NV) {
    __m512 sum[TALL][4];
#pragma GCC unroll 12
    for (int r = 0; r < R; r++) {
#pragma GCC unroll 4
        for (int j = 0; j < NV; j++) {
            sum[r][j] = t->add ? _mm512_loadu_ps(out + (size_t)r * t->ldo + KM_LANES * j) : _mm512_setzero_ps();
        }
    }
    for (size_t k = 0; k < t->inner; k++) {
        __m512bh right[4];
#pragma GCC unroll 4
        for (int j = 0; j < NV; j++) {
            right[j] = (__m512bh)_mm512_loadu_si512(b + KM_LANES * j);
        }
#pragma GCC unroll 12
        for (int r = 0; r < R; r++) {
            const __m512bh left = (__m512bh)_mm512_set1_epi32((int)a[(size_t)r * row]);
#pragma GCC unroll 4
            for (int j = 0; j < NV; j++) {
                sum[r][j] = _mm512_dpbf16_ps(sum[r][j], left, right[j]);
            }
        }
        a += step;
        b += KM_LANES * NV;
    }
#pragma GCC unroll 12
    for (int r = 0; r < R; r++) {
#pragma GCC unroll 4
        for (int j = 0; j < NV; j++) {
            _mm512_storeu_ps(out + (size_t)r * t->ldo + KM_LANES * j, sum[r][j]);
        }
    }
}

/* Computes all rows of one panel. The last rows, fewer than a tile has, get a tile of their own height. */
DOT_INLINE void panel(const task *t, float *out, size_t row, size_t step, const km_bf16_pair *b, const int NV) {
    const int most = NV == 2 ? TALL : HIGH;
    const km_bf16_pair *a = t->a;
    int rest = t->rows;
    for (; rest >= most; rest -= most) {
        tile(t, out, a, row, step, b, most, NV);
        out += (size_t)most * t->ldo;
        a += (size_t)most * row;
    }
    if (rest >= HIGH) {
        tile(t, out, a, row, step, b, HIGH, NV);
        out += HIGH * t->ldo;
        a += HIGH * row;
        rest -= HIGH;
    }
#define REST(n)                                                                                                    \
    case n:                                                                                                        \
        tile(t, out, a, row, step, b, n, NV);                                                                      \
        break
    switch (rest) {
        REST(5);
        REST(4);
        REST(3);
        REST(2);
        REST(1);
    default:
        break;
    }
#undef REST
}

/* The caller passes the constant 1 for one of row and step, so that each case is compiled by itself. */
DOT_INLINE void panels(const task *t, size_t row, size_t step) {
    const size_t width = km_panel_width(t->columns);
    for (size_t first = 0; first < width; first += KM_PANEL) {
        const km_bf16_pair *b = t->b + first * t->depth;
        if (width - first < KM_PANEL) {
            panel(t, t->out + first, row, step, b, 2);
        } else {
            panel(t, t->out + first, row, step, b, 4);
        }
    }
}

DOT static void along_rows(const task *t) {
    panels(t, t->row, 1);
}
DOT static void down_columns(const task *t) {
    panels(t, 1, t->step);
}
#endif

/* ---- With float instructions --------------------------------------------------------------------------------- */

KM_INLINE float lower(km_bf16_pair pair) {
    return km_from_bits(pair << 16);
}
KM_INLINE float upper(km_bf16_pair pair) {
    return km_from_bits(pair & 0xFFFF0000u);
}

KM_SIMD static void with_floats(const task *t) {
    const size_t width = km_panel_width(t->columns);
    for (size_t first = 0; first < width; first += KM_PANEL) {
        const size_t wide = width - first < KM_PANEL ? width - first : KM_PANEL;
        for (size_t r = 0; r < (size_t)t->rows; r++) {
            const km_bf16_pair *b = t->b + first * t->depth;
            float *out = t->out + r * t->ldo + first, sum[KM_PANEL];
            for (size_t c = 0; c < wide; c++) {
                sum[c] = t->add ? out[c] : 0.0f;
            }
            for (size_t k = 0; k < t->inner; k++, b += wide) {
                const km_bf16_pair left = t->a[r * t->row + k * t->step];
                const float low = lower(left), high = upper(left);
                for (size_t c = 0; c < wide; c++) {
                    sum[c] += low * lower(b[c]) + high * upper(b[c]);
                }
            }
            memcpy(out, sum, wide * sizeof *out);
        }
    }
}

void km_pairs_product(float *out, size_t ldo, const km_bf16_pair *a, size_t row, size_t step, const km_bf16_pair *b,
                      size_t depth, int rows, size_t inner, int columns, bool add) {
    const task t = {out, ldo, a, b, row, step, rows, columns, inner, depth, add};
#if defined(__x86_64__)
    if (has_dot()) {
        (step == 1 ? along_rows : down_columns)(&t);
        return;
    }
#endif
    with_floats(&t);
}

/* ---- Packing ------------------------------------------------------------------------------------------------ */

/* Makes `own` pairs of the numbers of two rows, and zeros up to `wide`. */
KM_SIMD static void interleave(km_bf16_pair *to, const km_bf16 *low, const km_bf16 *high, size_t own, size_t wide) {
    for (size_t c = 0; c < own; c++) {
        to[c] = low[c] | (km_bf16_pair)high[c] << 16;
    }
    for (size_t c = own; c < wide; c++) {
        to[c] = 0;
    }
}

void km_pairs_copy(km_bf16_pair *b, const km_bf16 *x, size_t ld, int rows, int columns) {
    static const km_bf16 none[KM_PANEL];
    const size_t width = km_panel_width(columns), count = (size_t)columns;
    for (size_t first = 0; first < width; first += KM_PANEL) {
        const size_t wide = width - first < KM_PANEL ? width - first : KM_PANEL;
        const size_t own = count - first < wide ? count - first : wide;
        for (int i = 0; i < rows; i += 2, b += wide) {
            const km_bf16 *low = x + (size_t)i * ld + first;
            interleave(b, low, i + 1 < rows ? low + ld : none, own, wide);
        }
    }
}

void km_pairs_transpose(km_bf16_pair *b, const km_bf16 *x, size_t ld, int rows, int columns) {
    const size_t inner = km_pairs(columns), width = km_panel_width(rows);
    if (columns % 2 == 0 && ld % 2 == 0 &&
        (uintptr_t)x % sizeof *b == 0) { /* the numbers are pairs already, which are transposed like floats */
        km_panel_transpose((float *)(void *)b, (const float *)(const void *)x, ld / 2, rows, columns / 2);
        return;
    }
    memset(b, 0, inner * width * sizeof *b);
    for (size_t i = 0; i < (size_t)rows; i++) {
        const size_t first = i / KM_PANEL * KM_PANEL, wide = width - first < KM_PANEL ? width - first : KM_PANEL;
        for (size_t k = 0; k < (size_t)columns; k++) {
            b[first * inner + k / 2 * wide + (i - first)] |= (km_bf16_pair)x[i * ld + k] << (k % 2 == 0 ? 0 : 16);
        }
    }
}

void km_pairs_along(km_bf16_pair *a, size_t lda, const km_bf16 *x, size_t ld, int rows, int columns) {
    for (size_t r = 0; r < (size_t)rows; r++) {
        a[r * lda + km_pairs(columns) - 1] = 0;
        memcpy(a + r * lda, x + r * ld, (size_t)columns * sizeof *x);
    }
}

KM_SIMD void km_pairs_along_floats(km_bf16_pair *a, size_t lda, const float *x, size_t ld, int rows, int columns) {
    for (size_t r = 0; r < (size_t)rows; r++) {
        km_bf16 *to = (km_bf16 *)(void *)(a + r * lda);
        a[r * lda + km_pairs(columns) - 1] = 0;
        km_bf16_row(to, x + r * ld, (size_t)columns);
    }
}

KM_SIMD void km_pairs_down_floats(km_bf16_pair *a, size_t lda, const float *x, size_t ld, int rows, int columns) {
    for (int r = 0; r < rows; r += 2, a += lda) {
        const float *low = x + (size_t)r * ld, *high = low + ld;
        for (int c = 0; c < columns && r + 1 < rows; c++) {
            a[c] = km_bf16_of(low[c]) | (km_bf16_pair)km_bf16_of(high[c]) << 16;
        }
        for (int c = 0; c < columns && r + 1 == rows; c++) {
            a[c] = km_bf16_of(low[c]);
        }
    }
}
