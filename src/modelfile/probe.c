/* probe: writes what a model computes from given token ids to a file, so that it can be compared with another program or
 * examined. Some rows are computed at a time, in two passes. The first computes the last layer and the logits at every position.
 * The second, where there are labels, computes them at labelled positions only, or of a classifier for labelled rows only, and then
 * the gradient. */
#include "kmask/modelfile.h"
#include "kmask/store.h"
#include "probe_input.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RUN_TOKENS = 1024, RUN_LOGITS = 1 << 26, PIECE = 1 << 16 };

typedef struct probe {
    const km_bundle *bundle;
    const km_model_config *shape;
    const km_probe_input *input;
    km_store *store;
    bool bf16;
    km_work *work;
    int run;                          /* how many rows are computed at a time */
    int32_t *starts, *decoder_starts; /* (run+1) of T, and of U tokens each */
    int32_t *at;       /* (run*U) positions: all of them in the first pass, the labelled ones in the second */
    int32_t *labels;   /* (run*U) */
    uint64_t *keys;    /* (run*max(T,U)) */
    uint64_t *numbers; /* (run) */
    int32_t *classes;  /* (run) zeros */
    float *values;     /* (run) zeros */
    float *logits;     /* (run, num_labels) of a classifier's rows */
    double *gradient;  /* of the summed loss, (table->size), NULL without labels */
    km_loss_sum sum;
} probe;

/* ---- The file ---- */

/* What the hidden states of a stack are called: those of an encoder without a decoder have no name before. */
static void name_states(char name[64], const probe *p, int stack, int layer) {
    static const char *const groups[] = {[KM_ENCODER] = "encoder_", [KM_DECODER] = "decoder_"};
    snprintf(name, 64, "/%shidden_states/%d", p->input->decoder != NULL ? groups[stack] : "", layer);
}

static km_status add_states(const probe *p, int stack, uint64_t length, const km_stack_shape *shape) {
    const uint64_t hidden[] = {(uint64_t)p->input->rows, length, (uint64_t)shape->width};
    for (int layer = 0; layer <= shape->layers; layer++) {
        char name[64];
        name_states(name, p, stack, layer);
        KM_TRY(km_store_add(p->store, name, KM_F32, 3, hidden));
    }
    return KM_OK;
}

static km_status add_outputs(const probe *p) {
    const uint64_t B = (uint64_t)p->input->rows, T = (uint64_t)p->input->length, U = (uint64_t)p->input->target;
    const uint64_t logits[] = {B, U, (uint64_t)p->shape->vocab_size},
                   classes[] = {B, (uint64_t)p->shape->num_labels};
    km_stack_shape shape;
    KM_TRY(p->input->classifier ? km_store_add(p->store, "/logits", KM_F32, 2, classes)
                                : km_store_add(p->store, "/logits", KM_F32, 3, logits));
    for (int stack = 0; km_model_stack(&shape, p->bundle->model, (km_stack_name)stack); stack++) {
        KM_TRY(add_states(p, stack, stack == KM_DECODER ? U : T, &shape));
    }
    return KM_OK;
}

static km_status add_gradients(const probe *p) {
    const km_table *table = km_model_table(p->bundle->model);
    KM_TRY(km_store_add(p->store, "/loss", KM_F32, 0, NULL));
    for (int i = 0; i < table->count; i++) {
        char name[128];
        snprintf(name, sizeof name, "/grad/%s", table->params[i].name);
        if (table->params[i].trained) {
            KM_TRY(km_store_add(p->store, name, KM_F32, table->params[i].rank, table->params[i].dims));
        }
    }
    return KM_OK;
}

static km_status begin_file(probe *p, const char *path) {
    KM_TRY(km_store_create_out(&p->store, path, NULL));
    KM_TRY(km_store_set_text(p->store, "kind", "probe"));
    KM_TRY(km_store_set_text(p->store, "created_by", "kmask " KM_VERSION));
    KM_TRY(add_outputs(p));
    if (p->input->labelled > 0) {
        KM_TRY(add_gradients(p));
    }
    return km_store_layout(p->store);
}

/* Writes the rows of the batch to their places in an array of shape (B,T,width) or (B,width). */
static km_status write_rows(const probe *p, const char *name, int first, int rows, const float *from) {
    const km_array *array = km_store_find(p->store, name);
    const uint64_t row = array->dims[1] * (array->rank > 2 ? array->dims[2] : 1);
    return km_store_write(p->store, array, (uint64_t)first * row, (uint64_t)rows * row, from);
}

/* ---- Runs of rows ---- */

static km_batch batch_of(const probe *p, int first, int rows) {
    const km_probe_input *input = p->input;
    const size_t at = (size_t)first * (size_t)input->length, target = (size_t)first * (size_t)input->target;
    km_batch batch = {.views = rows,
                      .at = p->at,
                      .labels = p->labels,
                      .classes = p->classes,
                      .numbers = p->values,
                      .rows = p->numbers};
    batch.input = (km_stream){.tokens = rows * input->length,
                              .longest = input->length,
                              .starts = p->starts,
                              .ids = input->ids + at,
                              .types = input->types == NULL ? NULL : input->types + at,
                              .seen = input->seen + at,
                              .keys = p->keys};
    if (input->decoder != NULL) {
        batch.decoder = (km_stream){.tokens = rows * input->target,
                                    .longest = input->target,
                                    .starts = p->decoder_starts,
                                    .ids = input->decoder + target,
                                    .keys = p->keys};
    }
    return batch;
}

/* `rows` rows of states, of all layers of a stack. */
static km_status write_stack(const probe *p, int stack, const km_stack_shape *shape, int first, int rows) {
    for (int layer = 0; layer <= shape->layers; layer++) {
        char name[64];
        name_states(name, p, stack, layer);
        KM_TRY(write_rows(p, name, first, rows, km_work_hidden(p->work, (km_stack_name)stack, layer)));
    }
    return KM_OK;
}

/* The pass computes a classifier's logits for all tokens; a row's are those of its first one. */
static km_status write_logits(const probe *p, int first, int rows, const float *logits) {
    const size_t labels = (size_t)p->shape->num_labels;
    for (int row = 0; row < rows && p->input->classifier; row++) {
        memcpy(p->logits + (size_t)row * labels, logits + (size_t)row * (size_t)p->input->length * labels,
               labels * sizeof *logits);
    }
    return write_rows(p, "/logits", first, rows, p->input->classifier ? p->logits : logits);
}

static km_status write_states(probe *p, int first, int rows) {
    km_batch batch = batch_of(p, first, rows);
    km_stack_shape shape;
    batch.labelled = rows * p->input->target;
    for (int i = 0; i < batch.labelled; i++) {
        p->at[i] = i;
        p->labels[i] = 0; /* the first pass needs labels, but does not use their values */
    }
    KM_TRY(km_model_check(p->bundle->model, &batch));
    const float *logits = km_model_logits(p->bundle->model, p->bundle->weights, &batch, p->work);
    KM_TRY(write_logits(p, first, rows, logits));
    for (int stack = 0; km_model_stack(&shape, p->bundle->model, (km_stack_name)stack); stack++) {
        KM_TRY(write_stack(p, stack, &shape, first, rows));
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

static void add_batch(probe *p, const km_batch *batch) {
    const km_sink sink = {.payload = p, .ready = add_slice, .done = slices_done};
    km_loss_sum sum;
    km_model_gradient(p->bundle->model, p->bundle->weights, batch, 0, false, p->work, &sink, &sum);
    p->sum.loss += sum.loss;
    p->sum.masked += sum.masked;
    p->sum.correct += sum.correct;
}

/* Of a classifier: each run of rows that have a label. */
static void add_labelled_rows(probe *p, int first, int rows) {
    const int32_t *labels = p->input->labels;
    const int end = first + rows;
    for (int row = first; row < end; row++) {
        int count = 0;
        while (row + count < end && labels[row + count] != KM_NO_LABEL) {
            count++;
        }
        if (count > 0) {
            km_batch batch = batch_of(p, row, count);
            batch.classes = labels + row;
            batch.numbers = p->input->numbers == NULL ? NULL : p->input->numbers + row;
            add_batch(p, &batch);
            row += count;
        }
    }
}

static void add_labelled_places(probe *p, int first, int rows) {
    km_batch batch = batch_of(p, first, rows);
    const int32_t *labels = p->input->labels + (size_t)first * (size_t)p->input->target;
    for (int i = 0; i < rows * p->input->target; i++) {
        if (labels[i] != KM_NO_LABEL) {
            p->at[batch.labelled] = i;
            p->labels[batch.labelled++] = labels[i];
        }
    }
    add_batch(p, &batch);
}

static km_status run_rows(probe *p) {
    for (int first = 0; first < p->input->rows; first += p->run) {
        const int rows = KM_MIN(p->run, p->input->rows - first);
        KM_TRY(write_states(p, first, rows));
        if (p->gradient != NULL && p->input->classifier) {
            add_labelled_rows(p, first, rows);
        } else if (p->gradient != NULL) {
            add_labelled_places(p, first, rows);
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
        status = table->params[i].trained ? write_gradient(p, &table->params[i], piece) : KM_OK;
    }
    free(piece);
    return status;
}

/* ---- All of it ---- */

static int longest_of(const probe *p) {
    return KM_MAX(p->input->length, p->input->target);
}

static int rows_at_a_time(const probe *p) {
    const int64_t each = p->input->classifier ? p->shape->num_labels : p->shape->vocab_size;
    const int64_t by_logits = RUN_LOGITS / (p->input->target * each);
    return (int)KM_MIN(KM_MAX(KM_MIN(RUN_TOKENS / longest_of(p), by_logits), 1), p->input->rows);
}

static km_status create_work(probe *p) {
    const int T = p->input->length, U = p->input->target;
    km_work_options options = {.backward = true, .recompute = true, .bf16 = p->bf16};
    options.limits = (km_batch_limits){.views = p->run, .tokens = p->run * T, .longest = T, .labelled = p->run * U};
    if (p->input->decoder != NULL) {
        options.limits.decoder_tokens = p->run * U;
        options.limits.decoder_longest = U;
    }
    return km_work_create(&p->work, p->bundle->model, &options);
}

static km_status prepare(probe *p) {
    const size_t targets = (size_t)p->run * (size_t)p->input->target;
    KM_TRY(create_work(p));
    if (p->input->labelled > 0) {
        const size_t size = km_model_table(p->bundle->model)->size;
        KM_TRY(km_allocate((void **)&p->gradient, size * sizeof *p->gradient, "the gradient"));
    }
    p->starts = km_new((size_t)p->run + 1, sizeof *p->starts);
    p->decoder_starts = km_new((size_t)p->run + 1, sizeof *p->decoder_starts);
    p->numbers = km_new((size_t)p->run, sizeof *p->numbers);
    p->at = km_new(targets, sizeof *p->at);
    p->labels = km_new(targets, sizeof *p->labels);
    p->keys = km_new((size_t)p->run * (size_t)longest_of(p), sizeof *p->keys);
    p->classes = km_new((size_t)p->run, sizeof *p->classes);
    p->values = km_new((size_t)p->run, sizeof *p->values);
    p->logits = km_new((size_t)(p->run * KM_MAX(p->shape->num_labels, 1)), sizeof *p->logits);
    for (int row = 0; row <= p->run; row++) {
        p->starts[row] = row * p->input->length;
        p->decoder_starts[row] = row * p->input->target;
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
    free(p->decoder_starts);
    free(p->at);
    free(p->labels);
    free(p->keys);
    free(p->numbers);
    free(p->classes);
    free(p->values);
    free(p->logits);
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
                             .accuracy = rows.numbers != NULL ? NAN : (double)p.sum.correct / labelled};
    km_probe_input_free(&rows);
    return status;
}
