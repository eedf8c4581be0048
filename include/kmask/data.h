/* data: from rows to micro-batches. Masks by policy, views, sources of examples, and a reader that reads ahead over a source.
 * Sources take numbers of examples and never hear of ranks; everything is local. */
#ifndef KMASK_DATA_H
#define KMASK_DATA_H

#include "kmask/base.h"
#include "kmask/batch.h"
#include "kmask/corpus.h"

/* ---- Options ----------------------------------------------------------------------------------------------- */

typedef struct km_mask_config {
    uint64_t given;
    char policy[KM_WORD], unit[KM_WORD];
    double ratio; /* 0 = "partition" */
    int64_t splits;
    char over[KM_WORD];
    double replace_mask, replace_random;
    char target[KM_WORD]; /* "": not known yet, see km_mask_resolve */
    bool merge;
    int64_t spans;                                            /* salient */
    double poisson_lambda, permute_sentences, insert, rotate; /* denoise */
    char model[KM_PATH];                                      /* supervised, meta */
    int64_t top;                                              /* supervised */
    char weights[KM_WORD];                                    /* proposal */
    double sharpness, uniform;                                /* proposal */
    bool disjoint;                                            /* proposal */
} km_mask_config;
extern const km_section km_mask_section;
/* Fills in what was not given and follows from the policy: unit, splits and ratio. */
void km_mask_resolve(km_mask_config *mask);
/* Fills in what was not given and follows from whether the model has a decoder: target and merge. Whether such a model can be
 * trained so: KM_USAGE. `model`: what messages call it, "model.type bert". */
km_status km_mask_resolve_target(km_mask_config *mask, const char *model, bool decoder) KM_NODISCARD;
/* Whether K masks of this ratio fit into a row, and shares of replacement into 1. KM_USAGE. */
km_status km_mask_config_check(const km_mask_config *mask) KM_NODISCARD;

/* ---- Masks -------------------------------------------------------------------------------------------------- */
/* Section 4 of src/README.md. */

/* What a learned policy says of the rows of a corpus (below). */
typedef struct km_marks km_marks;

/* What the losses of proposed masks are multiplied by: src/data/mask_proposal.c. */
typedef enum km_weighting { KM_WEIGHTS_EXACT, KM_WEIGHTS_TOKEN, KM_WEIGHTS_NONE } km_weighting;
bool km_weighting_named(km_weighting *out, const char *name);

/* What is asked of a policy. */
typedef struct km_mask_spec {
    km_unit unit;
    int splits;   /* K */
    double ratio; /* 0 = partition */
    /* Of single policies: */
    int spans;                /* salient: spans that each mask hides, at most */
    double poisson_lambda;    /* denoise: mean length of a span, in units */
    double permute_sentences; /* denoise: share of the sentences that change places */
    double insert;            /* denoise: extra <mask>s, as a share of the tokens shown */
    double rotate;            /* denoise: share of the views that begin at another token */
    int top;                  /* supervised: a mask hides one of so many best spans */
    const km_marks *marks;    /* supervised: of the rows, the caller's; NULL where nothing is drawn */
    km_weighting weighting;   /* proposal, as all that follow */
    double sharpness;         /* what scores are multiplied by; 0: 1/tau with exact weights, else 1 */
    double uniform;           /* share of each draw of a unit that is uniform */
    bool disjoint;            /* the K masks are disjoint, else independent */
} km_mask_spec;

/* tau = max(1, floor(ratio n + 0.5)), at most floor(n/K) where K ratio <= 1; partition: floor(n/K). */
int km_mask_tau(const km_mask_spec *spec, int units);

/* What a mask says of a token. Hidden tokens that follow each other are one piece, unless a new piece begins at one of them. */
enum { KM_SEEN = 0, KM_HIDDEN = 1, KM_PIECE = 2 };
/* In an order of tokens: no token of the row, but an extra <mask>. */
enum { KM_INSERTED = -1 };

/* The masks of one visit of a row: mask k says masks[k * stride + position] of the token at a position. */
typedef struct km_masks {
    int splits, stride;
    uint8_t *masks; /* (K, stride), the caller's */
    float *weights; /* (K, stride) what the loss of a hidden token is multiplied by; NULL: all 1 */
    int units, tau; /* of the (first) mask: units of the row, and how many each mask hides */
    /* For policies that reorder: under mask k the row is shown as orders[k * order_stride + i], i < counts[k]. These are the
     * positions of the row, each once, and KM_INSERTED. NULL: tokens keep their order. */
    int32_t *orders; /* (K, order_stride) */
    int *counts;     /* (K) */
    int order_stride;
} km_masks;

/* One reading of a row. Masks are a function of the row and of this, and of nothing else. scores: for a live policy (row->length), what
 * its network says of each token. */
typedef struct km_mask_visit {
    uint64_t seed;
    km_purpose purpose;
    uint64_t number; /* counts the visits of each row: the epoch, or over epochs the epoch divided by K */
    const float *scores;
} km_mask_visit;

/* What is predicted of a masked row: see "Views" below. */
typedef enum km_target { KM_TARGET_TOKENS, KM_TARGET_FULL, KM_TARGET_MASKED } km_target;

/* A masker draws the masks of rows by one policy. It has room to work in, so each thread needs its own. */
typedef struct km_masker km_masker;

/* A policy: what it says of itself, and how its maskers are made. It is one file, mask_<policy>.c, and one line in the table of
 * mask.c; everything else asks here. */
typedef struct km_mask_policy {
    const char *name;
    const char *help; /* what it masks, in a few words */
    km_unit unit;     /* the defaults of mask.unit, mask.splits and mask.ratio */
    int splits;
    double ratio;
    bool disjoint;        /* no two of the K masks hide the same unit */
    bool uniform;         /* each single mask is uniform over the sets of tau units (Zheng et al. 2020, Lemma 2) */
    bool needs_spans;     /* only a corpus with names, dates and numbers will do, and only rows with K of them */
    bool needs_sentences; /* rows must be read with their sentences */
    bool
        needs_model; /* it was learned: mask.model names its file, and its masks are drawn from marks of the rows */
    bool
        live; /* masks follow scores of the tokens (km_mask_visit) by a network that is trained with the model; for encoders */
    bool weighted;    /* masks have weights */
    km_target target; /* with a decoder, mask.target unless given; KM_TARGET_TOKENS: full */
    bool
        needs_merge; /* its masks are made to be shown with mask.merge: only models with a decoder can be trained on them */
    /* KM_USAGE where splits and ratio do not fit this policy; ranges are checked already. NULL: all do. */
    km_status (*check)(const km_mask_spec *spec);
    /* Most tokens that a mask hides in a row of `tokens` maskable ones. */
    int (*most_hidden)(const km_mask_spec *spec, int tokens);
    /* For policies that reorder (NULL: others): most tokens that a row of `length` is shown as, and most entries of an order. */
    int (*longest_shown)(const km_mask_spec *spec, int length);
    int (*longest_order)(const km_mask_spec *spec, int length);
    /* `length`: of the longest row. */
    km_status (*create)(km_masker **out, const km_mask_spec *spec, const km_corpus *corpus, int length);
    /* Draws all K masks of a visit; they are zero before. */
    km_status (*draw)(km_masker *masker, const km_row *row, const km_mask_visit *visit, km_masks *out);
    void (*destroy)(km_masker *masker);
    /* How likely one mask of a visit is to hide each token: probability (row->length), the mean over the K masks and over all visits.
     * False where there is no closed form for it. NULL: there never is. */
    bool (*expect)(km_masker *masker, const km_row *row, double *probability);
} km_mask_policy;

const km_mask_policy *km_mask_policy_named(const char *name); /* NULL when unknown */
const km_mask_policy *km_mask_policy_at(int index);           /* in the table's order; NULL behind the last */
const char *km_mask_policy_names(void);                       /* "fully_explored|random" */
/* KM_USAGE where the ranges of a spec, or what the policy says of it, are not met. */
km_status km_mask_policy_check(const km_mask_policy *policy, const km_mask_spec *spec) KM_NODISCARD;

/* Checks the spec. `length`: of the longest row. The corpus must outlive the masker, and is NULL where there is none. */
km_status km_masker_create(km_masker **out, const km_mask_policy *policy, const km_mask_spec *spec,
                           const km_corpus *corpus, int length) KM_NODISCARD;
void km_masker_destroy(km_masker *masker); /* NULL is fine */
/* Room for what the masker draws; free with km_masks_free. */
void km_masks_create(km_masks *out, const km_masker *masker);
void km_masks_free(km_masks *masks);
/* Draws all K masks of a visit into out->masks (K, stride). A row with fewer units than K is KM_FAILED. */
km_status km_masker_draw(km_masker *masker, const km_row *row, const km_mask_visit *visit,
                         km_masks *out) KM_NODISCARD;

/* How likely one mask of the row is to hide each of its tokens, exactly: see km_mask_policy.expect. */
bool km_masker_expect(km_masker *masker, const km_row *row, double *probability);

/* How `proposal` draws, for whoever enumerates its masks. The probability that the next draw takes `unit`, which is left, when those with
 * taken[i] = 1 are not; odds, taken (count). And the weights (draws) of a sequence of draws from `units` units, of which each mask has
 * tau, by the ratios (draws) of uniform probabilities to those of the draws. */
double km_proposal_chance(const double *odds, const uint8_t *taken, int count, int unit, double uniform);
void km_proposal_weigh(double *weights, const double *ratios, km_weighting weighting, int units, int tau,
                       int draws);

/* Units of the row; for spans its words, of which spans are made anew for every mask. */
int km_row_units(const km_row *row, km_unit unit);
/* mask (row->length) becomes 1 at the tokens of the `count` units that `units` numbers, else 0. Not for spans. */
void km_row_hide(const km_row *row, km_unit unit, const int *units, int count, uint8_t *mask);

/* The farthest that two masks of tau out of n units can differ: 2 min(tau, n - tau). */
int km_mask_farthest(int units, int tau);
/* Masks at given Hamming distances, counted in units (Zheng et al. 2020, Assumption 1): mask 0 is uniform over the sets of
 * tau units; mask 1+i is at distance distances[i] = 2 * round(shares[i] * farthest / 2) from it, and given mask 0 uniform
 * over the sets that are. Shares are 0..1. Spans are tiled once for all masks. out has room for max(K, 1 + count). Randomness
 * as in km_masker_draw. */
km_status km_mask_distances(const km_mask_spec *spec, const km_row *row, const km_mask_visit *visit,
                            const double *shares, int count, int *distances, km_masks *out) KM_NODISCARD;

/* ---- Marks ---------------------------------------------------------------------------------------------------- */
/* What a policy that was learned says of the rows of a corpus is found once and kept in a file: for each row the same number of bytes,
 * which are spans or numbers of tokens. */

typedef enum km_mark_kind {
    KM_MARKS_SPANS, /* km_mark_span[kept], the best first; behind the last one spans are empty */
    KM_MARKS_TOKENS /* int16_t[length]: logit of masking less that of not masking, in steps of 1/KM_MARK_STEPS */
} km_mark_kind;
enum { KM_MARK_STEPS = 1024 };
typedef struct km_mark_span {
    uint16_t begin, end; /* positions begin..end-1 of the row */
    float score;
} km_mark_span;
size_t km_marks_stride(km_mark_kind kind, int kept, int length); /* bytes of a row */
int16_t km_mark_of(float difference);                            /* of logits; its sign is kept */

/* What marks depend on: a file is never taken for another's. */
typedef struct km_marks_key {
    km_mark_kind kind;
    km_hash rows, policy; /* km_rows_hash; the policy's weights and how they are used */
    uint64_t first, count;
    const uint64_t
        *numbers; /* (count) these rows instead of first, first + 1, ...; copied. For temporary files alone */
    size_t stride;
} km_marks_key;
/* Opens a file of marks; false where it is missing, damaged or of another key. The caller closes. */
bool km_marks_open(km_marks **out, const char *path, const km_marks_key *key);
/* Begins a file, as <path>.tmp; the process that has `first` creates it, others then open it and write rows of their own. Path NULL: a
 * temporary file without a name. */
km_status km_marks_begin(km_marks **out, const char *path, const km_marks_key *key, bool first) KM_NODISCARD;
km_status km_marks_write(km_marks *marks, uint64_t row, const void *bytes) KM_NODISCARD;
/* Completes the file, when all rows are written: to be called by one process. The marks stay open. */
km_status km_marks_commit(km_marks *marks) KM_NODISCARD;
void km_marks_close(km_marks *marks); /* NULL is fine */
km_mark_kind km_marks_kind(const km_marks *marks);
size_t km_marks_bytes(const km_marks *marks);                                         /* of a row */
km_hash km_marks_hash(const km_marks *marks);                                         /* of all of them */
km_status km_marks_read(const km_marks *marks, uint64_t row, void *out) KM_NODISCARD; /* any thread */

/* Who makes the marks of a run's rows is on a higher floor: run is given a function (km_run_set_marker in kmask/run.h). */
typedef struct km_mark_request {
    const char *policy; /* mask.policy */
    const char *model;  /* mask.model */
    const km_corpus *corpus;
    const km_rows *rows;
    uint64_t first, count;   /* rows to mark */
    const uint64_t *numbers; /* (count) these rows instead, in a temporary file; NULL: first, first + 1, ... */
    int kept;                /* spans of a row */
    const char *folder;      /* where the file is kept; NULL: in a temporary file */
    double *flops; /* becomes the arithmetic of marking the rows, 0 where the file is there already; may be NULL */
    int threads;
} km_mark_request;

/* ---- Views --------------------------------------------------------------------------------------------------- */

/* What a model is to predict of a masked row. tokens: the hidden tokens, each in its place (encoders). With a decoder, full: the
 * whole row; masked: the masked pieces one after the other, between the first and last special token of a row. */
bool km_target_named(km_target *out, const char *name);

/* How a row under a mask becomes what a model sees and predicts. */
typedef struct km_view_options {
    km_target target;
    bool merge;            /* a piece is shown as one <mask>; not with KM_TARGET_TOKENS */
    int32_t decoder_start; /* the id that the decoder reads first; not with KM_TARGET_TOKENS */
    /* Shares of hidden tokens (with merge: of pieces) that are shown as [MASK], and as a random token; the rest stay. */
    double replace_mask, replace_random;
} km_view_options;

/* What a mask section asks for, with its names looked up. */
typedef struct km_masking {
    const km_mask_policy *policy;
    km_mask_spec spec;
    bool over_epochs;
    km_view_options view;
} km_masking;
/* Of a resolved section. decoder_start: the model's, or -1 where it has no decoder. */
km_status km_masking_of(km_masking *out, const km_mask_config *config, int64_t decoder_start) KM_NODISCARD;
/* The unit that a row needs K of. */
km_unit km_masking_unit(const km_masking *masking);

/* One view at a time, of a row and masks of the caller's. */
typedef struct km_view_maker km_view_maker;
/* `length`: of the longest row; `shown`: most tokens that one is shown as. */
km_status km_view_maker_create(km_view_maker **out, const km_corpus *corpus, int length, int shown,
                               const km_view_options *options) KM_NODISCARD;
void km_view_maker_destroy(km_view_maker *maker); /* NULL is fine */
km_batch_limits km_view_maker_limits(const km_view_maker *maker);
/* A batch of one view: the row under mask k. What replaces hidden tokens, and the view's keys for dropout, follow from (seed, visit,
 * index, row). The batch is the maker's and valid until the next call. */
km_status km_view_maker_make(km_view_maker *maker, const km_row *row, const km_masks *masks, int k, uint64_t seed,
                             uint64_t visit, uint32_t index, const km_batch **out) KM_NODISCARD;

/* Frozen evaluation masks: row `number` as ceil(1/ratio) views that together mask every maskable unit once (empty ones are left
 * out). Where a decoder writes the target, only the hidden tokens in it are labelled: the loss is that of hidden tokens, whatever
 * the target is. The batch is the maker's and valid until the next call. */
typedef struct km_eval_views km_eval_views;
typedef struct km_eval_views_options {
    double ratio;
    km_unit unit;
    uint64_t seed;
    km_target target;      /* what the model was trained on */
    int32_t decoder_start; /* as in km_view_options */
} km_eval_views_options;
km_status km_eval_views_create(km_eval_views **out, const km_rows *rows, const km_corpus *corpus,
                               const km_eval_views_options *options) KM_NODISCARD;
void km_eval_views_destroy(km_eval_views *views);
km_batch_limits km_eval_views_limits(const km_eval_views *views);
km_status km_eval_views_make(km_eval_views *views, uint64_t number, const km_batch **out) KM_NODISCARD;

/* ---- Sources --------------------------------------------------------------------------------------------------- */

/* A batch that is being filled, view by view (src/data/builder.h). */
typedef struct km_batch_builder km_batch_builder;

/* A source makes examples for a model. Example i is a function of the source and of i alone, so that any process can make any of
 * them: in training, view j of step s is example s * views + j. A source is this struct, with what it needs behind it. */
typedef struct km_source km_source;
/* Gives every token of a row a score, for policies that are live: scores (row->length). */
typedef struct km_scorer {
    void (*score)(void *payload, const km_row *row, float *scores);
    void *payload;
} km_scorer;
struct km_source {
    /* What no batch of `views` examples exceeds; KM_USAGE where that is more than a batch can count. */
    km_status (*limits)(const km_source *source, int views, km_batch_limits *out);
    /* Appends example `number` to the batch as one view. Called from one thread at a time. */
    km_status (*make)(km_source *source, uint64_t number, km_batch_builder *out);
    /* A live source's examples depend on weights that change from step to step, through a scorer. Prepare reads ahead what does not
     * depend on them. */
    bool live;
    km_scorer scorer; /* the reader's caller's; score NULL: there is none */
    km_status (*prepare)(km_source *source, uint64_t number);
    void (*destroy)(km_source *source);
};
void km_source_destroy(km_source *source); /* NULL is fine */

/* Rows under masks, the source of pre-training: example i over a step is the row at place i/K under mask i%K of the K that are
 * drawn together; over epochs it is the row at place i, which in epoch e (i div rows) is under mask e%K of the K drawn for e/K. */
/* Rows and corpus must outlive the source. */
km_status km_source_rows_create(km_source **out, const km_rows *rows, const km_corpus *corpus,
                                const km_masking *masking, uint64_t seed) KM_NODISCARD;

/* One labelled example, as a model reads it: [CLS] and [SEP] are among its tokens. */
typedef struct km_example {
    const int32_t *ids; /* (length) */
    int length;
    int second;    /* the tokens from here on have token type 1; `length`: none has */
    int32_t label; /* the class of the example */
    float number;  /* or its number */
} km_example;

typedef struct km_source_examples_options {
    uint64_t seed;
    bool numbers; /* the examples have numbers, else classes */
    bool ordered; /* example i is examples[i mod count], as for predictions */
} km_source_examples_options;
/* Labelled examples, the source of fine-tuning: example i is examples[km_order(i mod count, count, seed, i div count)], so that every
 * epoch has each of them once, in an order of its own. `examples` (count > 0) must outlive the source. */
km_status km_source_examples_create(km_source **out, const km_example *examples, size_t count,
                                    const km_source_examples_options *options) KM_NODISCARD;

/* A source text and what a decoder is to write for it, both with the tokens that begin and end a sequence. */
typedef struct km_pair {
    const int32_t *ids, *target; /* (length), (target_length > 0) */
    int length, target_length;
} km_pair;

typedef struct km_source_pairs_options {
    uint64_t seed;
    int32_t decoder_start; /* the id that the decoder reads first */
} km_source_pairs_options;
/* Pairs in the order of km_source_examples_create, the source of sequence-to-sequence fine-tuning: the decoder reads the target shifted
 * right behind decoder_start, and every token of the target is labelled. `pairs` (count > 0) must outlive the source. */
km_status km_source_pairs_create(km_source **out, const km_pair *pairs, size_t count,
                                 const km_source_pairs_options *options) KM_NODISCARD;

/* ---- Reading ahead ------------------------------------------------------------------------------------------------ */

/* Makes the micro-batches of steps from a source, one request ahead, in a thread of its own. */
typedef struct km_reader km_reader;

/* `views`: of a step; `micro_batch`: of them in a micro-batch. The source is the reader's from now on, also after a failure. */
km_status km_reader_create(km_reader **out, km_source *source, int64_t views, int64_t micro_batch) KM_NODISCARD;
void km_reader_destroy(km_reader *reader);            /* waits for its thread; NULL is fine */
int km_reader_views(const km_reader *reader);         /* of a step */
int km_reader_micro_batches(const km_reader *reader); /* of a step: ceil(views / micro_batch) */
/* Upper limits of any batch, for planning memory. */
km_batch_limits km_reader_limits(const km_reader *reader);
/* Whether its source is live. Then a request only reads ahead, until km_reader_release; the scorer is called from then on until the
 * batches are taken, by the reader's thread. */
bool km_reader_is_live(const km_reader *reader);
void km_reader_set_scorer(km_reader *reader, km_scorer scorer); /* before the first request */
/* Lets the requests that are open be made. Without a live source there is nothing to do. */
void km_reader_release(km_reader *reader);
/* Begins to make micro-batches first..first+count-1 of step (from 0). At most two requests may be open. */
void km_reader_request(km_reader *reader, uint64_t step, int first, int count);
/* Waits for the oldest request; batches (count) are the reader's and valid until the take after the next. */
km_status km_reader_take(km_reader *reader, const km_batch **batches, int *count) KM_NODISCARD;

#endif
