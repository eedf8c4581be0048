/* Products of matrices in panels. A tile of the result stays in registers during the loop over the inner dimension: 6 x 64 or
 * 12 x 32 floats in the 32 registers of AVX-512, 6 x 16 in the 16 registers of AVX2. */
#include "panel.h"

#include "vector.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { TALL = 12, HIGH = 6 }; /* rows of a tile that is two vectors wide, and of any other tile */

/* ---- A tile ------------------------------------------------------------------------------------------------- */

/* Computes a tile of R rows and NV vectors. Both are constants once this is inlined, so the compiler keeps `sum` in
 * registers. */
KM_INLINE void tile(float *out, size_t ldo, const float *a, size_t row, size_t step, const float *b, size_t ldb,
                    int inner, bool add, const int R, const int NV) {
    km_vector sum[TALL][4];
#pragma GCC unroll 12
    for (int r = 0; r < R; r++) {
#pragma GCC unroll 4
        for (int j = 0; j < NV; j++) {
            sum[r][j] = (km_vector){0};
            if (add) {
                sum[r][j] = KM_VECTOR_FROM(out + (size_t)r * ldo + KM_LANES * j);
            }
        }
    }
    for (int k = 0; k < inner; k++) {
        km_vector right[4];
#pragma GCC unroll 4
        for (int j = 0; j < NV; j++) {
            right[j] = KM_VECTOR_FROM(b + KM_LANES * j);
        }
#pragma GCC unroll 12
        for (int r = 0; r < R; r++) {
            const float left = a[(size_t)r * row];
#pragma GCC unroll 4
            for (int j = 0; j < NV; j++) {
                sum[r][j] += left * right[j];
            }
        }
        a += step;
        b += ldb;
    }
#pragma GCC unroll 12
    for (int r = 0; r < R; r++) {
#pragma GCC unroll 4
        for (int j = 0; j < NV; j++) {
            KM_VECTOR_AT(out + (size_t)r * ldo + KM_LANES * j) = sum[r][j];
        }
    }
}

/* Computes all rows of one strip of NV vectors. The last rows, fewer than a tile has, get a tile of their own height. */
KM_INLINE void strip(float *out, size_t ldo, const float *a, size_t row, size_t step, const float *b, size_t ldb,
                     int rows, int inner, bool add, const int NV) {
    const int most = NV == 2 ? TALL : HIGH;
    int i = 0;
    for (; i + most <= rows; i += most) {
        tile(out + (size_t)i * ldo, ldo, a + (size_t)i * row, row, step, b, ldb, inner, add, most, NV);
    }
    if (rows - i >= HIGH) {
        tile(out + (size_t)i * ldo, ldo, a + (size_t)i * row, row, step, b, ldb, inner, add, HIGH, NV);
        i += HIGH;
    }
#define REST(n)                                                                                                    \
    case n:                                                                                                        \
        tile(out + (size_t)i * ldo, ldo, a + (size_t)i * row, row, step, b, ldb, inner, add, n, NV);               \
        break
    switch (rows - i) {
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

/* The arguments of km_panel_product. */
typedef struct task {
    float *out;
    size_t ldo;
    const float *a, *b;
    size_t row, step;
    int depth, rows, inner, columns;
    bool add;
} task;

/* Cuts every panel into strips of at most `widest` vectors. The caller passes the constant 1 for one of row and step, so that
 * each case is compiled by itself. */
KM_INLINE void strips(const task *t, size_t row, size_t step, const int widest) {
    const int width = (int)km_panel_width(t->columns);
    for (int first = 0; first < width; first += KM_PANEL) {
        const int wide = width - first < KM_PANEL ? width - first : KM_PANEL, vectors = wide / KM_LANES;
        const float *panel = t->b + (size_t)first * (size_t)t->depth;
        for (int v = 0; v < vectors; v += widest < vectors ? widest : vectors) {
            float *out = t->out + first + KM_LANES * v;
            const float *b = panel + KM_LANES * v;
            if (widest == 1) {
                strip(out, t->ldo, t->a, row, step, b, (size_t)wide, t->rows, t->inner, t->add, 1);
            } else if (vectors == 2) {
                strip(out, t->ldo, t->a, row, step, b, 32, t->rows, t->inner, t->add, 2);
            } else {
                strip(out, t->ldo, t->a, row, step, b, 64, t->rows, t->inner, t->add, 4);
            }
        }
    }
}

/* ---- For each instruction set -------------------------------------------------------------------------------- */

#if defined(__x86_64__)
KM_AVX512 static void along_rows_avx512(const task *t) {
    strips(t, t->row, 1, 4);
}
KM_AVX512 static void down_columns_avx512(const task *t) {
    strips(t, 1, t->step, 4);
}
#endif

KM_SIMD static void along_rows(const task *t) {
    strips(t, t->row, 1, 1);
}
KM_SIMD static void down_columns(const task *t) {
    strips(t, 1, t->step, 1);
}

void km_panel_product(float *out, size_t ldo, const float *a, size_t row, size_t step, const float *b, int depth,
                      int rows, int inner, int columns, bool add) {
    const task t = {out, ldo, a, b, row, step, depth, rows, inner, columns, add};
#if defined(__x86_64__)
    if (km_has_avx512()) {
        (step == 1 ? along_rows_avx512 : down_columns_avx512)(&t);
        return;
    }
#endif
    (step == 1 ? along_rows : down_columns)(&t);
}

/* ---- Packing ------------------------------------------------------------------------------------------------ */

void km_panel_copy(float *b, const float *x, size_t ld, int rows, int columns) {
    const size_t width = km_panel_width(columns), count = (size_t)columns;
    for (size_t first = 0; first < width; first += KM_PANEL) {
        const size_t wide = width - first < KM_PANEL ? width - first : KM_PANEL;
        const size_t own = count - first < wide ? count - first : wide;
        for (int i = 0; i < rows; i++) {
            memcpy(b, x + (size_t)i * ld + first, own * sizeof *b);
            memset(b + own, 0, (wide - own) * sizeof *b);
            b += wide;
        }
    }
}

/* to (columns, wide) = x (rows,columns)^T, with zeros from column `rows` on. */
KM_SIMD static void transpose(float *to, const float *x, size_t ld, size_t wide, int rows, int columns) {
    for (int k = 0; k < columns; k++) {
        float *row = to + (size_t)k * wide;
        for (int i = 0; i < rows; i++) {
            row[i] = x[(size_t)i * ld + (size_t)k];
        }
        for (size_t i = (size_t)rows; i < wide; i++) {
            row[i] = 0;
        }
    }
}

#if defined(__x86_64__)
/* Transposes a square of 16 x 16: interleaves pairs of rows, then groups of four, then exchanges quarters of registers. */
KM_AVX512 static inline void transpose_square(float *to, size_t wide, const float *x, size_t ld) {
    __m512 a[16], b[16];
    for (int i = 0; i < 16; i++) {
        a[i] = _mm512_loadu_ps(x + (size_t)i * ld);
    }
    for (int i = 0; i < 16; i += 2) {
        b[i] = _mm512_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_ps(a[i], a[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) { /* makes a[i + c] columns c, c + 4, c + 8 and c + 12 of rows i..i+3 */
        for (int c = 0; c < 4; c++) {
            const __m512d first = _mm512_castps_pd(b[i + c / 2]), second = _mm512_castps_pd(b[i + 2 + c / 2]);
            a[i + c] = _mm512_castpd_ps(c % 2 == 0 ? _mm512_unpacklo_pd(first, second)
                                                   : _mm512_unpackhi_pd(first, second));
        }
    }
    for (int c = 0; c < 4; c++) {
        const __m512 low01 = _mm512_shuffle_f32x4(a[c], a[4 + c], 0x88),
                     low23 = _mm512_shuffle_f32x4(a[8 + c], a[12 + c], 0x88);
        const __m512 high01 = _mm512_shuffle_f32x4(a[c], a[4 + c], 0xDD),
                     high23 = _mm512_shuffle_f32x4(a[8 + c], a[12 + c], 0xDD);
        _mm512_storeu_ps(to + (size_t)c * wide, _mm512_shuffle_f32x4(low01, low23, 0x88));
        _mm512_storeu_ps(to + (size_t)(c + 4) * wide, _mm512_shuffle_f32x4(high01, high23, 0x88));
        _mm512_storeu_ps(to + (size_t)(c + 8) * wide, _mm512_shuffle_f32x4(low01, low23, 0xDD));
        _mm512_storeu_ps(to + (size_t)(c + 12) * wide, _mm512_shuffle_f32x4(high01, high23, 0xDD));
    }
}

KM_AVX512 static void transpose_squares(float *to, const float *x, size_t ld, size_t wide, int rows, int columns) {
    for (int k = 0; k < columns; k += KM_LANES) {
        for (int i = 0; i < rows; i += KM_LANES) {
            transpose_square(to + (size_t)k * wide + i, wide, x + (size_t)i * ld + k, ld);
        }
    }
}
#endif

static void transpose_panel(float *to, const float *x, size_t ld, int wide, int rows, int columns) {
#if defined(__x86_64__)
    if (km_has_avx512() && rows == wide && columns % KM_LANES == 0) {
        transpose_squares(to, x, ld, (size_t)wide, rows, columns);
        return;
    }
#endif
    transpose(to, x, ld, (size_t)wide, rows, columns);
}

void km_panel_transpose(float *b, const float *x, size_t ld, int rows, int columns) {
    const int width = (int)km_panel_width(rows);
    for (int first = 0; first < width; first += KM_PANEL) {
        const int wide = width - first < KM_PANEL ? width - first : KM_PANEL;
        const int own = rows - first < wide ? rows - first : wide;
        transpose_panel(b + (size_t)first * (size_t)columns, x + (size_t)first * ld, ld, wide, own, columns);
    }
}
