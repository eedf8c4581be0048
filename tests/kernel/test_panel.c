/* Products of matrices in panels: C = A B for A along rows and down columns. */
#include "kernel/twins.h"

#include "panel.h"

enum { UNTOUCHED = 77 };

static float *aligned(size_t count) {
    float *x = filled(count + 16, UNTOUCHED);
    return x + (64 - (uintptr_t)x % 64) % 64 / sizeof *x;
}

/* One element of a matrix B (K,n) in panels. */
static float at_panel(const float *b, int K, int n, int k, int j) {
    const int width = (int)km_panel_width(n), first = j / KM_PANEL * KM_PANEL;
    const int wide = KM_MIN(KM_PANEL, width - first);
    return b[(size_t)first * (size_t)K + (size_t)k * (size_t)wide + (size_t)(j - first)];
}

/* km_panel_copy and km_panel_transpose put the same numbers to the same places, and zeros beyond them. */
static void check_packing(int K, int n) {
    const size_t ld = (size_t)n + 3, width = km_panel_width(n);
    float *x = draw((size_t)K * ld, 1, 1), *t = filled((size_t)n * ((size_t)K + 5), 0);
    float *b = aligned((size_t)K * width), *again = aligned((size_t)K * width);
    for (int k = 0; k < K; k++) {
        for (int j = 0; j < n; j++) {
            t[j * (K + 5) + k] = x[(size_t)k * ld + (size_t)j];
        }
    }
    km_panel_copy(b, x, ld, K, n);
    km_panel_transpose(again, t, (size_t)K + 5, n, K);
    for (int k = 0; k < K; k++) {
        for (int j = 0; j < (int)width; j++) {
            assert_true(at_panel(b, K, n, k, j) == (j < n ? x[(size_t)k * ld + (size_t)j] : 0));
        }
    }
    expect_same_bits("transposed", again, b, (size_t)K * width, sizeof *b);
}

static void check_product(int rows, int inner, int columns, bool down, bool add) {
    const size_t width = km_panel_width(columns), ldo = width + 16;
    const size_t row = down ? 1 : (size_t)inner + 2, step = down ? (size_t)rows + 2 : 1;
    float *a = draw((size_t)(rows + 2) * (size_t)(inner + 2), 1, 2), *x = draw((size_t)(inner * columns), 1, 3);
    float *b = aligned((size_t)inner * width), *out = aligned((size_t)rows * ldo);
    double *want = doubles((size_t)(rows * columns));
    km_panel_copy(b, x, (size_t)columns, inner, columns);
    for (int i = 0; i < rows; i++) {
        for (int j = 0; j < columns; j++) {
            double sum = add ? UNTOUCHED : 0;
            for (int k = 0; k < inner; k++) {
                sum += (double)a[(size_t)i * row + (size_t)k * step] * (double)x[k * columns + j];
            }
            want[i * columns + j] = sum;
        }
    }
    km_panel_product(out, ldo, a, row, step, b, inner, rows, inner, columns, add);
    for (int i = 0; i < rows; i++) {
        expect_near("product", out + (size_t)i * ldo, want + i * columns, (size_t)columns, 1e-5);
        for (size_t j = width; j < ldo; j++) {
            assert_true(out[(size_t)i * ldo + j] == UNTOUCHED);
        }
    }
}

static void packings_agree(void **state) {
    (void)state;
    const int sizes[] = {1, 2, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 96, 97, 128, 130};
    for (size_t i = 0; i < KM_COUNT(sizes); i++) {
        for (size_t j = 0; j < KM_COUNT(sizes); j++) {
            check_packing(sizes[i], sizes[j]);
            drop();
        }
    }
}

static void products_equal_their_twins(void **state) {
    (void)state;
    const int columns[] = {1, 16, 31, 32, 33, 64, 65, 100, 128};
    for (int rows = 1; rows <= 27; rows++) {
        for (size_t c = 0; c < KM_COUNT(columns); c++) {
            for (int kind = 0; kind < 4; kind++) {
                check_product(rows, 1 + (rows * 7 + (int)c) % 40, columns[c], kind % 2 == 1, kind / 2 == 1);
                drop();
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(packings_agree), TEST(products_equal_their_twins)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
