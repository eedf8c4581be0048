/* variance_worker: what one thread measures with, and the gradient of one row under one mask. */
#include "variance.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static km_status make_maskers(km_variance_worker *worker, int length) {
    const km_variance_plan *plan = worker->plan;
    const int each = plan->policy_count + 1;
    worker->maskers = km_new((size_t)(plan->cell_count * each), sizeof(km_masker *));
    worker->drawn = km_new((size_t)(plan->cell_count * each), sizeof *worker->drawn);
    for (int i = 0; i < plan->cell_count * each; i++) {
        const int p = i % each;
        const km_mask_policy *policy = p < plan->policy_count ? plan->policies[p] : plan->control;
        KM_TRY(km_masker_create(&worker->maskers[i], policy, &plan->cells[i / each].spec, plan->corpus, length));
        km_masks_create(&worker->drawn[i], worker->maskers[i]);
    }
    return KM_OK;
}

/* Room for one mask with a partner at every distance, as many masks as the draw of a cell at least. */
static void make_masks(km_variance_worker *worker, int length) {
    const km_variance_plan *plan = worker->plan;
    int most = 1 + plan->distance_count;
    for (int c = 0; c < plan->cell_count; c++) {
        most = KM_MAX(most, plan->cells[c].spec.splits);
    }
    worker->masks.stride = length;
    worker->masks.masks = km_new((size_t)most * (size_t)length, 1);
}

static km_status make_vectors(km_variance_worker *worker) {
    const km_variance_plan *plan = worker->plan;
    float **vectors[] = {&worker->g, &worker->s, &worker->a, &worker->b, &worker->sum_a, &worker->sum_b};
    size_t count = plan->sequences < plan->row_count ? KM_COUNT(vectors) : KM_COUNT(vectors) - 2;
    for (size_t i = 0; i < count; i++) {
        KM_TRY(
            km_allocate((void **)vectors[i], worker->measured->size * sizeof(float),
                        "a vector of the chosen parameters (choose fewer, or projections:N, in variance.params)"));
    }
    return KM_OK;
}

/* How the model is shown a row, and what it is to predict: what the config does not say follows from the model. */
static km_status choose_view(km_view_options *out, const km_variance_plan *plan,
                             const km_variance_model *measured) {
    const km_model_config *shape = km_model_shape(measured->model);
    const int64_t start = km_model_decoder_start(shape);
    km_mask_config mask = plan->config->mask;
    char name[KM_WORD + 16];
    snprintf(name, sizeof name, "model.type %s", shape->type);
    if (!km_given(&km_mask_section, &mask, "target")) {
        mask.target[0] = '\0';
    }
    for (int p = 0; p < plan->policy_count; p++) {
        snprintf(mask.policy, sizeof mask.policy, "%s", plan->policies[p]->name);
        KM_TRY(km_mask_resolve_target(&mask, name, start >= 0));
    }
    km_masking masking;
    KM_TRY(km_masking_of(&masking, &mask, start));
    *out = masking.view;
    return KM_OK;
}

static km_status fill_in(km_variance_worker *worker, int length) {
    const km_variance_plan *plan = worker->plan;

    make_masks(worker, length);
    KM_TRY(make_vectors(worker));
    KM_TRY(make_maskers(worker, length));
    km_view_options view;
    KM_TRY(choose_view(&view, plan, worker->measured));
    KM_TRY(km_view_maker_create(&worker->maker, plan->corpus, length, plan->shown, &view));
    const km_work_options work = {.limits = km_view_maker_limits(worker->maker), .backward = true};
    return km_work_create(&worker->work, worker->measured->model, &work);
}

km_status km_variance_worker_create(km_variance_worker **out, const km_variance_plan *plan,
                                    const km_variance_model *measured) {
    km_variance_worker *worker = *out = km_new(1, sizeof *worker);
    worker->plan = plan;
    worker->measured = measured;
    int length = 0;
    for (int i = 0; i < plan->row_count; i++) {
        length = KM_MAX(length, plan->rows[i]->length);
    }
    km_status status = fill_in(worker, length);
    if (status != KM_OK) {
        km_variance_worker_destroy(worker);
        *out = NULL;
    }
    return status;
}

void km_variance_worker_destroy(km_variance_worker *worker) {
    if (worker == NULL) {
        return;
    }
    float *vectors[] = {worker->g, worker->s, worker->a, worker->b, worker->sum_a, worker->sum_b};
    for (size_t i = 0; i < KM_COUNT(vectors); i++) {
        free(vectors[i]);
    }
    if (worker->work != NULL) {
        km_work_destroy(worker->work);
    }
    km_view_maker_destroy(worker->maker);
    for (int i = 0; worker->maskers != NULL && i < worker->plan->cell_count * (worker->plan->policy_count + 1);
         i++) {
        km_masker_destroy(worker->maskers[i]);
        km_masks_free(&worker->drawn[i]);
    }
    free(worker->maskers);
    free(worker->drawn);
    free(worker->masks.masks);
    free(worker);
}

/* ---- The gradient of a view --------------------------------------------------------------------------------- */

/* The payload of the model's sink. */
typedef struct chosen_gradient {
    const km_variance_model *measured;
    float *out;
} chosen_gradient;

/* Adds each element to one of the projections, with a sign. Both are random and follow from the seed and the element's place. */
static void project(const km_variance_model *measured, float *out, size_t offset, const float *gradient,
                    size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint64_t ticket = km_mix64(km_mix64(measured->seed ^ 0x9e3779b97f4a7c15U) + offset + i);
        uint64_t bucket = (ticket >> 32) * measured->projections >> 32;
        out[bucket] += (ticket & 1) != 0 ? gradient[i] : -gradient[i];
    }
}

/* Adds what is chosen of a slice, which may hold many tensors, or a piece of one. */
static void add_slice(void *payload, size_t offset, const float *gradient, size_t count) {
    const chosen_gradient *t = payload;
    const km_variance_model *measured = t->measured;
    int low = 0, high = measured->chosen_count;
    while (low < high) { /* the first segment that ends behind offset */
        int middle = low + (high - low) / 2;
        const km_chosen *segment = &measured->chosen[middle];
        if (segment->offset + segment->count <= offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    for (; low < measured->chosen_count && measured->chosen[low].offset < offset + count; low++) {
        const km_chosen *segment = &measured->chosen[low];
        size_t from = KM_MAX(segment->offset, offset);
        size_t to = KM_MIN(segment->offset + segment->count, offset + count);
        if (measured->projections > 0) {
            project(measured, t->out, from, gradient + (from - offset), to - from);
            continue;
        }
        float *place = t->out + segment->place + (from - segment->offset);
        for (size_t i = 0; i < to - from; i++) {
            place[i] += gradient[from - offset + i];
        }
    }
}

static void ignore_progress(void *payload, size_t offset) {
    (void)payload;
    (void)offset;
}

km_status km_variance_worker_gradient(km_variance_worker *worker, const km_row *row, const km_masks *masks, int k,
                                      uint64_t visit, uint32_t index, float *out) {
    const km_variance_plan *plan = worker->plan;
    const km_variance_model *measured = worker->measured;
    if (worker->stop != NULL && worker->stop(worker->payload)) {
        return km_fail(KM_STOPPED, "stopped early");
    }
    const km_batch *batch = NULL;
    KM_TRY(km_view_maker_make(worker->maker, row, masks, k, plan->seed, visit, index, &batch));
    KM_TRY(km_model_check(measured->model, batch));
    chosen_gradient t = {.measured = measured, .out = out};
    const km_sink sink = {.payload = &t, .ready = add_slice, .done = ignore_progress};
    km_loss_sum loss = {0};
    memset(out, 0, measured->size * sizeof *out);
    km_model_gradient(measured->model, measured->weights, batch, plan->seed, plan->dropout, worker->work, &sink,
                      &loss);
    if (!isfinite(loss.loss)) {
        return km_fail(KM_FAILED,
                       "%s: the loss is not finite at row %llu; the weights are damaged or training has diverged",
                       measured->name, (unsigned long long)row->number);
    }
    if (worker->tick != NULL) {
        worker->tick(worker->payload);
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
