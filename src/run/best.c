/* best: the lowest held-out loss of a run, and the checkpoint that has it. */
#include "best.h"
#include "metrics.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- The lowest loss ---- */

bool km_best_add(km_best *best, int64_t step, const km_eval_result *result) {
    const bool comparable = best->step >= 0 && best->entropy == result->unigram_entropy;
    if (comparable && !(result->loss < best->loss)) {
        best->since++;
        return false;
    }
    *best = (km_best){.step = step, .loss = result->loss, .entropy = result->unigram_entropy};
    return true;
}

typedef struct replay {
    km_best *best;
    int64_t until;
} replay;

static void add_line(void *payload, const km_json *line, int64_t step) {
    const replay *r = payload;
    km_eval_result result = {0};
    if (step <= r->until && km_json_number(&result.loss, km_json_get(line, "eval_loss")) &&
        km_json_number(&result.unigram_entropy, km_json_get(line, "unigram_entropy"))) {
        (void)km_best_add(r->best, step, &result);
    }
}

void km_best_read(km_best *best, const km_config *config, int64_t until) {
    replay r = {best, until};
    *best = (km_best){.step = -1};
    if (config->checkpoint.best || config->eval.patience > 0) {
        km_metrics_each(config->run.dir, add_line, &r);
    }
}

bool km_best_ends(const km_best *best, const km_config *config) {
    return config->eval.patience > 0 && best->step >= 0 && best->since >= config->eval.patience;
}

/* ---- Its checkpoint ---- */

char *km_best_path(const char *dir) {
    return km_format("%s/checkpoints/best.h5", dir);
}

static km_status keep(const char *path, const char *best) {
    char *temporary = km_format("%s.tmp", best);
    (void)unlink(temporary);
    km_status status = km_fault("best.link");
    if (status != KM_OK || link(path, temporary) != 0) {
        status = km_file_copy(path, temporary);
    }
    if (status == KM_OK) {
        status = km_file_commit(temporary, best);
    }
    if (status != KM_OK) {
        (void)unlink(temporary);
    }
    free(temporary);
    return status;
}

void km_best_keep(const char *dir, int64_t step) {
    char *path = km_checkpoint_path(dir, step), *best = km_best_path(dir);
    /* Renaming does nothing where both names are the same file already. */
    if (!km_file_is_same(path, best) && keep(path, best) != KM_OK) {
        km_warn("%s; %s is not the best checkpoint any more, which is %s as long as that is there", km_message(),
                best, path);
    }
    free(best);
    free(path);
}

void km_best_catch_up(const km_best *best, const char *dir) {
    if (best->step < 0) {
        return;
    }
    char *path = km_checkpoint_path(dir, best->step), *kept = km_best_path(dir);
    if (km_file_exists(path) && !km_file_is_same(path, kept) && km_store_verify(path) == KM_OK) {
        km_best_keep(dir, best->step);
    }
    free(kept);
    free(path);
}
