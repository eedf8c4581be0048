/* plan_corpus: random tokens in place of a corpus that is not there yet, so that micro-batches are made and measured as in a run. */
#include "bench_private.h"
#include "plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The tokenizer of the model that the run starts from; *out stays NULL where the run starts from nothing. */
static km_status open_tokenizer(km_tokenizer **out, const km_run *run) {
    char *text = NULL;
    const char *origin = run->config.model.init, *found = NULL;
    if (run->start_folder != NULL) {
        found = text = km_tokenizer_print(run->start_folder->tokenizer);
    } else if (run->start_file != NULL) {
        found = km_store_text(run->start_file, "tokenizer");
        if (found == NULL) {
            return km_fail(KM_FAILED, "%s: found no tokenizer in it, expected a model or checkpoint", origin);
        }
    }
    km_status status = found == NULL ? KM_OK : km_tokenizer_parse(out, found, strlen(found), origin);
    free(text);
    return status;
}

km_status km_plan_assume_corpus(km_run *run) {
    km_config *config = &run->config;
    if (run->resume_path != NULL) {
        return km_fail(
            KM_USAGE,
            "--tokens: the run in %s has begun, so its corpus is there. Plan it without --tokens, or give "
            "another run.dir.",
            config->run.dir);
    }
    config->data.eval[0] = '\0';
    snprintf(config->data.packing, sizeof config->data.packing, "stream");
    if (km_mask_policy_named(config->mask.policy)->needs_spans) {
        snprintf(config->mask.policy, sizeof config->mask.policy, "random");
    }
    km_tokenizer *tokenizer = NULL;
    KM_TRY(open_tokenizer(&tokenizer, run));
    if (tokenizer == NULL && config->model.vocab_size == 0) {
        config->model.vocab_size = km_model_usual_vocabulary(&config->model);
    }
    km_status status = km_bench_corpus_open(&run->corpus, config, tokenizer);
    km_tokenizer_destroy(tokenizer);
    return status;
}

double km_plan_assumed_rows(const km_run *run, int64_t tokens) {
    enum { FRAME = 2 }; /* the special tokens that begin and end a row */
    return ceil((double)tokens / (double)(run->config.data.length - FRAME));
}
