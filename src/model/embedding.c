/* word + position + type, or scaled word + position -> norm -> dropout. */
#include "parts.h"

#include <string.h>

/* BERT counts a view's tokens from 0, whatever they are. RoBERTa gives pad tokens a row of their own, and leaves them out when it
 * counts. */
static void number_positions(const km_stack_pass *in) {
    const km_stack *stack = in->stack;
    const km_stream *stream = in->stream;
    for (int view = 0; view < in->pass->batch->views; view++) {
        int32_t next = stack->first_position;
        for (int32_t i = stream->starts[view]; i < stream->starts[view + 1]; i++) {
            bool pad = stack->pad_position >= 0 && stream->ids[i] == in->pass->model->pad;
            in->work->positions[i] = pad ? stack->pad_position : next++;
        }
    }
}

static km_dropout embedding_dropout(const km_stack_pass *in) {
    return km_pass_dropout(in->pass, in->stack->first_site, in->stack->hidden_dropout);
}

/* From the embeddings of a stream's words to their mixtures with that of mix_id. */
static void mix_words(const km_stack_pass *in) {
    const km_stream *stream = in->stream;
    const size_t C = (size_t)in->stack->C;
    const float *word = in->pass->weights + in->stack->embedding.word, *other = word + (size_t)stream->mix_id * C;
    for (size_t i = 0; i < (size_t)stream->tokens; i++) {
        const float *own = word + (size_t)stream->ids[i] * C, share = stream->mix[i] * in->stack->word_scale;
        float *sum = in->work->embedding_sum + i * C;
        for (size_t c = 0; stream->mix[i] != 0 && c < C; c++) {
            sum[c] += share * (other[c] - own[c]);
        }
    }
}

void km_embedding_forward(const km_stack_pass *in) {
    const km_embedding_parts *parts = &in->stack->embedding;
    const km_stream *stream = in->stream;
    const float *w = in->pass->weights;
    const int N = stream->tokens, C = in->stack->C;
    km_stack_work *work = in->work;
    const km_tensor out = work->hidden[0];
    const km_dropout dropout = embedding_dropout(in);
    number_positions(in);
    if (in->stack->types > 0) {
        KM_TIMED(KM_OP_FORWARD_EMBEDDING,
                 km_embed_forward(work->embedding_sum, stream->ids, work->positions, stream->types, w + parts->word,
                                  w + parts->position, w + parts->type, N, C));
    } else {
        KM_TIMED(KM_OP_FORWARD_EMBEDDING,
                 km_embed_scaled_forward(work->embedding_sum, stream->ids, work->positions, w + parts->word,
                                         in->stack->word_scale, w + parts->position, N, C));
    }
    if (stream->mix != NULL) {
        mix_words(in);
    }
    KM_TIMED(KM_OP_FORWARD_NORM,
             km_norm_forward(out.f, work->embedding_mean, work->embedding_rstd, work->embedding_sum,
                             w + parts->norm.w, w + parts->norm.b, in->stack->eps, N, C));
    if (dropout.p > 0) {
        KM_TIMED(KM_OP_DROPOUT, km_dropout_apply(out.f, out.f, &dropout, stream->keys, N, C));
    }
    if (in->pass->rounded != NULL) {
        KM_TIMED(KM_OP_ROUNDING, km_bf16_round(out.h, out.f, (size_t)N * (size_t)C));
    }
}

static void report_types(const km_stack_pass *in) {
    const km_stream *stream = in->stream;
    const km_stack *stack = in->stack;
    float *gradient = in->pass->work->gradient;
    const size_t C = (size_t)stack->C;
    if (stream->types == NULL) {
        KM_TIMED(KM_OP_BACKWARD_EMBEDDING, km_bias_backward(gradient, in->work->d, stream->tokens, stack->C));
        km_report(in->pass, stack->embedding.type, gradient, C);
        return;
    }
    memset(gradient, 0, (size_t)stack->types * C * sizeof(float));
    KM_TIMED(KM_OP_BACKWARD_EMBEDDING,
             km_scatter_add_rows(gradient, in->work->d, stream->types, stream->tokens, stack->C));
    km_report(in->pass, stack->embedding.type, gradient, (size_t)stack->types * C);
}

/* From the first token's row on: RoBERTa's pad row learns nothing, as the field has it. */
static void report_positions(const km_stack_pass *in) {
    const size_t C = (size_t)in->stack->C, first = (size_t)in->stack->first_position;
    const size_t count = (size_t)in->stream->longest * C;
    float *gradient = in->pass->work->gradient;
    memset(gradient, 0, count * sizeof(float));
    for (int i = 0; i < in->stream->tokens; i++) {
        size_t row = (size_t)in->work->positions[i];
        if (row >= first) {
            km_add(gradient + (row - first) * C, in->work->d + (size_t)i * C, C);
        }
    }
    km_report(in->pass, in->stack->embedding.position + first * C, gradient, count);
}

/* The rows of a token that is a mixture, and the gradient of its share. d (C) is destroyed. */
static void report_mixture(const km_stack_pass *in, size_t i, float *d) {
    const km_stream *stream = in->stream;
    const size_t C = (size_t)in->stack->C, word = in->stack->embedding.word;
    const size_t own = word + (size_t)stream->ids[i] * C, other = word + (size_t)stream->mix_id * C;
    const float *weights = in->pass->weights;
    float *part = in->pass->work->gradient;
    double slope = 0;
    for (size_t c = 0; c < C; c++) {
        slope += (double)d[c] * ((double)weights[other + c] - (double)weights[own + c]);
    }
    in->work->dmix[i] = (float)slope;
    km_multiply(part, d, stream->mix[i], C);
    km_report(in->pass, other, part, C);
    km_multiply(d, d, 1 - stream->mix[i], C);
    if (stream->ids[i] != in->pass->model->pad) {
        km_report(in->pass, own, d, C);
    }
}

/* A row for each token; the sink adds. The pad token's row learns from the head alone, as the field has it. */
static void report_words(const km_stack_pass *in) {
    const size_t C = (size_t)in->stack->C;
    const float scale = in->stack->word_scale;
    if (in->stack->types == 0 && (scale < 1 || scale > 1)) {
        km_multiply(in->work->d, in->work->d, scale, (size_t)in->stream->tokens * C);
    }
    for (int i = 0; i < in->stream->tokens; i++) {
        int32_t id = in->stream->ids[i];
        if (in->stream->mix != NULL) {
            report_mixture(in, (size_t)i, in->work->d + (size_t)i * C);
        } else if (id != in->pass->model->pad) {
            km_report(in->pass, in->stack->embedding.word + (size_t)id * C, in->work->d + (size_t)i * C, C);
        }
    }
}

void km_embedding_backward(const km_stack_pass *in) {
    km_stack_work *work = in->work;
    const int N = in->stream->tokens, C = in->stack->C;
    const km_dropout dropout = embedding_dropout(in);
    if (dropout.p > 0) {
        KM_TIMED(KM_OP_DROPOUT, km_dropout_apply(work->d, work->d, &dropout, in->stream->keys, N, C));
    }
    km_norm_step_back(in->pass, &in->stack->embedding.norm, work->d, work->embedding_sum, work->embedding_mean,
                      work->embedding_rstd, N, C);
    if (in->stack->types > 0) {
        report_types(in);
    }
    report_positions(in);
    report_words(in);
}
