/* census: what mask policies hide (Ye et al. 2021, "On the influence of masking policies in intermediate pre-training", section 5.3).
 *
 * Rows. Each policy is looked at over the first rows of epoch 0, a share masks.share of the rows that a run with this policy has. The
 * corpus' own shares are those of all its tokens that a mask may hide.
 *
 * What is counted. h_r(i) is the expected number of the row's K masks that hide token i. For policies with a closed form
 * (km_masker_expect) it is exact; for others it is the mean over the masks of visits 0, 1, ... masks.draws - 1, which are those of a
 * run's first epochs. With x_r = sum of h_r(i) over the tokens i of a kind (a tag, or a piece of the vocabulary) and m_r = sum of h_r(i)
 * over all tokens, the share of the kind among masked tokens is
 *
 *     p = sum_r x_r / sum_r m_r
 *
 * For a piece this is its mask frequency: how often it was masked, divided by the number of all masked tokens. Its token frequency is
 * its share of the corpus. Under random masks both are expected to be equal, which is the line of random masks in Figure 4.
 *
 * Intervals. Rows are a sample: p is a ratio of two means over R rows, and its variance is that of the linearized ratio,
 * v = R / (R-1) sum_r (x_r - p m_r)^2 / (sum_r m_r)^2. The noise of draws is part of it. The 95 % interval is Wilson's for a share of
 * p (1-p) / v tokens, but of no more than there are with h_r(i) > 0, with Student's t of R-1 degrees. So a kind that was not met at all
 * has an upper end above 0. The rows are taken as a sample of an unlimited text, so that the interval does not shrink to nothing where
 * masks.share is 1. For a single row there is none.
 *
 * Who computes. Rows are cut into blocks that depend on their number alone. Each rank takes a run of blocks, the sums of a block are
 * made in the order of its rows, and rank 0 adds the blocks up in their order; pieces are summed in fixed point. So the numbers are the
 * same on any number of ranks. */
#ifndef KMASK_STUDY_CENSUS_H
#define KMASK_STUDY_CENSUS_H

#include "interval.h"
#include "kmask/data.h"
#include "kmask/study.h"

/* A corpus that policies are looked at over; all that a mask may hide. */
typedef struct km_census_corpus {
    km_corpus *corpus;
    int pieces, tags;        /* of the vocabulary; with the tag 0, "none" */
    int64_t tokens;          /* that a mask may hide */
    int64_t *by_id, *by_tag; /* (pieces), (tags) */
    int32_t *ranked;         /* (ranked_count) the ids that occur, most frequent first; of equals the smaller id */
    int ranked_count;
} km_census_corpus;
/* Counts the corpus; the ranks share it. Collective. */
km_status km_census_corpus_open(km_census_corpus *out, km_comm *comm, const char *path) KM_NODISCARD;
void km_census_corpus_close(km_census_corpus *corpus);

/* One policy of one config, and what was found of it (on rank 0). */
typedef struct km_census_arm {
    char *name; /* the policy's; with the config's path where several have the policy */
    const km_census_input *input;
    const km_census_corpus *over;
    int over_index;
    km_masking masking;
    uint64_t rows, rows_total; /* looked at; all that a run has */
    bool exact;                /* there is a closed form */
    double masked;             /* tokens that the masks of one visit of each row hide: sum_r m_r */
    km_interval *tags;         /* (over->tags) shares among masked tokens */
    km_interval *pieces;       /* (over->pieces) likewise */
} km_census_arm;
/* The masking of a policy under a config, with the policy's own defaults for what was not given. */
km_status km_census_masking(km_masking *out, const km_config *config, const char *policy) KM_NODISCARD;
/* Looks at the arm's rows. `folder` as in km_census. Collective. */
km_status km_census_arm_count(km_census_arm *arm, km_comm *comm, const char *folder) KM_NODISCARD;
void km_census_arm_free(km_census_arm *arm);

/* ---- Sums over rows (census_sums.c) ---------------------------------------------------------------------------- */

/* Of m, m^2, and for each tag x, x m, x^2: one such list a block. Of pieces: x, x m, x^2 in fixed point. */
typedef struct km_census_sums {
    int tags, pieces, blocks;
    double *by_block;     /* (blocks, KM_CENSUS_HEAD + 3 tags) */
    int64_t *x, *xm, *xx; /* (pieces) in units of 2^-KM_CENSUS_BITS and, of products, 2^-KM_CENSUS_PRODUCT_BITS */
    int64_t hideable;     /* tokens with h > 0 */
    int64_t drawn;        /* rows for which there was no closed form */
    double *scratch;      /* (pieces) 0 between rows */
    double *tag_sums;     /* (tags) of a row */
} km_census_sums;
enum { KM_CENSUS_HEAD = 2, KM_CENSUS_BITS = 24, KM_CENSUS_PRODUCT_BITS = 14 };
void km_census_sums_create(km_census_sums *out, int tags, int pieces, int blocks);
void km_census_sums_free(km_census_sums *sums);
/* Adds a row with h (row->length). */
void km_census_sums_add(km_census_sums *sums, int block, const km_row *row, const double *h);
/* Adds up the sums of all ranks on rank 0, where block b is the rank's whose run of blocks (km_share) has it. Collective. */
void km_census_sums_gather(km_census_sums *sums, km_comm *comm);
/* On rank 0: the arm's shares with their intervals. */
void km_census_sums_estimate(const km_census_sums *sums, km_census_arm *arm);

/* ---- Output, on rank 0 (census_write.c) ------------------------------------------------------------------------- */

km_json *km_census_json(const km_census_corpus *corpora, int corpus_count, const km_census_arm *arms, int count);
/* Writes masks.json and masks.h5 to the folder. */
km_status km_census_write(const km_census_corpus *corpora, int corpus_count, const km_census_arm *arms, int count,
                          const char *folder) KM_NODISCARD;

#endif
