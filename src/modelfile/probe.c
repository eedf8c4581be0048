/* probe: writes what a model computes from given token ids to a file, so that it can be compared with another program or
 * examined. Some rows are computed at a time, in two passes. The first computes the last layer and the logits at every position.
 * The second, where there are labels, computes them at labelled positions only, and then the gradient. */
#include "kmask/modelfile.h"
#include "kmask/store.h"
#include "probe_input.h"

#include <stdlib.h>

enum { RUN_TOKENS = 1024, RUN_LOGITS = 1 << 26, PIECE = 1 << 16 };

typedef struct probe {
    const km_bundle *bundle;
    const km_model_config *shape;
    const km_probe_input *input;
    km_store *store;
    bool bf16;
    km_work *work;
    int run;           /* how many rows are computed at a time */
    int32_t *starts;   /* (run+1) */
    int32_t *at;       /* (run*T) positions: all of them in the first pass, the labelled ones in the second */
    int32_t *labels;   /* (run*T) */
    uint64_t *keys;    /* (run*T) */
    uint64_t *numbers; /* (run) */
    double *gradient;  /* of the summed loss, (table->size), NULL without labels */
    km_loss_sum sum;
} probe;

/* ---- The file ---- */

static km_status add_outputs(const probe *p) {
    const uint64_t B = (uint64_t)p->input->rows, T = (uint64_t)p->input->length;
    const uint64_t logits[] = {B, T, (uint64_t)p->shape->vocab_size};
    const uint64_t hidden[] = {B, T, (uint64_t)p->shape->hidden_size};
    KM_TRY(km_store_add(p->store, "/logits", KM_F32, 3, logits));
    for (int64_t layer = 0; layer <= p->shape->num_hidden_layers; layer++) {
        char name[48];
        snprintf(name, sizeof name, "/hidden_states/%lld", (long long)layer);
        KM_TRY(km_store_add(p->store, name, KM_F32, 3, hidden));
    }
    return KM_OK;
}

static km_status add_gradients(const probe *p) {
    const km_table *table = km_model_table(p->bundle->model);
    KM_TRY(km_store_add(p->store, "/loss", KM_F32, 0, NULL));
    for (int i = 0; i < table->count; i++) {
        char name[128];
        snprintf(name, sizeof name, "/grad/%s", table->params[i].name);
        KM_TRY(km_store_add(p->store, name, KM_F32, table->params[i].rank, table->params[i].dims));
    }
    return KM_OK;
}

static km_status begin_file(probe *p, const char *path) {
    KM_TRY(km_store_create(&p->store, path));
    KM_TRY(km_store_set_text(p->store, "kind", "probe"));
    KM_TRY(km_store_set_text(p->store, "created_by", "kmask " KM_VERSION));
    KM_TRY(add_outputs(p));
    if (p->input->labelled > 0) {
        KM_TRY(add_gradients(p));
    }
    return km_store_layout(p->store);
}

/* Writes the rows of the batch to their places in an array of shape (B,T,width). */
static km_status write_rows(const probe *p, const char *name, int first, int rows, const float *from) {
    const km_array *array = km_store_find(p->store, name);
    const uint64_t row = array->dims[1] * array->dims[2];
    return km_store_write(p->store, array, (uint64_t)first * row, (uint64_t)rows * row, from);
}

/* ---- Runs of rows ---- */

static km_batch batch_of(const probe *p, int first, int rows) {
    const size_t at = (size_t)first * (size_t)p->input->length;
    return (km_batch){.views = rows,
                      .input.tokens = rows * p->input->length,
                      .input.longest = p->input->length,
                      .input.starts = p->starts,
                      .input.ids = p->input->ids + at,
                      .input.types = p->input->types + at,
                      .input.seen = p->input->seen + at,
                      .at = p->at,
                      .labels = p->labels,
                      .input.keys = p->keys,
                      .rows = p->numbers};
}

static km_status write_states(probe *p, int first, int rows) {
    km_batch batch = batch_of(p, first, rows);
    batch.labelled = batch.input.tokens;
    for (int i = 0; i < batch.input.tokens; i++) {
        p->at[i] = i;
        p->labels[i] = 0; /* the first pass needs labels, but does not use their values */
    }
    KM_TRY(km_model_check(p->bundle->model, &batch));
    const float *logits = km_model_logits(p->bundle->model, p->bundle->weights, &batch, p->work);
    KM_TRY(write_rows(p, "/logits", first, rows, logits));
    for (int layer = 0; layer <= (int)p->shape->num_hidden_layers; layer++) {
        char name[48];
        snprintf(name, sizeof name, "/hidden_states/%d", layer);
        KM_TRY(write_rows(p, name, first, rows, km_work_hidden(p->work, KM_ENCODER, layer)));
    }
    return KM_OK;
}

static void add_slice(void *payload, size_t offset, const float *gradient, size_t count) {
    double *to = ((probe *)payload)->gradient + offset;
    for (size_t i = 0; i < count; i++) {
        to[i] += (double)gradient[i];
    }
}

static void slices_done(void *payload, size_t offset) {
    (void)payload, (void)offset;
}

static void add_gradient(probe *p, int first, int rows) {
    const km_sink sink = {.payload = p, .ready = add_slice, .done = slices_done};
    km_batch batch = batch_of(p, first, rows);
    const int32_t *labels = p->input->labels + (size_t)first * (size_t)p->input->length;
    for (int i = 0; i < batch.input.tokens; i++) {
        if (labels[i] != KM_NO_LABEL) {
            p->at[batch.labelled] = i;
            p->labels[batch.labelled++] = labels[i];
        }
    }
    km_loss_sum sum;
    km_model_gradient(p->bundle->model, p->bundle->weights, &batch, 0, false, p->work, &sink, &sum);
    p->sum.loss += sum.loss;
    p->sum.masked += sum.masked;
    p->sum.correct += sum.correct;
}

static km_status run_rows(probe *p) {
    for (int first = 0; first < p->input->rows; first += p->run) {
        const int rows = KM_MIN(p->run, p->input->rows - first);
        KM_TRY(write_states(p, first, rows));
        if (p->gradient != NULL) {
            add_gradient(p, first, rows);
        }
    }
    return KM_OK;
}

/* ---- Loss and gradient ---- */

/* Writes the gradient of the mean loss in single precision, from that of the summed loss in double. */
static km_status write_gradient(const probe *p, const km_param *param, float *piece) {
    char name[128];
    snprintf(name, sizeof name, "/grad/%s", param->name);
    const km_array *array = km_store_find(p->store, name);
    for (size_t first = 0; first < param->count; first += PIECE) {
        const size_t count = KM_MIN((size_t)PIECE, param->count - first);
        for (size_t i = 0; i < count; i++) {
            piece[i] = (float)(p->gradient[param->offset + first + i] / (double)p->sum.masked);
        }
        KM_TRY(km_store_write(p->store, array, first, count, piece));
    }
    return KM_OK;
}

static km_status write_loss(const probe *p) {
    const km_table *table = km_model_table(p->bundle->model);
    const float loss = (float)(p->sum.loss / (double)p->sum.masked);
    KM_TRY(km_store_write(p->store, km_store_find(p->store, "/loss"), 0, 1, &loss));
    float *piece = km_new(PIECE, sizeof *piece);
    km_status status = KM_OK;
    for (int i = 0; status == KM_OK && i < table->count; i++) {
        status = write_gradient(p, &table->params[i], piece);
    }
    free(piece);
    return status;
}

/* ---- All of it ---- */

static int rows_at_a_time(const probe *p) {
    const int64_t T = p->input->length, by_logits = RUN_LOGITS / (T * p->shape->vocab_size);
    return (int)KM_MIN(KM_MAX(KM_MIN(RUN_TOKENS / T, by_logits), 1), p->input->rows);
}

static km_status prepare(probe *p) {
    const int T = p->input->length, tokens = p->run * T;
    const km_work_options options = {.limits.views = p->run,
                                     .limits.tokens = tokens,
                                     .limits.labelled = tokens,
                                     .limits.longest = T,
                                     .backward = true,
                                     .recompute = true,
                                     .bf16 = p->bf16};
    KM_TRY(km_work_create(&p->work, p->bundle->model, &options));
    if (p->input->labelled > 0) {
        const size_t size = km_model_table(p->bundle->model)->size;
        KM_TRY(km_allocate((void **)&p->gradient, size * sizeof *p->gradient, "the gradient"));
    }
    p->starts = km_new((size_t)p->run + 1, sizeof *p->starts);
    p->numbers = km_new((size_t)p->run, sizeof *p->numbers);
    p->at = km_new((size_t)tokens, sizeof *p->at);
    p->labels = km_new((size_t)tokens, sizeof *p->labels);
    p->keys = km_new((size_t)tokens, sizeof *p->keys);
    for (int row = 0; row <= p->run; row++) {
        p->starts[row] = row * T;
    }
    return KM_OK;
}

static km_status compute(probe *p, const char *output) {
    p->run = rows_at_a_time(p);
    KM_TRY(prepare(p));
    KM_TRY(begin_file(p, output));
    KM_TRY(run_rows(p));
    return p->gradient != NULL ? write_loss(p) : KM_OK;
}

static void release(probe *p) {
    km_work_destroy(p->work);
    free(p->starts);
    free(p->at);
    free(p->labels);
    free(p->keys);
    free(p->numbers);
    free(p->gradient);
}

km_status km_probe(const km_bundle *bundle, const char *input, const char *output, bool bf16,
                   km_probe_result *out) {
    km_probe_input rows = {0};
    KM_TRY(km_probe_input_read(&rows, input, bundle->model));
    probe p = {.bundle = bundle, .shape = km_model_shape(bundle->model), .input = &rows, .bf16 = bf16};
    km_status status = compute(&p, output);
    release(&p);
    if (status == KM_OK) {
        status = km_store_commit(p.store);
    } else {
        km_store_abandon(p.store);
    }
    const double labelled = (double)KM_MAX(p.sum.masked, 1);
    *out = (km_probe_result){.rows = rows.rows,
                             .length = rows.length,
                             .labelled = p.sum.masked,
                             .loss = p.sum.loss / labelled,
                             .accuracy = (double)p.sum.correct / labelled};
    km_probe_input_free(&rows);
    return status;
}
