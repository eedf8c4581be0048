/* Sums over rows of what is hidden, and shares with intervals from them. */
#include "census.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void km_census_sums_create(km_census_sums *out, int tags, int pieces, int blocks) {
    *out = (km_census_sums){.tags = tags, .pieces = pieces, .blocks = blocks};
    out->by_block = km_new((size_t)blocks * (size_t)(KM_CENSUS_HEAD + 3 * tags), sizeof *out->by_block);
    out->x = km_new((size_t)pieces, sizeof *out->x);
    out->xm = km_new((size_t)pieces, sizeof *out->xm);
    out->xx = km_new((size_t)pieces, sizeof *out->xx);
    out->scratch = km_new((size_t)pieces, sizeof *out->scratch);
    out->tag_sums = km_new((size_t)tags, sizeof *out->tag_sums);
}

void km_census_sums_free(km_census_sums *sums) {
    free(sums->by_block);
    free(sums->x);
    free(sums->xm);
    free(sums->xx);
    free(sums->scratch);
    free(sums->tag_sums);
    *sums = (km_census_sums){0};
}

static size_t width(const km_census_sums *sums) {
    return (size_t)(KM_CENSUS_HEAD + 3 * sums->tags);
}

static int64_t fixed(double value, int bits) {
    return llrint(ldexp(value, bits));
}

/* Takes what the row hides of a piece out of the scratch, once for each piece. */
static void add_piece(km_census_sums *sums, int32_t id, double m) {
    const double x = sums->scratch[id];
    if (x > 0) {
        sums->x[id] += fixed(x, KM_CENSUS_BITS);
        sums->xm[id] += fixed(x * m, KM_CENSUS_PRODUCT_BITS);
        sums->xx[id] += fixed(x * x, KM_CENSUS_PRODUCT_BITS);
        sums->scratch[id] = 0;
    }
}

void km_census_sums_add(km_census_sums *sums, int block, const km_row *row, const double *h) {
    double *at = sums->by_block + (size_t)block * width(sums), m = 0;
    memset(sums->tag_sums, 0, (size_t)sums->tags * sizeof *sums->tag_sums);
    for (int i = 0; i < row->length; i++) {
        m += h[i];
        sums->hideable += h[i] > 0;
        sums->tag_sums[row->tags[i]] += h[i];
        sums->scratch[row->ids[i]] += h[i];
    }
    at[0] += m;
    at[1] += m * m;
    for (int t = 0; t < sums->tags; t++) {
        const double x = sums->tag_sums[t];
        at[KM_CENSUS_HEAD + 3 * t] += x;
        at[KM_CENSUS_HEAD + 3 * t + 1] += x * m;
        at[KM_CENSUS_HEAD + 3 * t + 2] += x * x;
    }
    for (int i = 0; i < row->length; i++) {
        add_piece(sums, row->ids[i], m);
    }
}

void km_census_sums_gather(km_census_sums *sums, km_comm *comm) {
    const int rank = km_comm_rank(comm), size = km_comm_size(comm);
    for (int other = 1; other < size; other++) {
        uint64_t first = 0, count = 0;
        km_share(&first, &count, (uint64_t)sums->blocks, other, size);
        double *at = sums->by_block + first * width(sums);
        const size_t bytes = count * width(sums) * sizeof *at;
        if (rank == 0) {
            km_comm_receive(comm, at, bytes, other);
        } else if (rank == other) {
            km_comm_send(comm, at, bytes, 0);
        }
    }
    km_comm_sum(comm, sums->x, sums->pieces);
    km_comm_sum(comm, sums->xm, sums->pieces);
    km_comm_sum(comm, sums->xx, sums->pieces);
    km_comm_sum(comm, &sums->hideable, 1);
    km_comm_sum(comm, &sums->drawn, 1);
}

/* What the shares of an arm have in common; sums over all rows. */
typedef struct totals {
    double m, mm, rows, hideable;
} totals;

/* Wilson's interval for a share of n tokens (E. B. Wilson 1927). */
static km_interval wilson(double p, double n, double t) {
    const double middle = (p + t * t / (2 * n)) / (1 + t * t / n);
    const double half = t * sqrt(p * (1 - p) / n + t * t / (4 * n * n)) / (1 + t * t / n);
    return (km_interval){p, fmax(0, middle - half), fmin(1, middle + half)};
}

/* The share sum x / sum m, with its interval; see census.h. */
static km_interval share(double x, double xm, double xx, const totals *all) {
    const double R = all->rows, p = x / all->m, squares = fmax(0, xx - 2 * p * xm + p * p * all->mm);
    if (R < 2) {
        return (km_interval){p, NAN, NAN};
    }
    const double variance = R / (R - 1) * squares / (all->m * all->m);
    const double n = variance > 0 ? fmin(p * (1 - p) / variance, all->hideable) : all->hideable;
    return wilson(p, fmax(n, 1), km_student_quantile((int)fmin(R - 1, 1e9)));
}

void km_census_sums_estimate(const km_census_sums *sums, km_census_arm *arm) {
    double *all = km_new(width(sums), sizeof *all);
    for (int b = 0; b < sums->blocks; b++) {
        for (size_t i = 0; i < width(sums); i++) {
            all[i] += sums->by_block[(size_t)b * width(sums) + i];
        }
    }
    const totals sum = {.m = all[0], .mm = all[1], .rows = (double)arm->rows, .hideable = (double)sums->hideable};
    arm->masked = sum.m;
    arm->exact = sums->drawn == 0;
    arm->tags = km_new((size_t)sums->tags, sizeof *arm->tags);
    arm->pieces = km_new((size_t)sums->pieces, sizeof *arm->pieces);
    for (int t = 0; t < sums->tags; t++) {
        const double *of = all + KM_CENSUS_HEAD + 3 * t;
        arm->tags[t] = share(of[0], of[1], of[2], &sum);
    }
    for (int id = 0; id < sums->pieces; id++) {
        arm->pieces[id] =
            share(ldexp((double)sums->x[id], -KM_CENSUS_BITS), ldexp((double)sums->xm[id], -KM_CENSUS_PRODUCT_BITS),
                  ldexp((double)sums->xx[id], -KM_CENSUS_PRODUCT_BITS), &sum);
    }
    free(all);
}
