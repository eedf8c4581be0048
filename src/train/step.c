/* step: one step of training, from the batches of the reader to the new weights. */
#include "gradient.h"
#include "proposal.h"
#include "schedule.h"

#include <string.h>

/* What the ranks add up besides the gradient. FLOPs are added in millions, so that the sum fits into 64 bits. */
enum { LOSS, MASKED, CORRECT, TOKENS, BAD, STOP, SAVE, MEGAFLOPS, SCORES, TOTALS = SCORES + KM_SCORE_SUMS };

/* What is not finite, for a message. */
static const char *bad_name(const km_table *table, size_t offset) {
    if (offset == KM_BAD_LOSS) {
        return "the loss";
    }
    if (offset == KM_BAD_PROPOSAL) {
        return "the gradient of the network that proposes masks";
    }
    for (int i = table->count - 1; i >= 0; i--) {
        if (table->params[i].offset <= offset) {
            return table->params[i].name;
        }
    }
    return "?";
}

/* On a rank with a value that is not finite or out of range, returns the error that names it; KM_OK on the others. */
static km_status name_bad(const km_trainer *t, const km_batch *batches, const km_gradient_report *report) {
    if (report->bad_batch < 0) {
        return KM_OK;
    }
    km_buffer rows = {0};
    const km_batch *batch = &batches[report->bad_batch];
    for (int i = 0; i < batch->views; i++) {
        if (i == 0 || batch->rows[i] != batch->rows[i - 1]) {
            km_buffer_print(&rows, "%s%llu", rows.size > 0 ? ", " : "", (unsigned long long)batch->rows[i]);
        }
    }
    const char *what = bad_name(t->parameters->table, report->bad_offset);
    km_status status = km_fail(
        KM_FAILED, "step %lld: %s%s is not finite or out of range, in a micro-batch with corpus rows %s",
        (long long)t->step + 1, report->bad_offset >= KM_BAD_PROPOSAL ? "" : "the gradient of ", what, rows.data);
    km_buffer_free(&rows);
    return status;
}

static double divisor_of(const km_trainer *t, int64_t masked) {
    bool by_masks = strcmp(t->options.train.loss_norm, "masks") == 0;
    int64_t count = by_masks ? km_reader_views(t->reader) : masked;
    return (double)KM_MAX(count, 1);
}

/* What a live policy scores is released here, where no other thread of this rank makes products and the weights are those of the last
 * update. */
static km_status take(km_trainer *t, const km_batch **batches, int *count) {
    km_reader_release(t->reader);
    KM_TRY(km_comm_agree(t->comm, km_reader_take(t->reader, batches, count)));
    if (t->step + 1 < t->options.train.steps) {
        km_reader_request(t->reader, (uint64_t)t->step + 1, (int)t->first_batch, (int)t->batches);
    }
    return KM_OK;
}

static void update(km_trainer *t, const int64_t *sums, int64_t masked, km_step_report *report) {
    const km_trainer_options *options = &t->options;
    const int64_t step = t->step + 1;
    const double divisor = divisor_of(t, masked);
    report->lr = options->optimizer.lr *
                 km_schedule_factor(options->schedule.name, step, options->schedule.warmup, options->train.steps);
    report->grad_norm = km_gradient_norm(t->parameters, t->pool, sums, divisor);
    const km_update how = {.optimizer = &options->optimizer,
                           .lr = report->lr,
                           .step = t->earlier_updates + step,
                           .sums = sums,
                           .divisor = divisor,
                           .norm = report->grad_norm};
    km_parameters_update(t->parameters, t->pool, &how);
    t->step = step;
}

static void report_totals(km_step_report *report, const int64_t totals[TOTALS]) {
    report->loss = (double)totals[LOSS] / (double)(1 << KM_LOSS_BITS) / (double)KM_MAX(totals[MASKED], 1);
    report->masked = totals[MASKED];
    report->correct = totals[CORRECT];
    report->tokens = totals[TOKENS];
    report->flops = (double)totals[MEGAFLOPS] * 1e6;
    report->stop = totals[STOP];
    report->save = totals[SAVE];
}

km_status km_trainer_step(km_trainer *t, km_step_wish wish, km_step_report *report) {
    const double start = km_seconds(), comm_before = km_comm_seconds(t->comm);
    km_heartbeat_step(t->comm, t->step + 1);
    km_heartbeat_phase(t->comm, KM_READING);
    const km_batch *batches = NULL;
    int count = 0;
    KM_TRY(take(t, &batches, &count));

    km_gradient_report own;
    km_heartbeat_phase(t->comm, KM_COMPUTING);
    const bool shared = km_pool_workers(t->pool) > 1;
    km_gradient_sum *sum = km_gradient_sum_begin(t->parameters, count, shared);
    if (t->proposal != NULL) {
        km_proposal_begin(t->proposal, count, shared);
    }
    km_gradient(t, sum, batches, count, &own);

    km_heartbeat_phase(t->comm, KM_SUMMING);
    const int64_t *sums = km_gradient_sum_end(sum);
    int64_t totals[TOTALS] = {[LOSS] = own.loss_units,    [MASKED] = own.masked,
                              [CORRECT] = own.correct,    [TOKENS] = own.tokens,
                              [BAD] = own.bad_batch >= 0, [STOP] = wish.stop,
                              [SAVE] = wish.save,         [MEGAFLOPS] = (int64_t)(own.flops * 1e-6)};
    if (t->proposal != NULL) {
        km_proposal_end(t->proposal, totals + SCORES);
    }
    km_comm_sum(t->comm, totals, TOTALS);
    report->diverged = totals[BAD] > 0;
    if (report->diverged) {
        return km_comm_agree(t->comm, name_bad(t, batches, &own));
    }

    km_heartbeat_phase(t->comm, KM_UPDATING);
    update(t, sums, totals[MASKED], report);
    if (t->proposal != NULL) {
        km_proposal_update(t->proposal, t->pool, t->step, totals[MASKED]);
        km_proposal_report(report, totals + SCORES, totals[MASKED]);
    }
    report_totals(report, totals);
    report->seconds = km_seconds() - start;
    report->comm_seconds = km_comm_seconds(t->comm) - comm_before;
    return KM_OK;
}
