/* Activations and scratch of one thread: one block, placed by a function that runs twice: to measure, to place. */
#include "parts.h"

#include <stdlib.h>

enum { MOST_TOKENS = 1 << 24 }; /* so that no size below can overflow */

static float *floats(km_arena *arena, int rows, int columns) {
    return km_arena_take(arena, (size_t)rows * (size_t)columns, sizeof(float));
}

/* Where only products and what is fused with them look. */
static km_tensor operand(km_arena *arena, const km_work *work, size_t count) {
    if (work->options.bf16) {
        return (km_tensor){NULL, km_arena_take(arena, count, sizeof(km_bf16))};
    }
    return (km_tensor){km_arena_take(arena, count, sizeof(float)), NULL};
}

/* The same of floats that are somewhere else. */
static km_tensor beside(km_arena *arena, const km_work *work, float *f, size_t count) {
    return (km_tensor){f, work->options.bf16 ? km_arena_take(arena, count, sizeof(km_bf16)) : NULL};
}

static km_ending place_ending(km_arena *arena, int rows, int C, km_tensor y) {
    km_ending ending = {.y = y};
    ending.sum = floats(arena, rows, C);
    ending.mean = floats(arena, rows, 1);
    ending.rstd = floats(arena, rows, 1);
    return ending;
}

/* Whether layers share one set of activations. */
static bool shares_layers(const km_work *work) {
    return work->options.recompute || !work->options.backward;
}

static bool shares_between(const km_work *work) {
    return work->options.bf16 && !shares_layers(work);
}

/* Of a layer with `rows` output rows; `y` is the next layer's input. In bf16 backward has no use for the floats between the
 * layer's halves: all layers make them in one place. */
static km_layer_acts place_layer(km_work *work, km_arena *arena, const km_model *model, int rows, km_tensor y) {
    int C = model->C, I = model->I, N = work->options.limits.tokens;
    size_t n = (size_t)rows, c = (size_t)C, kept_words = (size_t)work->kept_words;
    size_t qkv = (n + 2 * (size_t)N) * c + KM_QKV_GAP, d_qkv = work->options.backward ? qkv : 0;
    km_layer_acts acts;
    acts.qkv = operand(arena, work, qkv);
    acts.context = operand(arena, work, n * c);
    acts.lse = floats(arena, rows, model->H);
    acts.kept = km_arena_take(arena, n * (size_t)model->H * kept_words, sizeof *acts.kept);
    float *between = shares_between(work) ? work->between : floats(arena, rows, C);
    acts.attention = place_ending(arena, rows, C, beside(arena, work, between, n * c));
    acts.u = operand(arena, work, KM_MAX(n * (size_t)I, d_qkv));
    acts.g = operand(arena, work, n * (size_t)I);
    acts.output = place_ending(arena, rows, C, y);
    return acts;
}

/* Every layer's input is kept for backward, of floats in bf16 only where the layer will be computed again; else two are
 * enough, in turns. */
static void place_hidden(km_work *work, km_arena *arena, int C) {
    const km_work_options *most = &work->options;
    const size_t count = (size_t)most->limits.tokens * (size_t)C;
    for (int l = 0; l < work->layers; l++) {
        const km_tensor *before = l < 2 ? NULL : &work->hidden[l - 2];
        bool new_floats = before == NULL || (most->backward && (!most->bf16 || most->recompute));
        float *f = new_floats ? floats(arena, most->limits.tokens, C) : before->f;
        bool again = before != NULL && !most->backward;
        work->hidden[l] = again ? *before : beside(arena, work, f, count);
    }
    work->hidden[work->layers] =
        beside(arena, work, floats(arena, most->limits.labelled, C), (size_t)most->limits.labelled * (size_t)C);
}

static void place_layers(km_work *work, km_arena *arena, const km_model *model) {
    const km_work_options *most = &work->options;
    work->between = shares_between(work) ? floats(arena, most->limits.tokens, model->C) : NULL;
    for (int l = 0; l < work->layers; l++) {
        int rows = l == work->layers - 1 ? most->limits.labelled : most->limits.tokens;
        if (l == 0 || !shares_layers(work)) {
            work->acts[l] = place_layer(work, arena, model, rows, work->hidden[l + 1]);
        } else {
            work->acts[l] = work->acts[0];
            work->acts[l].output.y = work->hidden[l + 1];
        }
    }
    work->input_at = beside(arena, work, floats(arena, most->limits.labelled, model->C),
                            (size_t)most->limits.labelled * (size_t)model->C);
}

static void place_head(km_work *work, km_arena *arena, const km_model *model) {
    int M = work->options.limits.labelled, C = model->C;
    km_head_acts *head = &work->head;
    head->t = floats(arena, M, C);
    head->g = floats(arena, M, C);
    head->mean = floats(arena, M, 1);
    head->rstd = floats(arena, M, 1);
    head->h = operand(arena, work, (size_t)M * (size_t)C);
    head->d = work->options.bf16 ? floats(arena, M, C) : head->h.f;
    head->logits = floats(arena, M, model->V);
    head->loss = floats(arena, M, 1);
    head->hit = km_arena_take(arena, (size_t)M, sizeof *head->hit);
}

/* The largest slice of the gradient that is made at a time: a matrix and its bias, or table rows. */
static size_t largest_slice(const km_model *model, int longest) {
    size_t C = (size_t)model->C, I = (size_t)model->I;
    size_t block = (size_t)KM_MIN(model->V, KM_VOCAB_BLOCK);
    size_t most = 3 * C * (C + 1);
    most = KM_MAX(most, I * (C + 1));
    most = KM_MAX(most, C * (I + 1));
    most = KM_MAX(most, block * (C + 1));
    return KM_MAX(most, C * (size_t)KM_MAX(longest, model->types));
}

static void place_backward(km_work *work, km_arena *arena, const km_model *model) {
    const km_work_options *most = &work->options;
    work->d = floats(arena, most->limits.tokens, model->C);
    work->d_at = floats(arena, most->limits.labelled, model->C);
    work->d_rounded = operand(arena, work, most->bf16 ? (size_t)most->limits.tokens * (size_t)model->C : 0).h;
    work->gradient = km_arena_take(arena, largest_slice(model, most->limits.longest), sizeof(float));
}

static void place(km_work *work, km_arena *arena, const km_model *model) {
    const km_work_options *most = &work->options;
    int N = most->limits.tokens, C = model->C;
    work->positions = km_arena_take(arena, (size_t)N, sizeof *work->positions);
    work->labelled_starts = km_arena_take(arena, (size_t)most->limits.views + 1, sizeof *work->labelled_starts);
    work->labelled_keys = km_arena_take(arena, (size_t)most->limits.labelled, sizeof *work->labelled_keys);
    work->embedding_sum = floats(arena, N, C);
    work->embedding_mean = floats(arena, N, 1);
    work->embedding_rstd = floats(arena, N, 1);
    work->attention = km_arena_take(
        arena, (most->bf16 ? km_attention_scratch_bf16 : km_attention_scratch)(most->limits.longest, C / model->H),
        sizeof(float));
    place_hidden(work, arena, C);
    place_layers(work, arena, model);
    place_head(work, arena, model);
    if (most->backward) {
        place_backward(work, arena, model);
    }
}

static km_work *new_work(const km_model *model, const km_work_options *options) {
    km_work *work = km_new(1, sizeof *work);
    work->options = *options;
    work->layers = model->L;
    work->kept_words = options->backward ? km_attention_kept_words(options->limits.longest) : 0;
    work->hidden = km_new((size_t)model->L + 1, sizeof *work->hidden);
    work->acts = km_new((size_t)model->L, sizeof *work->acts);
    return work;
}

size_t km_work_bytes(const km_model *model, const km_work_options *options) {
    km_arena measure = {0};
    km_work *work = new_work(model, options);
    place(work, &measure, model);
    km_work_destroy(work);
    return measure.used;
}

static km_status check_options(const km_model *model, const km_work_options *options) {
    if (options->limits.views < 1 || options->limits.tokens < 1 || options->limits.tokens > MOST_TOKENS ||
        options->limits.labelled < 0 || options->limits.labelled > options->limits.tokens ||
        options->limits.longest < 1 || options->limits.longest > options->limits.tokens) {
        return km_fail(KM_USAGE,
                       "a micro-batch of %d views, %d tokens, %d labelled and %d in a view does not fit: 1 to %d "
                       "tokens are possible. Use a smaller train.micro_batch.",
                       options->limits.views, options->limits.tokens, options->limits.labelled,
                       options->limits.longest, (int)MOST_TOKENS);
    }
    if (options->limits.longest > model->positions - model->first_position) {
        return km_fail(KM_USAGE,
                       "the model has positions for %d tokens and data.length is %d. Use shorter rows, or a model "
                       "with a larger max_position_embeddings.",
                       model->positions - model->first_position, options->limits.longest);
    }
    return KM_OK;
}

static km_status prepare_bf16(km_work *work, const km_model *model) {
    work->gemm = km_bf16_gemm_create();
    if (work->gemm == NULL) {
        return km_fail(KM_FAILED, "products in bf16 cannot be made here, by oneDNN for this CPU");
    }
    if (work->options.rounded != NULL) {
        return KM_OK;
    }
    return km_allocate((void **)&work->own_weights, model->table.size * sizeof *work->own_weights,
                       "the weights in bf16");
}

km_status km_work_create(km_work **out, const km_model *model, const km_work_options *options) {
    *out = NULL;
    KM_TRY(check_options(model, options));
    void *block = NULL;
    size_t bytes = km_work_bytes(model, options);
    KM_TRY(km_allocate(&block, bytes, "the activations of a micro-batch"));
    km_work *work = new_work(model, options);
    km_arena arena = {.base = block, .capacity = bytes};
    work->block = block;
    place(work, &arena, model);
    km_status status = options->bf16 ? prepare_bf16(work, model) : KM_OK;
    if (status != KM_OK) {
        km_work_destroy(work);
        work = NULL;
    }
    *out = work;
    return status;
}

void km_work_destroy(km_work *work) {
    if (work != NULL) {
        free(work->hidden);
        free(work->acts);
        free(work->own_weights);
        km_bf16_gemm_destroy(work->gemm);
        free(work->block);
        free(work);
    }
}

const float *km_work_hidden(const km_work *work, int layer) {
    return layer < 0 || layer > work->layers || !work->options.backward ||
                   (work->options.bf16 && !work->options.recompute)
               ? NULL
               : work->hidden[layer].f;
}
