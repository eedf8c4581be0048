/* meta_train: training by meta-learning (Algorithm 1 of Ye et al. 2021): a step draws examples and noise, and moves the policy by plain
 * SGD; with keep_pretrained the model moves on to theta1. */
#include "meta.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct training {
    km_parameters *theta;
    km_meta *meta;
    km_triple *triples;  /* (batch) */
    int *first;          /* (batch) */
    float *noise;        /* (batch * length, 2) */
    km_meta_input input; /* of the last step */
    km_masked masked;
} training;

static km_meta_options options_of(const km_policy_config *c) {
    return (km_meta_options){.alpha0 = c->alpha0,
                             .alpha1 = c->alpha1,
                             .beta = c->beta,
                             .gamma = c->gamma,
                             .epsilon = c->epsilon,
                             .temperature = c->temperature,
                             .hard = c->hard,
                             .loss_alone = strcmp(c->objective, "loss") == 0,
                             .embeddings = strcmp(c->embeddings, "trained") == 0,
                             .micro_batch = (int)c->micro_batch};
}

static km_status begin(km_policy_training *t) {
    const km_policy_config *c = &t->input->policy;
    const size_t batch = (size_t)c->batch, tokens = batch * (size_t)c->length;
    training *own = t->own = km_new(1, sizeof *own);
    own->triples = km_new(batch, sizeof *own->triples);
    own->first = km_new(batch, sizeof *own->first);
    own->noise = km_new(2 * tokens, sizeof *own->noise);
    km_masked_create(&own->masked, km_policy_net_shape(t->net)->V);
    KM_TRY(km_parameters_create(&own->theta, t->comm, km_model_table(t->bundle->model), false));
    memcpy(own->theta->weights, t->bundle->weights, own->theta->table->size * sizeof(float));
    const km_meta_options options = options_of(c);
    return km_meta_create(&own->meta, t->comm, t->pool, t->bundle->model, t->tokenizer, t->net, own->theta,
                          t->parameters, &options, (int)c->length, (int)c->batch);
}

static void end(km_policy_training *t) {
    training *own = t->own;
    km_meta_destroy(own->meta);
    km_parameters_destroy(own->theta);
    free(own->triples);
    free(own->first);
    free(own->noise);
    km_masked_free(&own->masked);
    free(own);
}

static km_parameters *model(const km_policy_training *t) {
    return ((const training *)t->own)->theta;
}

/* Standard Gumbel noise, a function of seed, step and example. */
static void draw_noise(float *out, size_t count, uint64_t seed, int64_t step, int example) {
    km_rng rng = km_rng_make(seed, KM_RNG_GUMBEL, (uint32_t)step, (uint64_t)example);
    for (size_t i = 0; i < count; i++) {
        out[i] = (float)-log(-log(KM_MAX(km_rng_unit(&rng), 0x1p-60)));
    }
}

static km_meta_input draw(km_policy_training *t) {
    training *own = t->own;
    const int batch = (int)t->input->policy.batch;
    int tokens = 0;
    for (int i = 0; i < batch; i++) {
        const uint64_t place = (uint64_t)t->step * (uint64_t)batch + (uint64_t)i;
        own->triples[i] = t->train.items[km_training_example(t, place)];
        own->first[i] = tokens;
        draw_noise(own->noise + 2 * (size_t)tokens, 2 * (size_t)own->triples[i].context.length,
                   (uint64_t)t->input->run.seed, t->step, i);
        tokens += own->triples[i].context.length;
    }
    return (km_meta_input){batch, own->triples, own->noise, own->first};
}

/* phi -= alpha2 gradient, on the parts that this rank owns, then on all ranks. */
static void move_policy(km_policy_training *t, const km_meta_result *result, double norm) {
    const km_policy_config *c = &t->input->policy;
    km_parameters *p = t->parameters;
    const double share = c->clip > 0 && norm > c->clip ? c->clip / norm : 1;
    const double scale = c->alpha2 * share * ldexp(1, -KM_FIXED_BITS) / result->divisor;
    for (int b = 0; b < km_exchange_buckets(p->exchange); b++) {
        size_t first = 0, count = 0, local = 0;
        km_exchange_part(p->exchange, b, km_comm_rank(t->comm), &first, &count, &local);
        for (size_t i = 0; i < count; i++) {
            p->weights[first + i] =
                (float)((double)p->weights[first + i] - scale * (double)result->gradient[local + i]);
        }
    }
    km_exchange_gather(p->exchange, p->weights);
}

static km_status step(km_policy_training *t, km_json *line) {
    training *own = t->own;
    km_meta_result result;
    own->input = draw(t);
    KM_TRY(km_meta_step(own->meta, &own->input, &result));
    const double norm = km_gradient_norm(t->parameters, t->pool, result.gradient, result.divisor);
    move_policy(t, &result, norm);
    if (t->input->policy.keep_pretrained) {
        memcpy(own->theta->weights, km_meta_theta1(own->meta), own->theta->table->size * sizeof(float));
    }
    t->step++;
    km_json_set_number(line, "loss", result.meta_loss);
    km_json_set_number(line, "loss_pretrain", result.loss_pretrain);
    km_json_set_number(line, "loss_before", result.loss_before);
    km_json_set_number(line, "loss_after", result.loss_after);
    km_json_set_number(line, "regularizer", result.regularizer);
    km_json_set_number(line, "masked_share", result.masked);
    km_json_set_number(line, "within_budget", result.within);
    km_json_set_number(line, "lr", t->input->policy.alpha2);
    km_json_set_number(line, "grad_norm", norm);
    return KM_OK;
}

/* What the last step of an epoch masks. */
static km_status evaluate(km_policy_training *t, km_json *line) {
    training *own = t->own;
    km_meta_count(own->meta, &own->masked);
    km_masked_report(&own->masked, t->comm, t->tokenizer, line);
    return KM_OK;
}

const km_training_kind km_training_meta = {
    .begin = begin, .step = step, .evaluate = evaluate, .end = end, .model = model};
