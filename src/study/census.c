/* What policies hide: the policies of all configs, one after the other. */
#include "census.h"
#include "outputs.h"

#include <stdlib.h>
#include <string.h>

typedef struct census {
    km_comm *comm;
    const km_census_input *inputs;
    int input_count;
    const char *folder;        /* NULL: nothing is kept */
    km_lock *lock;             /* rank 0; NULL: none */
    km_census_corpus *corpora; /* (input_count) */
    int corpus_count;
    km_census_arm *arms;
    int arm_count;
} census;

static int policies_of(const km_census_input *input) {
    return KM_MAX(1, input->masks.policies.count);
}

static const char *policy_of(const km_census_input *input, int index) {
    return input->masks.policies.count > 0 ? km_texts_at(&input->masks.policies, index) : input->config.mask.policy;
}

/* Whether another config or place of a list has the policy too. */
static bool is_several(const census *c, const char *policy) {
    int found = 0;
    for (int i = 0; i < c->input_count; i++) {
        for (int p = 0; p < policies_of(&c->inputs[i]); p++) {
            found += strcmp(policy_of(&c->inputs[i], p), policy) == 0;
        }
    }
    return found > 1;
}

/* Configs that name one file share it. */
static km_status find_corpus(census *c, const char *path, int *index) {
    for (*index = 0; *index < c->corpus_count; (*index)++) {
        if (strcmp(km_corpus_path(c->corpora[*index].corpus), path) == 0) {
            return KM_OK;
        }
    }
    c->corpus_count++;
    return km_census_corpus_open(&c->corpora[*index], c->comm, path);
}

static km_status add_arm(census *c, const km_census_input *input, int corpus, const char *policy) {
    km_census_arm *arm = &c->arms[c->arm_count++];
    *arm = (km_census_arm){.input = input, .over = &c->corpora[corpus], .over_index = corpus};
    arm->name = is_several(c, policy) ? km_format("%s (%s)", policy, input->path) : km_strdup(policy);
    return km_comm_agree(c->comm, km_census_masking(&arm->masking, &input->config, policy));
}

/* Opens what all configs name, before the first of them is counted for hours. */
static km_status open_all(census *c) {
    for (int i = 0; i < c->input_count; i++) {
        const km_census_input *input = &c->inputs[i];
        int corpus = 0;
        KM_TRY(find_corpus(c, input->config.data.train, &corpus));
        for (int p = 0; p < policies_of(input); p++) {
            KM_TRY(add_arm(c, input, corpus, policy_of(input, p)));
        }
    }
    return KM_OK;
}

static km_status count_all(census *c) {
    km_status status = open_all(c);
    for (int i = 0; i < c->arm_count && status == KM_OK; i++) {
        status = km_census_arm_count(&c->arms[i], c->comm, c->folder);
    }
    return status;
}

static km_status run(census *c, km_json **out) {
    const bool root = km_comm_rank(c->comm) == 0;
    if (c->folder != NULL) {
        KM_TRY(km_comm_agree(c->comm, root ? km_lock_take(&c->lock, c->folder, &km_lock_standard) : KM_OK));
        KM_TRY(km_comm_agree(c->comm, root ? km_outputs_check(c->folder, "masks") : KM_OK));
    }
    KM_TRY(count_all(c));
    km_status status = KM_OK;
    if (root && c->folder != NULL) {
        status = km_census_write(c->corpora, c->corpus_count, c->arms, c->arm_count, c->folder);
    }
    KM_TRY(km_comm_agree(c->comm, status));
    if (root) {
        *out = km_census_json(c->corpora, c->corpus_count, c->arms, c->arm_count);
    }
    return KM_OK;
}

km_status km_census(km_comm *comm, const km_census_input *inputs, int count, const char *folder, km_json **out) {
    census c = {.comm = comm, .inputs = inputs, .input_count = count, .folder = folder};
    int arms = 0;
    *out = NULL;
    for (int i = 0; i < count; i++) {
        arms += policies_of(&inputs[i]);
    }
    c.corpora = km_new((size_t)count, sizeof *c.corpora);
    c.arms = km_new((size_t)arms, sizeof *c.arms);
    km_status status = run(&c, out);
    for (int i = 0; i < c.arm_count; i++) {
        km_census_arm_free(&c.arms[i]);
    }
    for (int i = 0; i < c.corpus_count; i++) {
        km_census_corpus_close(&c.corpora[i]);
    }
    free(c.arms);
    free(c.corpora);
    km_lock_release(c.lock);
    return status;
}
