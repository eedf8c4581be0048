/* Attention against its twin: out_i = sum_j factor_ij softmax_j(q_i . k_j / sqrt D) v_j for each view and head. */
#include "kernel/twins.h"

enum { MOST = 6, UNTOUCHED = 77 };

/* The numbers of queries and keys of each view; 0 keys end the list. With `fused`, q, k and v are thirds of one matrix. */
typedef struct view_list {
    int queries[MOST], keys[MOST];
    int H, D, gap; /* gap: unused elements between rows */
    float p;
    bool fused;
    bool hidden; /* the mask hides some keys: the first, the last, or some between */
    bool causal; /* query i of n sees the first ceil((i + 1) keys / n) keys: i + 1 where there are as many */
} view_list;

typedef struct data {
    km_attention shape;
    int Nq, Nk, C, longest;
    int32_t q_starts[MOST + 1], k_starts[MOST + 1];
    uint8_t *seen;
    int32_t *visible;
    float *q, *k, *v, *dout, *out, *lse, *dq, *dk, *dv, *scratch;
    double *qd, *kd, *vd, *doutd, *outd, *lsed;
    size_t nq, nk, no; /* elements of each array, gaps included */
} data;

static void count_rows(data *a, const view_list *views) {
    for (int i = 0; i < MOST && views->keys[i] > 0; i++) {
        a->shape.views++;
        a->q_starts[i + 1] = a->Nq += views->queries[i];
        a->k_starts[i + 1] = a->Nk += views->keys[i];
        a->longest = KM_MAX(a->longest, views->keys[i]);
    }
}

static size_t extent(int rows, int ld, int C) {
    return rows == 0 ? 0 : (size_t)(rows - 1) * (size_t)ld + (size_t)C;
}

static void place_fused(data *a) {
    const size_t all = (size_t)a->Nk * 3 * (size_t)a->C;
    a->q = draw(all, 1, 1);
    a->k = a->q + a->C;
    a->v = a->q + 2 * a->C;
    a->qd = widen(a->q, all);
    a->kd = a->qd + a->C;
    a->vd = a->qd + 2 * a->C;
    a->dq = filled(all, UNTOUCHED);
    a->dk = a->dq + a->C;
    a->dv = a->dq + 2 * a->C;
}

static void place_apart(data *a) {
    a->q = draw(a->nq, 1, 1);
    a->k = draw(a->nk, 1, 2);
    a->v = draw(a->nk, 1, 3);
    a->qd = widen(a->q, a->nq);
    a->kd = widen(a->k, a->nk);
    a->vd = widen(a->v, a->nk);
    a->dq = filled(a->nq, UNTOUCHED);
    a->dk = filled(a->nk, UNTOUCHED);
    a->dv = filled(a->nk, UNTOUCHED);
}

/* A mask that hides one key in three of each view, beginning with the first, or in causal attention with the second. A view's only
 * key is not hidden. */
static uint8_t *draw_seen(const data *a, bool causal) {
    uint8_t *seen = (uint8_t *)filled((size_t)a->Nk, 0);
    for (int view = 0; view < a->shape.views; view++) {
        const int first = a->k_starts[view], end = a->k_starts[view + 1];
        for (int j = first; j < end; j++) {
            seen[j] = (j - first) % 3 != causal || end - first == 1;
        }
    }
    return seen;
}

static int32_t *count_visible(const data *a) {
    int32_t *visible = take((size_t)a->Nq, sizeof *visible);
    for (int view = 0; view < a->shape.views; view++) {
        const int first = a->q_starts[view], queries = a->q_starts[view + 1] - first;
        const int keys = a->k_starts[view + 1] - a->k_starts[view];
        for (int i = 0; i < queries; i++) {
            visible[first + i] = ((i + 1) * keys + queries - 1) / queries;
        }
    }
    return visible;
}

static data make(const view_list *views) {
    data a = {.shape = {.H = views->H, .D = views->D, .dropout = {{3, 4}, 6, views->p}}, .C = views->H * views->D};
    count_rows(&a, views);
    a.shape.ldq = views->fused ? 3 * a.C : a.C + views->gap;
    a.shape.ldk = views->fused ? 3 * a.C : a.C + 2 * views->gap;
    a.shape.ldo = a.C + views->gap;
    a.nq = extent(a.Nq, a.shape.ldq, a.C);
    a.nk = extent(a.Nk, a.shape.ldk, a.C);
    a.no = extent(a.Nq, a.shape.ldo, a.C);
    (views->fused ? place_fused : place_apart)(&a);
    a.shape.keys = draw_keys((size_t)a.Nq, 5);
    a.shape.kept_words = km_attention_kept_words(a.longest) + (views->fused ? 0 : 3);
    a.shape.kept = views->p > 0 ? take((size_t)(a.Nq * a.shape.H * a.shape.kept_words), sizeof(uint16_t)) : NULL;
    a.shape.seen = a.seen = views->hidden ? draw_seen(&a, views->causal) : NULL;
    a.shape.visible = a.visible = views->causal ? count_visible(&a) : NULL;
    a.dout = draw(a.no, 1, 4);
    a.doutd = widen(a.dout, a.no);
    a.out = filled(a.no, UNTOUCHED);
    a.outd = doubles(a.no);
    a.lse = filled((size_t)(a.Nq * a.shape.H), NAN);
    a.lsed = doubles((size_t)(a.Nq * a.shape.H));
    a.scratch = filled(km_attention_scratch(a.longest, a.shape.D), NAN);
    return a;
}

static void link_starts(data *a) {
    a->shape.q_starts = a->q_starts;
    a->shape.k_starts = a->k_starts;
}

/* sum(dout * attention(q, k, v)), whose gradients are dq, dk and dv. */
static double projection(const void *context) {
    const data *a = context;
    double sum = 0;
    twin_attention(a->outd, a->lsed, a->qd, a->kd, a->vd, &a->shape);
    for (int n = 0; n < a->Nq; n++) {
        for (int c = 0; c < a->C; c++) {
            sum += a->outd[n * a->shape.ldo + c] * a->doutd[n * a->shape.ldo + c];
        }
    }
    return sum;
}

/* Checks that nothing was written to the gaps between rows. */
static void expect_gaps(const float *x, size_t count, int ld, int C) {
    for (size_t i = 0; i < count; i++) {
        assert_true(i % (size_t)ld < (size_t)C || x[i] == UNTOUCHED);
    }
}

/* Finite differences for the elements of rows only; the gradient of the gaps is 0. */
static void expect_slopes(const char *what, const data *a, double *x, const float *got, size_t count, int ld,
                          size_t most) {
    float *rows = copy(got, count);
    for (size_t i = 0; i < count; i++) {
        rows[i] = i % (size_t)ld < (size_t)a->C ? rows[i] : 0.0f;
    }
    expect_gradient(what, projection, a, x, rows, count, most, 3e-5);
}

static void check(const view_list *views, size_t most) {
    data a = make(views);
    link_starts(&a);
    const km_attention *s = &a.shape;
    km_attention_forward(a.out, a.lse, a.q, a.k, a.v, s, a.scratch);
    projection(&a);
    for (int n = 0; n < a.Nq; n++) {
        expect_near("out", a.out + n * s->ldo, a.outd + n * s->ldo, (size_t)a.C, 1e-5);
    }
    expect_near("lse", a.lse, a.lsed, (size_t)(a.Nq * s->H), 1e-5);
    expect_gaps(a.out, a.no, s->ldo, a.C);

    km_attention_backward(a.dq, a.dk, a.dv, a.dout, a.lse, a.q, a.k, a.v, s, a.scratch);
    if (views->fused) { /* one matrix, no gaps: all gradients at once */
        expect_gradient("dq|dk|dv", projection, &a, a.qd, a.dq, (size_t)a.Nk * 3 * (size_t)a.C, most, 3e-5);
    } else {
        expect_slopes("dq", &a, a.qd, a.dq, a.nq, s->ldq, most);
        expect_slopes("dk", &a, a.kd, a.dk, a.nk, s->ldk, most);
        expect_slopes("dv", &a, a.vd, a.dv, a.nk, s->ldk, most);
        expect_gaps(a.dq, a.nq, s->ldq, a.C);
        expect_gaps(a.dk, a.nk, s->ldk, a.C);
        expect_gaps(a.dv, a.nk, s->ldk, a.C);
    }
    drop();
}

static void attention_equals_its_twin_and_finite_differences(void **state) {
    (void)state;
    const int lengths[] = {1, 2, 17, 128, 129, 300}, depths[] = {1, 3, 8, 64};
    for (size_t t = 0; t < KM_COUNT(lengths); t++) {
        const bool large = lengths[t] > 100; /* the twin is slow, so only some combinations are tried */
        for (size_t d = 0; d < KM_COUNT(depths); d++) {
            if (large && depths[d] != (lengths[t] == 129 ? 64 : 3)) {
                continue;
            }
            for (int kind = large ? 1 : 0; kind < 2; kind++) {
                const view_list one = {.queries = {lengths[t]},
                                       .keys = {lengths[t]},
                                       .H = large ? 1 : 3,
                                       .D = depths[d],
                                       .gap = 5 * kind,
                                       .p = kind == 0 ? 0.0f : 0.2f};
                check(&one, large ? 1 : 16);
            }
        }
    }
}

/* Several views of different lengths, one of a single token, in one q|k|v matrix as the model has it. */
static void views_of_different_lengths(void **state) {
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        const view_list fused = {.queries = {5, 1, 140, 17},
                                 .keys = {5, 1, 140, 17},
                                 .H = 2,
                                 .D = 8,
                                 .p = kind == 0 ? 0.0f : 0.1f,
                                 .fused = true};
        check(&fused, 15);
    }
}

/* Fewer queries than keys, more queries than keys, and no queries, where dk and dv are 0. */
static void queries_of_their_own(void **state) {
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        const view_list some = {.queries = {3, 0, 1, 20, 131},
                                .keys = {17, 4, 1, 5, 9},
                                .H = 2,
                                .D = 3,
                                .gap = 2 * kind,
                                .p = kind == 0 ? 0.0f : 0.3f};
        check(&some, 20);
        data a = make(&some);
        link_starts(&a);
        km_attention_forward(a.out, a.lse, a.q, a.k, a.v, &a.shape, a.scratch);
        km_attention_backward(a.dq, a.dk, a.dv, a.dout, a.lse, a.q, a.k, a.v, &a.shape, a.scratch);
        for (int n = 17; n < 21; n++) {
            for (int c = 0; c < a.C; c++) {
                assert_true(a.dk[n * a.shape.ldk + c] == 0 && a.dv[n * a.shape.ldk + c] == 0);
            }
        }
        drop();
    }
}

/* Keys that the mask hides: the result equals the twin's, their gradient is 0, and their values change nothing. */
static void keys_that_nobody_sees(void **state) {
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        const view_list some = {.queries = {3, 0, 1, 20, 131},
                                .keys = {17, 4, 1, 5, 9},
                                .H = 2,
                                .D = 3,
                                .p = kind == 0 ? 0.0f : 0.3f,
                                .hidden = true};
        check(&some, 20);
        data a = make(&some), b = make(&some);
        link_starts(&a);
        for (int j = 0; j < b.Nk; j++) {
            for (int c = 0; c < b.C && !b.seen[j]; c++) {
                b.k[j * b.shape.ldk + c] = -50;
                b.v[j * b.shape.ldk + c] = 1e4f;
            }
        }
        b.shape.q_starts = a.q_starts;
        b.shape.k_starts = a.k_starts;
        km_attention_forward(a.out, a.lse, a.q, a.k, a.v, &a.shape, a.scratch);
        km_attention_forward(b.out, b.lse, b.q, b.k, b.v, &b.shape, b.scratch);
        assert_memory_equal(a.out, b.out, a.no * sizeof *a.out);
        km_attention_backward(b.dq, b.dk, b.dv, b.dout, b.lse, b.q, b.k, b.v, &b.shape, b.scratch);
        for (int j = 0; j < b.Nk; j++) {
            for (int c = 0; c < b.C && !b.seen[j]; c++) {
                assert_true(b.dk[j * b.shape.ldk + c] == 0 && b.dv[j * b.shape.ldk + c] == 0);
            }
        }
        drop();
    }
}

/* Queries that see the first keys alone: in one matrix as a decoder has it, with queries at some places, with padding, over
 * several blocks, and with heads of more than one panel. */
static void queries_that_see_the_past(void **state) {
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        const float p = kind == 0 ? 0.0f : 0.2f;
        const view_list lists[] = {
            {.queries = {5, 1, 140, 17},
             .keys = {5, 1, 140, 17},
             .H = 2,
             .D = 8,
             .p = p,
             .fused = true,
             .causal = true},
            {.queries = {7, 70, 2}, .keys = {7, 70, 2}, .H = 1, .D = 70, .p = p, .fused = true, .causal = true},
            {.queries = {3, 0, 1, 20, 66},
             .keys = {17, 4, 1, 5, 131},
             .H = 2,
             .D = 3,
             .gap = 2,
             .p = p,
             .causal = true},
            {.queries = {80, 2},
             .keys = {80, 9},
             .H = 2,
             .D = 5,
             .gap = 1,
             .p = p,
             .hidden = true,
             .causal = true}};
        for (size_t i = 0; i < KM_COUNT(lists); i++) {
            check(&lists[i], 12);
        }
    }
}

/* Keys behind the whole panels that a block sees are not even read, and get no gradient; the bits are those of a view that ends
 * there. */
static void nothing_is_computed_of_the_future(void **state) {
    (void)state;
    const view_list longer = {.queries = {40}, .keys = {200}, .H = 2, .D = 8, .p = 0.1f};
    data a = make(&longer), b = make(&longer);
    link_starts(&a);
    link_starts(&b);
    int32_t visible[40];
    for (int i = 0; i < 40; i++) {
        visible[i] = i + 20;
    }
    a.shape.visible = b.shape.visible = visible;
    b.k_starts[1] = 64;
    for (size_t i = 64 * 16; i < a.nk; i++) {
        a.k[i] = a.v[i] = NAN;
    }
    km_attention_forward(a.out, a.lse, a.q, a.k, a.v, &a.shape, a.scratch);
    km_attention_forward(b.out, b.lse, b.q, b.k, b.v, &b.shape, b.scratch);
    assert_memory_equal(a.out, b.out, a.no * sizeof *a.out);
    km_attention_backward(a.dq, a.dk, a.dv, a.dout, a.lse, a.q, a.k, a.v, &a.shape, a.scratch);
    km_attention_backward(b.dq, b.dk, b.dv, b.dout, b.lse, b.q, b.k, b.v, &b.shape, b.scratch);
    assert_memory_equal(a.dq, b.dq, a.nq * sizeof *a.dq);
    assert_memory_equal(a.dk, b.dk, 64 * 16 * sizeof *a.dk);
    assert_memory_equal(a.dv, b.dv, 64 * 16 * sizeof *a.dv);
    for (size_t i = 59 * 16; i < a.nk; i++) {
        assert_true(a.dk[i] == 0 && a.dv[i] == 0);
    }
    drop();
}

/* With scores of +-1e4 the softmax is one-hot, and everything stays finite. */
static void large_scores(void **state) {
    (void)state;
    const view_list one = {.queries = {20}, .keys = {20}, .H = 1, .D = 8};
    data a = make(&one);
    link_starts(&a);
    for (size_t i = 0; i < a.nq; i++) {
        a.q[i] *= 100;
        a.k[i] *= 100;
        a.qd[i] = (double)a.q[i];
        a.kd[i] = (double)a.k[i];
    }
    km_attention_forward(a.out, a.lse, a.q, a.k, a.v, &a.shape, a.scratch);
    projection(&a);
    expect_near("out", a.out, a.outd, a.no, 2e-2); /* scores near 1e4 have an absolute error near 1e-3 */
    km_attention_backward(a.dq, a.dk, a.dv, a.dout, a.lse, a.q, a.k, a.v, &a.shape, a.scratch);
    for (size_t i = 0; i < a.nq; i++) {
        assert_true(isfinite(a.dq[i]) && isfinite(a.dk[i]) && isfinite(a.dv[i]));
    }
}

/* NaN spreads to where it must and no further: in a query to its row, in a key to every row of the view, in a value to its
 * column; always within its head. */
static void nan_shows(void **state) {
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        for (int part = 0; part < 3; part++) {
            for (int row = 0; row < 20; row++) {
                const view_list two = {
                    .queries = {20, 7}, .keys = {20, 7}, .H = 2, .D = 4, .p = kind == 0 ? 0.0f : 0.4f};
                data a = make(&two);
                link_starts(&a);
                const int at = row * 8 + 5; /* the second head's second element */
                (part == 0 ? a.q : part == 1 ? a.k : a.v)[at] = NAN;
                km_attention_forward(a.out, a.lse, a.q, a.k, a.v, &a.shape, a.scratch);
                for (int i = 0; i < 27 * 8; i++) {
                    const bool view = i / 8 < 20, head = i % 8 >= 4;
                    const bool shows = part == 0   ? i / 8 == row && head
                                       : part == 1 ? view && head
                                                   : view && i % 8 == 5;
                    assert_true((isnan(a.out[i]) != 0) == shows);
                }
                km_attention_backward(a.dq, a.dk, a.dv, a.dout, a.lse, a.q, a.k, a.v, &a.shape, a.scratch);
                assert_true(isnan(a.dq[part == 0 ? at : 4]) || part == 2);
                assert_true(isnan(a.dk[at]) || part == 2);
                drop();
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(attention_equals_its_twin_and_finite_differences),
                                       TEST(views_of_different_lengths),
                                       TEST(queries_of_their_own),
                                       TEST(keys_that_nobody_sees),
                                       TEST(queries_that_see_the_past),
                                       TEST(nothing_is_computed_of_the_future),
                                       TEST(large_scores),
                                       TEST(nan_shows)};
    km_kernel_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
