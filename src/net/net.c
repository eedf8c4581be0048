/* The networks: embeddings, and above them what a kind of network makes of them. */
#include "net.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const km_net_kind *const kinds[KM_POLICY_KINDS] = {[KM_POLICY_SUPERVISED] = &km_net_lstm,
                                                          [KM_POLICY_META] = &km_net_conv,
                                                          [KM_POLICY_PROPOSAL] = &km_net_proposal};

const char *km_policy_kind_name(km_policy_kind kind) {
    return kinds[kind]->name;
}

bool km_policy_kind_named(km_policy_kind *out, const char *name) {
    for (int i = 0; i < KM_POLICY_PROPOSAL; i++) {
        if (strcmp(kinds[i]->name, name) == 0) {
            *out = (km_policy_kind)i;
            return true;
        }
    }
    return false;
}

/* ---- Networks ---- */

static void place(km_policy_net *net, km_param *params) {
    km_table *table = &net->table;
    *table = (km_table){.params = params};
    net->embed = km_table_add(table, KM_START_NORMAL, net->shape.V, net->shape.C, "embed.weight");
    net->above = table->size;
    net->kind->place(net, table);
    km_table_end(table);
}

km_status km_policy_net_create(km_policy_net **out, const km_policy_shape *shape) {
    *out = NULL;
    if (shape->V < 1 || shape->C < 1 || shape->H < 1) {
        return km_fail(KM_USAGE,
                       "a policy of %d embeddings, %d wide, with %d hidden units: all must be at least 1.",
                       shape->V, shape->C, shape->H);
    }
    KM_TRY(kinds[shape->kind]->check(shape));
    km_policy_net *net = km_new(1, sizeof *net);
    net->shape = *shape;
    net->kind = kinds[shape->kind];
    place(net, NULL);
    place(net, km_new((size_t)net->table.count, sizeof(km_param)));
    *out = net;
    return KM_OK;
}

void km_policy_net_destroy(km_policy_net *net) {
    if (net != NULL) {
        free(net->table.params);
        free(net);
    }
}

const km_table *km_policy_net_table(const km_policy_net *net) {
    return &net->table;
}

const km_policy_shape *km_policy_net_shape(const km_policy_net *net) {
    return &net->shape;
}

int km_policy_net_outputs(const km_policy_net *net) {
    return net->kind->outputs;
}

/* Every matrix but the embeddings is multiplied once. */
double km_policy_flops(const km_policy_net *net) {
    double products = 0;
    for (int i = 0; i < net->table.count; i++) {
        const km_param *param = &net->table.params[i];
        products += param->rank == 2 && param->offset != net->embed ? (double)param->count : 0;
    }
    return 2 * products;
}

/* ---- Initial weights ---- */

/* Inputs of one output of the layer that a parameter belongs to; of the LSTM its hidden units, as PyTorch has it. */
static size_t inputs_of(const km_policy_net *net, const km_param *param) {
    if (strncmp(param->name, "lstm.", 5) == 0) {
        return (size_t)net->shape.H;
    }
    const size_t length = strcspn(param->name, ".");
    for (int i = 0; i < net->table.count; i++) {
        const km_param *other = &net->table.params[i];
        if (other->rank == 2 && strncmp(other->name, param->name, length + 1) == 0) {
            return (size_t)other->dims[1];
        }
    }
    return (size_t)param->count;
}

void km_policy_net_init(const km_policy_net *net, float *weights, uint64_t seed) {
    memset(weights, 0, net->table.size * sizeof *weights);
    for (int i = 0; i < net->table.count; i++) {
        const km_param *param = &net->table.params[i];
        const uint32_t name = (uint32_t)km_hash_bytes(param->name, strlen(param->name)).low;
        const double bound = 1 / sqrt((double)inputs_of(net, param));
        km_rng rng = km_rng_make(seed, KM_RNG_INIT, name, 0);
        for (size_t e = 0; e < param->count; e++) {
            weights[param->offset + e] =
                (float)(param->offset == net->embed && i == 0 ? 0.02 * km_rng_normal(&rng)
                                                              : bound * (2 * km_rng_unit(&rng) - 1));
        }
    }
    if (net->kind->starts_flat) {
        const size_t last = km_table_find(&net->table, "linear2.weight")->offset;
        memset(weights + last, 0, (net->table.size - last) * sizeof *weights);
    }
}

/* ---- Work areas ---- */

float *km_net_floats(km_arena *arena, size_t rows, size_t columns) {
    return km_arena_take(arena, rows * columns, sizeof(float));
}

static size_t largest_part(const km_policy_net *net) {
    size_t most = (size_t)net->shape.C;
    for (int i = 1; i < net->table.count; i++) {
        most = KM_MAX(most, net->table.params[i].count);
    }
    return most;
}

static void place_work(km_policy_work *work, const km_policy_net *net, km_arena *arena, int tokens, int views) {
    const size_t N = (size_t)tokens, C = (size_t)net->shape.C;
    work->x = km_net_floats(arena, N, C);
    work->dx = km_net_floats(arena, N, C);
    work->logits = km_net_floats(arena, N, (size_t)net->kind->outputs);
    work->dlogits = km_net_floats(arena, N, (size_t)net->kind->outputs);
    work->gradient = km_net_floats(arena, 1, largest_part(net));
    net->kind->place_work(work, net, arena, tokens, views);
}

size_t km_policy_work_bytes(const km_policy_net *net, int tokens, int views) {
    km_policy_work work = {0};
    km_arena measure = {0};
    place_work(&work, net, &measure, tokens, views);
    return measure.used;
}

km_status km_policy_work_create(km_policy_work **out, const km_policy_net *net, int tokens, int views) {
    *out = NULL;
    km_policy_work *work = km_new(1, sizeof *work);
    km_arena arena = {0};
    place_work(work, net, &arena, tokens, views);
    km_status status = km_allocate(&work->block, KM_MAX(arena.used, 1), "the activations of a policy");
    if (status != KM_OK) {
        free(work);
        return status;
    }
    arena = (km_arena){.base = work->block, .capacity = arena.used};
    place_work(work, net, &arena, tokens, views);
    *out = work;
    return KM_OK;
}

void km_policy_work_destroy(km_policy_work *work) {
    if (work != NULL) {
        free(work->block);
        free(work);
    }
}

void km_policy_work_set_dropout(km_policy_work *work, double share, uint64_t seed) {
    work->dropout.p = (float)share;
    km_rng_key(work->dropout.key, seed, KM_RNG_DROPOUT);
}

/* ---- Passes ---- */

void km_net_dropout(const km_net_pass *pass, float *y, int layer, int C) {
    km_dropout dropout = pass->work->dropout;
    dropout.site = (uint32_t)layer;
    if (dropout.p > 0 && pass->stream->keys != NULL) {
        km_dropout_apply(y, y, &dropout, pass->stream->keys, pass->stream->tokens, C);
    }
}

const float *km_policy_forward(const km_policy_net *net, const float *weights, const km_stream *stream, int views,
                               km_policy_work *work) {
    const km_net_pass pass = {net, weights, stream, views, work, NULL};
    km_gather_rows(work->x, weights + net->embed, stream->ids, stream->tokens, net->shape.C);
    net->kind->forward(&pass);
    return work->logits;
}

void km_net_report_linear(const km_net_pass *pass, const km_linear_parts *parts, const float *dy, const float *x,
                          int in, int out) {
    float *w = pass->work->gradient;
    const size_t count = (size_t)in * (size_t)out;
    km_bias_backward(w, dy, pass->stream->tokens, out);
    pass->sink->ready(pass->sink->payload, parts->b, w, (size_t)out);
    km_linear_backward_weight(w, NULL, dy, x, pass->stream->tokens, in, out);
    pass->sink->ready(pass->sink->payload, parts->w, w, count);
}

void km_policy_backward(const km_policy_net *net, const float *weights, const km_stream *stream, int views,
                        const float *dlogits, bool embeddings, km_policy_work *work, const km_sink *sink) {
    const km_net_pass pass = {net, weights, stream, views, work, sink};
    const size_t C = (size_t)net->shape.C;
    if (dlogits != work->dlogits) {
        memcpy(work->dlogits, dlogits, (size_t)stream->tokens * (size_t)net->kind->outputs * sizeof *dlogits);
    }
    net->kind->backward(&pass);
    sink->done(sink->payload, net->above);
    for (size_t i = 0; embeddings && i < (size_t)stream->tokens; i++) {
        sink->ready(sink->payload, net->embed + (size_t)stream->ids[i] * C, work->dx + i * C, C);
    }
    sink->done(sink->payload, 0);
}
