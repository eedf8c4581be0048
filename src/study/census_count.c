/* Counting: the whole corpus once, and the rows of each policy. */
#include "census.h"

#include "kmask/run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LEAST_BLOCK = 64, MOST_BLOCKS = 4096 };

/* ---- The corpus ---- */

static int compare_ranks(const void *left, const void *right, void *payload) {
    const int64_t *counts = payload;
    const int32_t a = *(const int32_t *)left, b = *(const int32_t *)right;
    return counts[a] != counts[b] ? (counts[a] > counts[b] ? -1 : 1) : (a > b) - (a < b);
}

static void rank_ids(km_census_corpus *c) {
    c->ranked = km_new((size_t)c->pieces, sizeof *c->ranked);
    for (int id = 0; id < c->pieces; id++) {
        c->tokens += c->by_id[id];
        if (c->by_id[id] > 0) {
            c->ranked[c->ranked_count++] = id;
        }
    }
    qsort_r(c->ranked, (size_t)c->ranked_count, sizeof *c->ranked, compare_ranks, c->by_id);
}

km_status km_census_corpus_open(km_census_corpus *out, km_comm *comm, const char *path) {
    *out = (km_census_corpus){0};
    KM_TRY(km_comm_agree(comm, km_corpus_open(&out->corpus, path)));
    out->pieces = km_tokenizer_size(km_corpus_tokenizer(out->corpus));
    out->tags = 1 + km_corpus_tags(out->corpus);
    out->by_id = km_new((size_t)out->pieces, sizeof *out->by_id);
    out->by_tag = km_new((size_t)out->tags, sizeof *out->by_tag);
    uint64_t first = 0, count = 0;
    km_share(&first, &count, km_corpus_tokens(out->corpus), km_comm_rank(comm), km_comm_size(comm));
    KM_TRY(km_comm_agree(comm, km_corpus_count(out->corpus, first, count, out->by_id, out->by_tag)));
    km_comm_sum(comm, out->by_id, out->pieces);
    km_comm_sum(comm, out->by_tag, out->tags);
    rank_ids(out);
    return KM_OK;
}

void km_census_corpus_close(km_census_corpus *corpus) {
    if (corpus->corpus != NULL) {
        km_corpus_close(corpus->corpus);
    }
    free(corpus->by_id);
    free(corpus->by_tag);
    free(corpus->ranked);
    *corpus = (km_census_corpus){0};
}

/* ---- The rows of a policy ---- */

typedef struct counting {
    const km_census_arm *arm;
    const km_rows *rows;
    km_row *row;
    km_masker *masker;
    km_masks masks;
    km_marks *marks;     /* NULL: the policy needs none */
    uint64_t begin, end; /* of the rows that are looked at, those of this rank */
    double *h;           /* (length) */
    km_census_sums sums;
} counting;

/* The number of the i-th row that is looked at. */
static uint64_t row_at(const km_census_arm *arm, uint64_t i) {
    return km_order(i, arm->rows_total, (uint64_t)arm->input->config.run.seed, 0);
}

/* h: the mean over draws of how many of the K masks hide each token. */
static km_status draw_often(counting *c) {
    const int64_t draws = c->arm->input->masks.draws;
    memset(c->h, 0, (size_t)c->row->length * sizeof *c->h);
    for (int64_t d = 0; d < draws; d++) {
        const km_mask_visit visit = {
            .seed = (uint64_t)c->arm->input->config.run.seed, .purpose = KM_RNG_MASK, .number = (uint64_t)d};
        KM_TRY(km_masker_draw(c->masker, c->row, &visit, &c->masks));
        for (int k = 0; k < c->masks.splits; k++) {
            const uint8_t *mask = c->masks.masks + (size_t)k * (size_t)c->masks.stride;
            for (int i = 0; i < c->row->length; i++) {
                c->h[i] += mask[i] != KM_SEEN;
            }
        }
    }
    for (int i = 0; i < c->row->length; i++) {
        c->h[i] /= (double)draws;
    }
    return KM_OK;
}

static km_status count_row(counting *c, uint64_t number, int block) {
    KM_TRY(km_rows_read(c->rows, number, c->row));
    if (km_masker_expect(c->masker, c->row, c->h)) {
        for (int i = 0; i < c->row->length; i++) {
            c->h[i] *= c->masks.splits;
        }
    } else {
        c->sums.drawn++;
        KM_TRY(draw_often(c));
    }
    km_census_sums_add(&c->sums, block, c->row, c->h);
    return KM_OK;
}

static uint64_t block_size(uint64_t rows) {
    return KM_MAX((uint64_t)LEAST_BLOCK, (rows + MOST_BLOCKS - 1) / MOST_BLOCKS);
}

/* The run of blocks that is this rank's. */
static void share_blocks(counting *c, km_comm *comm) {
    const uint64_t rows = c->arm->rows, size = block_size(rows);
    uint64_t first = 0, count = 0;
    km_share(&first, &count, (uint64_t)c->sums.blocks, km_comm_rank(comm), km_comm_size(comm));
    c->begin = KM_MIN(first * size, rows);
    c->end = KM_MIN((first + count) * size, rows);
}

static km_status count_blocks(counting *c) {
    for (uint64_t i = c->begin; i < c->end; i++) {
        KM_TRY(count_row(c, row_at(c->arm, i), (int)(i / block_size(c->arm->rows))));
    }
    return KM_OK;
}

/* Policies that were learned have marked the rows of this rank. */
static km_status make_marks(counting *c) {
    const km_census_arm *arm = c->arm;
    const uint64_t count = c->end - c->begin;
    km_mask_config mask = arm->input->config.mask;
    snprintf(mask.policy, sizeof mask.policy, "%s", arm->masking.policy->name);
    uint64_t *numbers = km_new(count + 1, sizeof *numbers);
    for (uint64_t i = 0; i < count; i++) {
        numbers[i] = row_at(arm, c->begin + i);
    }
    const km_mark_request request = {.corpus = arm->over->corpus,
                                     .rows = c->rows,
                                     .count = count,
                                     .numbers = numbers,
                                     .threads = (int)arm->input->config.parallel.threads};
    km_status status = km_run_mark(&c->marks, NULL, &mask, &request);
    free(numbers);
    return status;
}

static km_status prepare(counting *c) {
    const km_census_arm *arm = c->arm;
    const int length = km_rows_length(c->rows);
    km_mask_spec spec = arm->masking.spec;
    KM_TRY(make_marks(c));
    spec.marks = c->marks;
    c->row = km_row_create(length);
    c->row->wants_tags = true;
    c->row->wants_sentences = arm->masking.policy->needs_sentences;
    c->h = km_new((size_t)length, sizeof *c->h);
    KM_TRY(km_masker_create(&c->masker, arm->masking.policy, &spec, arm->over->corpus, length));
    km_masks_create(&c->masks, c->masker);
    return KM_OK;
}

/* Rank 0 makes the index of rows where there is a folder for it, and the others find it there. */
static km_status open_rows(km_rows **out, const km_census_arm *arm, km_comm *comm, const char *folder) {
    const km_data_config *data = &arm->input->config.data;
    const bool root = km_comm_rank(comm) == 0;
    km_rows_options options = {
        .length = (int)data->length, .unit = km_masking_unit(&arm->masking), .min_units = arm->masking.spec.splits};
    if (!km_packing_named(&options.packing, data->packing)) {
        return km_comm_agree(comm, km_fail(KM_USAGE, "data.packing: unknown name %s", data->packing));
    }
    char *file = folder == NULL
                     ? NULL
                     : km_format("%s/rows-%s-%s-%d-%d-%d.idx", folder, data->packing, km_unit_name(options.unit),
                                 options.length, options.min_units, arm->over_index);
    km_status status = km_comm_agree(comm, root ? km_rows_open(out, arm->over->corpus, &options, file) : KM_OK);
    if (status == KM_OK) {
        status = km_comm_agree(comm, root ? KM_OK : km_rows_open(out, arm->over->corpus, &options, file));
    }
    free(file);
    return status;
}

static km_status count_rows(km_census_arm *arm, km_comm *comm, counting *c) {
    const int pieces = arm->over->pieces, tags = arm->over->tags;
    arm->rows_total = km_rows_count(c->rows);
    arm->rows = KM_MAX((uint64_t)1, (uint64_t)ceil(arm->input->masks.share * (double)arm->rows_total));
    arm->rows = KM_MIN(arm->rows, arm->rows_total);
    const uint64_t size = block_size(arm->rows);
    km_census_sums_create(&c->sums, tags, pieces, (int)((arm->rows + size - 1) / size));
    share_blocks(c, comm);
    km_status status = prepare(c);
    status = status == KM_OK ? count_blocks(c) : status;
    KM_TRY(km_comm_agree(comm, status));
    km_census_sums_gather(&c->sums, comm);
    if (km_comm_rank(comm) == 0) {
        km_census_sums_estimate(&c->sums, arm);
    }
    return KM_OK;
}

km_status km_census_arm_count(km_census_arm *arm, km_comm *comm, const char *folder) {
    km_rows *rows = NULL;
    km_status status = open_rows(&rows, arm, comm, folder);
    counting c = {.arm = arm, .rows = rows};
    if (status == KM_OK) {
        status = count_rows(arm, comm, &c);
    }
    km_census_sums_free(&c.sums);
    km_masks_free(&c.masks);
    km_masker_destroy(c.masker);
    km_marks_close(c.marks);
    km_row_destroy(c.row);
    free(c.h);
    km_rows_close(rows);
    return status == KM_OK ? KM_OK : km_context(status, "policy %s", arm->name);
}

void km_census_arm_free(km_census_arm *arm) {
    free(arm->name);
    free(arm->tags);
    free(arm->pieces);
}
