/* Activations and scratch of one thread: one block, placed by a function that runs twice: to measure, to place. */
#include "architecture.h"

#include <stdlib.h>

enum { MOST_TOKENS = 1 << 24 }; /* so that no size below can overflow */

/* ---- Parts of the block ------------------------------------------------------------------------------------- */

float *km_work_floats(km_arena *arena, int rows, int columns) {
    return km_arena_take(arena, (size_t)rows * (size_t)columns, sizeof(float));
}

km_tensor km_work_operand(km_arena *arena, const km_work *work, size_t count) {
    if (work->options.bf16) {
        return (km_tensor){NULL, km_arena_take(arena, count, sizeof(km_bf16))};
    }
    return (km_tensor){km_arena_take(arena, count, sizeof(float)), NULL};
}

km_tensor km_work_beside(km_arena *arena, const km_work *work, float *f, size_t count) {
    return (km_tensor){f, work->options.bf16 ? km_arena_take(arena, count, sizeof(km_bf16)) : NULL};
}

/* The slices of the gradient are made one at a time, in one place. */
static size_t largest_slice(const km_work *work) {
    const km_model *model = work->model;
    size_t most = model->head->kind->largest_slice(model);
    for (int stack = 0; stack < model->stack_count; stack++) {
        most = KM_MAX(most, km_stack_largest_slice(work, stack));
    }
    return most;
}

static size_t attention_scratch(const km_work *work) {
    size_t most = 0;
    for (int stack = 0; stack < work->model->stack_count; stack++) {
        most = KM_MAX(most, km_stack_attention_scratch(work, stack));
    }
    return most;
}

/* Elements of the largest stack's hidden states. */
static size_t largest_hidden(const km_work *work) {
    size_t most = 0;
    for (int stack = 0; stack < work->model->stack_count; stack++) {
        most = KM_MAX(most, (size_t)km_work_tokens(work, stack) * (size_t)work->model->stacks[stack].C);
    }
    return most;
}

static void place_backward(km_work *work, km_arena *arena, int C) {
    const size_t rounded = work->options.bf16 ? largest_hidden(work) : 0;
    work->d_at = km_work_floats(arena, work->most_outputs, C);
    work->d_rounded = km_work_operand(arena, work, rounded).h;
    work->gradient = km_arena_take(arena, largest_slice(work), sizeof(float));
}

static void place(km_work *work, km_arena *arena) {
    const km_model *model = work->model;
    const km_stack *last = &model->stacks[model->stack_count - 1];
    work->output_starts = km_arena_take(arena, (size_t)work->options.limits.views + 1, sizeof *work->output_starts);
    work->output_keys = km_arena_take(arena, (size_t)work->most_outputs, sizeof *work->output_keys);
    work->output_visible =
        km_arena_take(arena, last->is_decoder ? (size_t)work->most_outputs : 0, sizeof *work->output_visible);
    work->attention = km_arena_take(arena, attention_scratch(work), sizeof(float));
    for (int stack = 0; stack < model->stack_count; stack++) {
        km_stack_place_work(work, arena, stack);
    }
    model->head->kind->place_work(work, arena);
    if (work->options.backward) {
        place_backward(work, arena, last->C);
    }
}

/* ---- Creating ------------------------------------------------------------------------------------------------ */

static km_work *new_work(const km_model *model, const km_work_options *options) {
    km_work *work = km_new(1, sizeof *work);
    work->model = model;
    work->options = *options;
    work->most_outputs = model->head->kind->most_outputs(&options->limits);
    work->head = km_new(1, model->head->kind->work_size);
    for (int s = 0; s < model->stack_count; s++) {
        const size_t layers = (size_t)model->stacks[s].L;
        work->stacks[s].hidden = km_new(layers + 1, sizeof *work->stacks[s].hidden);
        work->stacks[s].acts = km_new(layers, sizeof *work->stacks[s].acts);
    }
    return work;
}

size_t km_work_bytes(const km_model *model, const km_work_options *options) {
    km_arena measure = {0};
    km_work *work = new_work(model, options);
    place(work, &measure);
    km_work_destroy(work);
    return measure.used;
}

static km_status check_stream(int views, int tokens, int labelled, int longest) {
    if (views < 1 || tokens < 1 || tokens > MOST_TOKENS || labelled < 0 || labelled > tokens || longest < 1 ||
        longest > tokens) {
        return km_fail(KM_USAGE,
                       "a micro-batch of %d views, %d tokens, %d labelled and %d in a view does not fit: 1 to %d "
                       "tokens are possible. Use a smaller train.micro_batch.",
                       views, tokens, labelled, longest, (int)MOST_TOKENS);
    }
    return KM_OK;
}

static km_status check_options(const km_model *model, const km_work_options *options) {
    const km_batch_limits *limits = &options->limits;
    const bool two = model->stack_count > 1;
    const int64_t positions = model->architecture->longest(&model->config);
    const int longest = two ? KM_MAX(limits->longest, limits->decoder_longest) : limits->longest;
    KM_TRY(check_stream(limits->views, limits->tokens, two ? 0 : limits->labelled, limits->longest));
    if (two) {
        KM_TRY(check_stream(limits->views, limits->decoder_tokens, limits->labelled, limits->decoder_longest));
    }
    if (longest > positions) {
        return km_fail(KM_USAGE,
                       "the model has positions for %d tokens and data.length is %d. Use shorter rows, or a model "
                       "with a larger max_position_embeddings.",
                       (int)positions, longest);
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
    place(work, &arena);
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
        for (int s = 0; s < work->model->stack_count; s++) {
            free(work->stacks[s].hidden);
            free(work->stacks[s].acts);
        }
        free(work->head);
        free(work->own_weights);
        km_bf16_gemm_destroy(work->gemm);
        free(work->block);
        free(work);
    }
}

const float *km_work_mixture(const km_work *work) {
    return work->stacks[KM_ENCODER].dmix;
}

const float *km_work_norms(const km_work *work) {
    return work->norms;
}

const float *km_work_hidden(const km_work *work, km_stack_name stack, int layer) {
    const km_work_options *options = &work->options;
    return (int)stack >= work->model->stack_count || layer < 0 || layer > work->model->stacks[stack].L ||
                   !options->backward || (options->bf16 && !options->recompute)
               ? NULL
               : work->stacks[stack].hidden[layer].f;
}
