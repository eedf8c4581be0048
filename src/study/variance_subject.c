/* A model, its chosen parameters, and the gradient of one view in them. */
#include "kmask/kernel.h"
#include "variance.h"

#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Chosen parameters -------------------------------------------------------------------------------------- */

static const char PROJECTIONS[] = "projections:";

static bool is_projection(const char *pattern) {
    return strncmp(pattern, PROJECTIONS, sizeof PROJECTIONS - 1) == 0;
}

static km_status read_projections(km_subject *subject, const char *pattern) {
    char *end = NULL;
    const char *digits = pattern + sizeof PROJECTIONS - 1;
    unsigned long long number = strtoull(digits, &end, 10);
    if (*digits < '0' || *digits > '9' || *end != '\0' || number < 1 || number > 1U << 30) {
        return km_fail(KM_USAGE, "variance.params: found %s, expected projections:N with N from 1 to %u", pattern,
                       1U << 30);
    }
    subject->projections = (uint32_t)number;
    return KM_OK;
}

/* Whether the part is chosen; notes which patterns have found one. */
static bool is_chosen(const km_texts *patterns, const char *name, bool *found) {
    bool chosen = true, any = false;
    for (int i = 0; i < patterns->count; i++) {
        const char *pattern = km_texts_at(patterns, i);
        if (!is_projection(pattern)) {
            bool fits = fnmatch(pattern, name, 0) == 0;
            found[i] = found[i] || fits;
            any = any || fits;
            chosen = false;
        }
    }
    return chosen || any;
}

static km_status complain(const km_subject *subject, const char *pattern) {
    const km_table *table = km_model_table(subject->model);
    const char **names = km_new((size_t)table->count + 1, sizeof *names);
    for (int i = 0; i < table->count; i++) {
        names[i] = table->params[i].name;
    }
    const char *near = km_nearest(pattern, names);
    km_status status = km_fail(KM_USAGE, "variance.params: %s fits none of the %d tensors of %s; one of them is %s",
                               pattern, table->count, subject->name, near != NULL ? near : names[0]);
    free(names);
    return status;
}

static km_status choose(km_subject *subject, const km_texts *patterns) {
    const km_table *table = km_model_table(subject->model);
    bool found[KM_TEXTS] = {false};
    subject->chosen = km_new((size_t)table->count, sizeof *subject->chosen);
    for (int i = 0; i < table->count; i++) {
        const km_param *param = &table->params[i];
        if (is_chosen(patterns, param->name, found)) {
            subject->chosen[subject->chosen_count++] = (km_segment){
                .name = param->name, .offset = param->offset, .count = param->count, .place = subject->size};
            subject->size += param->count;
        }
    }
    for (int i = 0; i < patterns->count; i++) {
        const char *pattern = km_texts_at(patterns, i);
        if (is_projection(pattern)) {
            KM_TRY(read_projections(subject, pattern));
        } else if (!found[i]) {
            return complain(subject, pattern);
        }
    }
    if (subject->projections > 0) {
        subject->size = subject->projections;
    }
    return KM_OK;
}

int km_subject_parts(const km_subject *subject) {
    return subject->projections > 0 ? 1 : subject->chosen_count;
}

void km_subject_part(const km_subject *subject, int part, const char **name, size_t *first, size_t *count) {
    bool projected = subject->projections > 0;
    *name = projected ? "projections" : subject->chosen[part].name;
    *first = projected ? 0 : subject->chosen[part].place;
    *count = projected ? subject->size : subject->chosen[part].count;
}

/* ---- The model ---------------------------------------------------------------------------------------------- */

static km_status open_file(km_subject *subject, const km_variance_plan *plan) {
    KM_TRY(km_bundle_open(&subject->bundle, subject->name));
    const km_tokenizer *tokenizer = km_corpus_tokenizer(plan->corpus);
    if (!km_hash_equal(km_tokenizer_hash(subject->bundle->tokenizer), km_tokenizer_hash(tokenizer))) {
        return km_fail(
            KM_USAGE,
            "%s: built with another tokenizer than the model %s. Build the corpus again with the model's "
            "tokenizer.",
            km_corpus_path(plan->corpus), subject->name);
    }
    subject->model = subject->bundle->model;
    subject->weights = subject->bundle->weights;
    subject->hash = subject->bundle->weights_hash;
    subject->step = subject->bundle->step;
    return KM_OK;
}

static km_status make_fresh(km_subject *subject, const km_variance_plan *plan) {
    const km_tokenizer *tokenizer = km_corpus_tokenizer(plan->corpus);
    km_model_config shape = plan->config->model;
    int32_t pieces = km_tokenizer_size(tokenizer);
    shape.vocab_size = shape.vocab_size == 0 ? pieces : shape.vocab_size;
    shape.pad_token_id = km_tokenizer_specials(tokenizer).pad;
    if (shape.vocab_size < pieces) {
        return km_fail(KM_USAGE, "model.vocab_size: %lld is less than the %d pieces of the corpus' tokenizer",
                       (long long)shape.vocab_size, (int)pieces);
    }
    KM_TRY(km_model_create(&subject->model, &shape, KM_HEAD_TOKENS));
    const km_table *table = km_model_table(subject->model);
    KM_TRY(km_allocate((void **)&subject->own_weights, table->size * sizeof(float), "the weights"));
    km_model_init_weights(subject->model, subject->own_weights, plan->seed);
    subject->weights = subject->own_weights;
    subject->hash = km_table_hash(table, subject->weights);
    return KM_OK;
}

static km_status check_length(const km_subject *subject, const km_variance_plan *plan) {
    int64_t room = km_model_longest(km_model_shape(subject->model));
    if (plan->config->data.length > room) {
        return km_fail(KM_USAGE, "data.length: %lld is more than the %lld positions of the model %s",
                       (long long)plan->config->data.length, (long long)room, subject->name);
    }
    return KM_OK;
}

static km_status fill_in(km_subject *subject, const km_variance_plan *plan, bool fresh) {
    KM_TRY(fresh ? make_fresh(subject, plan) : open_file(subject, plan));
    KM_TRY(check_length(subject, plan));
    KM_TRY(choose(subject, &plan->wanted->params));
    return plan->exhaustive ? km_exact_check(plan, subject->size, km_subject_parts(subject)) : KM_OK;
}

km_status km_subject_open(km_subject **out, const km_variance_plan *plan, int index) {
    km_subject *subject = km_new(1, sizeof *subject);
    const char *init = plan->config->model.init, *name = "fresh";
    if (plan->models.count > 0 && strcmp(km_texts_at(&plan->models, index), name) != 0) {
        name = km_texts_at(&plan->models, index);
    } else if (init[0] != '\0') {
        name = init; /* what a run of this config would start from */
    }
    bool fresh = strcmp(name, "fresh") == 0;
    subject->name = km_strdup(name);
    subject->seed = plan->seed;
    km_status status = fill_in(subject, plan, fresh);
    if (status != KM_OK) {
        km_subject_close(subject);
        subject = NULL;
    }
    *out = subject;
    return status;
}

void km_subject_close(km_subject *subject) {
    if (subject == NULL) {
        return;
    }
    if (subject->bundle == NULL && subject->model != NULL) {
        km_model_destroy(subject->model);
    }
    km_bundle_close(subject->bundle);
    free(subject->own_weights);
    free(subject->chosen);
    free(subject->name);
    free(subject);
}

/* ---- The meter ---------------------------------------------------------------------------------------------- */

static km_status make_maskers(km_meter *meter, int length) {
    const km_variance_plan *plan = meter->plan;
    const int each = plan->policy_count + 1;
    meter->maskers = km_new((size_t)(plan->cell_count * each), sizeof(km_masker *));
    for (int i = 0; i < plan->cell_count * each; i++) {
        const int p = i % each;
        const km_mask_policy *policy = p < plan->policy_count ? plan->policies[p] : plan->control;
        KM_TRY(km_masker_create(&meter->maskers[i], policy, &plan->cells[i / each].spec, plan->corpus, length));
    }
    return KM_OK;
}

km_status km_meter_create(km_meter **out, const km_variance_plan *plan, const km_subject *subject) {
    km_meter *meter = *out = km_new(1, sizeof *meter);
    meter->plan = plan;
    meter->subject = subject;
    int length = 0, most = 1 + plan->distance_count;
    for (int i = 0; i < plan->row_count; i++) {
        length = KM_MAX(length, plan->rows[i]->length);
    }
    for (int c = 0; c < plan->cell_count; c++) {
        most = KM_MAX(most, plan->cells[c].spec.splits);
    }
    meter->masks.stride = length;
    meter->masks.masks = km_new((size_t)most * (size_t)length, 1);
    float **vectors[] = {&meter->g, &meter->s, &meter->a, &meter->b, &meter->sum_a, &meter->sum_b};
    size_t count = plan->sequences < plan->row_count ? KM_COUNT(vectors) : KM_COUNT(vectors) - 2;
    km_status status = KM_OK;
    for (size_t i = 0; i < count && status == KM_OK; i++) {
        status =
            km_allocate((void **)vectors[i], subject->size * sizeof(float),
                        "a vector of the chosen parameters (choose fewer, or projections:N, in variance.params)");
    }
    const km_work_options limits = {.limits = {.views = 1, .tokens = length, .labelled = length, .longest = length},
                                    .backward = true};
    status = status == KM_OK ? make_maskers(meter, length) : status;
    status = status == KM_OK ? km_work_create(&meter->work, subject->model, &limits) : status;
    if (status == KM_OK) {
        const km_view_options view = {.replace_mask = plan->config->mask.replace_mask,
                                      .replace_random = plan->config->mask.replace_random};
        status = km_view_maker_create(&meter->maker, plan->corpus, length, &view);
    }
    if (status != KM_OK) {
        km_meter_destroy(meter);
        *out = NULL;
    }
    return status;
}

void km_meter_destroy(km_meter *meter) {
    if (meter == NULL) {
        return;
    }
    float *vectors[] = {meter->g, meter->s, meter->a, meter->b, meter->sum_a, meter->sum_b};
    for (size_t i = 0; i < KM_COUNT(vectors); i++) {
        free(vectors[i]);
    }
    if (meter->work != NULL) {
        km_work_destroy(meter->work);
    }
    km_view_maker_destroy(meter->maker);
    for (int i = 0; meter->maskers != NULL && i < meter->plan->cell_count * (meter->plan->policy_count + 1); i++) {
        km_masker_destroy(meter->maskers[i]);
    }
    free(meter->maskers);
    free(meter->masks.masks);
    free(meter);
}

/* ---- The gradient of a view --------------------------------------------------------------------------------- */

typedef struct taker {
    const km_subject *subject;
    float *out;
} taker;

static void project(const km_subject *subject, float *out, size_t offset, const float *gradient, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint64_t ticket = km_mix64(km_mix64(subject->seed ^ 0x9e3779b97f4a7c15U) + offset + i);
        uint64_t bucket = (ticket >> 32) * subject->projections >> 32;
        out[bucket] += (ticket & 1) != 0 ? gradient[i] : -gradient[i];
    }
}

/* The slice's part that is chosen. Slices run over many tensors, or are a piece of one. */
static void take(void *payload, size_t offset, const float *gradient, size_t count) {
    const taker *t = payload;
    const km_subject *subject = t->subject;
    int low = 0, high = subject->chosen_count;
    while (low < high) { /* the first segment that ends behind offset */
        int middle = low + (high - low) / 2;
        const km_segment *segment = &subject->chosen[middle];
        if (segment->offset + segment->count <= offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    for (; low < subject->chosen_count && subject->chosen[low].offset < offset + count; low++) {
        const km_segment *segment = &subject->chosen[low];
        size_t from = KM_MAX(segment->offset, offset);
        size_t to = KM_MIN(segment->offset + segment->count, offset + count);
        if (subject->projections > 0) {
            project(subject, t->out, from, gradient + (from - offset), to - from);
            continue;
        }
        float *place = t->out + segment->place + (from - segment->offset);
        for (size_t i = 0; i < to - from; i++) {
            place[i] += gradient[from - offset + i];
        }
    }
}

static void pass_over(void *payload, size_t offset) {
    (void)payload;
    (void)offset;
}

km_status km_meter_gradient(km_meter *meter, const km_row *row, const uint8_t *mask, uint64_t visit, uint32_t index,
                            float *out) {
    const km_variance_plan *plan = meter->plan;
    const km_subject *subject = meter->subject;
    if (meter->stop != NULL && meter->stop(meter->payload)) {
        return km_fail(KM_STOPPED, "stopped early");
    }
    const km_batch *batch = NULL;
    KM_TRY(km_view_maker_make(meter->maker, row, mask, plan->seed, visit, index, &batch));
    KM_TRY(km_model_check(subject->model, batch));
    taker t = {.subject = subject, .out = out};
    const km_sink sink = {.payload = &t, .ready = take, .done = pass_over};
    km_loss_sum loss = {0};
    memset(out, 0, subject->size * sizeof *out);
    km_model_gradient(subject->model, subject->weights, batch, plan->seed, plan->dropout, meter->work, &sink,
                      &loss);
    if (!isfinite(loss.loss)) {
        return km_fail(KM_FAILED,
                       "%s: the loss is not finite at row %llu; the weights are damaged or training has diverged",
                       subject->name, (unsigned long long)row->number);
    }
    if (meter->tick != NULL) {
        meter->tick(meter->payload);
    }
    return KM_OK;
}

double km_centered_dot(const float *x, const float *y, const float *a, const float *b, float k, size_t count) {
    enum { LANES = 8 };
    double sums[LANES] = {0}, sum = 0;
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        for (size_t l = 0; l < LANES; l++) {
            double dx = (double)x[i + l] - (double)k * (double)a[i + l];
            double dy = (double)y[i + l] - (double)k * (double)b[i + l];
            sums[l] += dx * dy;
        }
    }
    for (; i < count; i++) {
        sum += ((double)x[i] - (double)k * (double)a[i]) * ((double)y[i] - (double)k * (double)b[i]);
    }
    for (int l = 0; l < LANES; l++) {
        sum += sums[l];
    }
    return sum;
}
