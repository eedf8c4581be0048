/* probe_meta: an outer step of a meta-learned policy on given ids and noise, by the code that training runs. */
#include "meta.h"
#include "probe.h"

#include <stdlib.h>
#include <string.h>

typedef struct input {
    km_grid context, source, target, gumbel;
    km_triple *triples;
    int32_t *ids; /* of all */
    int *first, length;
    float *noise; /* (tokens of the contexts, 2) */
    size_t tokens;
} input;

static void free_input(input *in) {
    km_grid_free(&in->context);
    km_grid_free(&in->source);
    km_grid_free(&in->target);
    km_grid_free(&in->gumbel);
    free(in->triples);
    free(in->ids);
    free(in->first);
    free(in->noise);
}

/* Takes a row of a grid without the pad tokens at its end. */
static km_status take_text(km_ids_view *out, int32_t *ids, const km_grid *grid, int row,
                           const km_model_config *shape, const char *key, const char *path) {
    const double *values = grid->values + (size_t)row * (size_t)grid->length;
    int length = grid->lengths[row];
    while (length > 0 && values[length - 1] == (double)shape->pad_token_id) {
        length--;
    }
    for (int t = 0; t < length; t++) {
        if (!(values[t] >= 0 && values[t] < (double)shape->vocab_size)) {
            return km_fail(KM_FAILED, "%s: %s: row %d, position %d: found %.10g, expected an id of the model", path,
                           key, row, t, values[t]);
        }
        ids[t] = (int32_t)values[t];
    }
    *out = (km_ids_view){.ids = ids, .length = length};
    return length > 0 ? KM_OK : km_fail(KM_FAILED, "%s: %s: row %d has no token", path, key, row);
}

static km_status take_row(input *in, int32_t **ids, int row, const km_model_config *shape, const char *path) {
    static const char *const keys[] = {"context", "source", "target"};
    const km_grid *const grids[] = {&in->context, &in->source, &in->target};
    km_triple *triple = &in->triples[row];
    km_ids_view *const views[] = {&triple->context, &triple->source, &triple->target};
    for (size_t i = 0; i < KM_COUNT(keys); i++) {
        KM_TRY(take_text(views[i], *ids, grids[i], row, shape, keys[i], path));
        *ids += views[i]->length;
        in->length = KM_MAX(in->length, views[i]->length);
    }
    const double *noise = in->gumbel.values + (size_t)row * (size_t)in->gumbel.length;
    if (in->gumbel.lengths[row] < 2 * triple->context.length) {
        return km_fail(KM_FAILED, "%s: gumbel: row %d has %d numbers, expected 2 for each of %d tokens", path, row,
                       in->gumbel.lengths[row], triple->context.length);
    }
    in->first[row] = (int)in->tokens;
    for (int i = 0; i < 2 * triple->context.length; i++) {
        in->noise[2 * in->tokens + (size_t)i] = (float)noise[i];
    }
    in->tokens += (size_t)triple->context.length;
    return KM_OK;
}

static km_status read_input(input *in, const km_json *json, const km_model_config *shape, const char *path) {
    const double pad = (double)shape->pad_token_id;
    KM_TRY(km_grid_read(&in->context, json, "context", 2, pad, path));
    KM_TRY(km_grid_read(&in->source, json, "source", 2, pad, path));
    KM_TRY(km_grid_read(&in->target, json, "target", 2, pad, path));
    KM_TRY(km_grid_read(&in->gumbel, json, "gumbel", 3, 0, path));
    const int rows = in->context.rows;
    if (in->source.rows != rows || in->target.rows != rows || in->gumbel.rows != rows) {
        return km_fail(KM_FAILED, "%s: context, source, target and gumbel must have the same number of rows", path);
    }
    const size_t most = (size_t)rows * (size_t)(in->context.length + in->source.length + in->target.length);
    in->triples = km_new((size_t)rows, sizeof *in->triples);
    in->first = km_new((size_t)rows, sizeof *in->first);
    in->ids = km_new(KM_MAX(most, (size_t)1), sizeof *in->ids);
    in->noise = km_new(2 * KM_MAX(most, (size_t)1), sizeof *in->noise);
    int32_t *ids = in->ids;
    for (int r = 0; r < rows; r++) {
        KM_TRY(take_row(in, &ids, r, shape, path));
    }
    return KM_OK;
}

static km_meta_options options_of(const km_json *json, int rows) {
    km_meta_options o = {.alpha0 = km_json_number_or(json, "alpha0", 0.01),
                         .alpha1 = km_json_number_or(json, "alpha1", 0.01),
                         .beta = km_json_number_or(json, "beta", 0),
                         .gamma = km_json_number_or(json, "gamma", 0.15),
                         .epsilon = km_json_number_or(json, "epsilon", 0.05),
                         .temperature = km_json_number_or(json, "temperature", 1),
                         .embeddings = true,
                         .micro_batch = rows};
    (void)km_json_boolean(&o.hard, km_json_get(json, "hard"));
    o.hard = o.hard || km_json_number_or(json, "hard", 0) > 0;
    return o;
}

/* ---- Results ---- */

static void add_results(km_probe_file *out, const input *in, const km_meta *meta, const km_meta_result *result,
                        const km_policy_net *net) {
    const size_t T = (size_t)in->context.length, rows = (size_t)in->context.rows;
    double *values = km_new(rows * T, sizeof *values);
    for (size_t r = 0; r < rows; r++) {
        for (int t = 0; t < in->triples[r].context.length; t++) {
            values[r * T + (size_t)t] = (double)km_meta_decisions(meta)[in->first[r] + t];
        }
    }
    km_probe_add(out, "/decisions", 2, (const uint64_t[]){rows, T}, values);
    free(values);
    km_probe_add(out, "/loss_pretrain", 0, NULL, &result->loss_pretrain);
    km_probe_add(out, "/loss_before", 0, NULL, &result->loss_before);
    km_probe_add(out, "/loss_after", 0, NULL, &result->loss_after);
    km_probe_add(out, "/meta_loss", 0, NULL, &result->meta_loss);
    km_probe_add(out, "/regularizer", 0, NULL, &result->regularizer);
    const size_t size = km_policy_net_table(net)->size;
    double *gradient = km_new(size, sizeof *gradient);
    for (size_t i = 0; i < size; i++) {
        gradient[i] = (double)result->gradient[i];
    }
    km_probe_add_gradient(out, net, gradient, 0x1p-36 / result->divisor);
    free(gradient);
}

/* Everything that a step works with, on one rank. */
typedef struct setting {
    km_bundle *bundle;
    km_pool *pool;
    km_parameters *theta, *phi;
    km_meta *meta;
    input in;
} setting;

static km_status prepare(setting *s, km_comm *comm, const km_policy *policy, const char *model, const km_json *json,
                         const char *path) {
    KM_TRY(km_bundle_open(&s->bundle, model));
    if (km_model_decoder_start(&s->bundle->shape) < 0) {
        return km_fail(KM_USAGE, "--model: %s has no decoder; a meta-learned policy needs an encoder-decoder",
                       model);
    }
    KM_TRY(read_input(&s->in, json, &s->bundle->shape, path));
    KM_TRY(km_pool_create(&s->pool, 1));
    KM_TRY(km_parameters_create(&s->theta, comm, km_model_table(s->bundle->model), false));
    KM_TRY(km_parameters_create(&s->phi, comm, km_policy_net_table(policy->net), false));
    memcpy(s->theta->weights, s->bundle->weights, s->theta->table->size * sizeof(float));
    memcpy(s->phi->weights, policy->weights, s->phi->table->size * sizeof(float));
    const km_meta_options options = options_of(json, s->in.context.rows);
    return km_meta_create(&s->meta, comm, s->pool, s->bundle->model, s->bundle->tokenizer, policy->net, s->theta,
                          s->phi, &options, s->in.length, s->in.context.rows);
}

km_status km_probe_meta(km_comm *comm, const km_policy *policy, const char *model, const km_json *json,
                        const char *path, km_probe_file *out) {
    setting s = {0};
    km_meta_result result;
    km_status status = prepare(&s, comm, policy, model, json, path);
    if (status == KM_OK) {
        const km_meta_input step = {s.in.context.rows, s.in.triples, s.in.noise, s.in.first};
        status = km_meta_step(s.meta, &step, &result);
    }
    if (status == KM_OK) {
        add_results(out, &s.in, s.meta, &result, policy->net);
    }
    km_meta_destroy(s.meta);
    km_parameters_destroy(s.theta);
    km_parameters_destroy(s.phi);
    km_pool_destroy(s.pool);
    km_bundle_close(s.bundle);
    free_input(&s.in);
    return status;
}
