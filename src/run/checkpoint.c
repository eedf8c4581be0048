/* checkpoint: what a checkpoint holds, and where each part of a run's state goes in it. */
#include "checkpoint.h"

#include "kmask/kernel.h"

#include <gnu/libc-version.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- What the bits of a step depend on, apart from the config ---- */

static char *blas_text(const km_config *config) {
    const km_gemm_name gemm = km_gemm_named(&config->train, &config->parallel);
    return km_format("%s %s, loops %s", gemm.library, gemm.kernel, km_kernel_vector());
}

static char *built_with_text(void) {
#ifdef __clang__
    return km_format("%s, glibc %s", __VERSION__, gnu_get_libc_version());
#else
    return km_format("gcc %s, glibc %s", __VERSION__, gnu_get_libc_version());
#endif
}

static void compare_text(km_buffer *out, const km_store *store, const char *name, char *now) {
    const char *was = km_store_text(store, name);
    if (was != NULL && strcmp(was, now) != 0) {
        km_buffer_print(out, "%s%s, now %s", out->size > 0 ? "; " : "", was, now);
    }
    free(now);
}

void km_checkpoint_compare_machine(km_buffer *out, const km_store *store, const km_config *config) {
    compare_text(out, store, "blas", blas_text(config));
    compare_text(out, store, "built_with", built_with_text());
}

/* ---- Creating a file ---- */

static km_status describe(km_store *store, const km_checkpoint_facts *facts) {
    const km_tokenizer *tokenizer = km_corpus_tokenizer(facts->corpus);
    char *config = km_config_print(facts->config), *pieces = km_tokenizer_print(tokenizer);
    char weights_hash[33], tokenizer_hash[33], corpus_hash[33];
    km_hash_text(weights_hash, facts->hash);
    km_hash_text(tokenizer_hash, km_tokenizer_hash(tokenizer));
    km_hash_text(corpus_hash, km_corpus_hash(facts->corpus));
    char *blas = blas_text(facts->config), *built_with = built_with_text();
    const struct {
        const char *name, *text;
    } texts[] = {
        {"kind", facts->weights_only ? "model" : "checkpoint"},
        {"config", config},
        {"tokenizer", pieces},
        {"tokenizer_hash", tokenizer_hash},
        {"corpus_hash", corpus_hash},
        {"weights_hash", weights_hash},
        {"blas", blas},
        {"built_with", built_with},
        {"created_by", "kmask " KM_VERSION},
    };
    km_status status = KM_OK;
    for (size_t i = 0; status == KM_OK && i < KM_COUNT(texts); i++) {
        status = km_store_set_text(store, texts[i].name, texts[i].text);
    }
    free(built_with);
    free(blas);
    free(pieces);
    free(config);
    KM_TRY(status);
    KM_TRY(km_store_set_number(store, "step", facts->step));
    KM_TRY(km_store_set_number(store, "seed", facts->config->run.seed));
    if (facts->state->earlier_updates > 0 && !facts->weights_only) {
        KM_TRY(km_store_set_number(store, KM_EARLIER_UPDATES, facts->state->earlier_updates));
    }
    return km_store_set_number(store, "place", facts->step * facts->config->train.sequences);
}

/* Writes the hashes of the weights of networks beside the model. */
static km_status describe_networks(km_store *store, const km_state *state) {
    for (int i = 1; i < state->count; i++) {
        const km_trained *trained = &state->networks[i];
        char hash[33] = "", *name = km_network_hash_name(&trained->network);
        if (trained->parameters != NULL) { /* NULL in a plan, whose file is only measured and never read */
            km_hash_text(hash, km_table_hash(trained->network.table, trained->parameters->weights));
        }
        km_status status = km_store_set_text(store, name, hash);
        free(name);
        KM_TRY(status);
    }
    return KM_OK;
}

static km_status add_networks(km_store *store, const km_checkpoint_facts *facts) {
    for (int i = 0; i < facts->state->count; i++) {
        km_network network = facts->state->networks[i].network;
        network.groups = facts->weights_only ? 1 : network.groups;
        KM_TRY(km_network_add(store, &network));
    }
    return KM_OK;
}

static km_status lay_out(km_store *store, const km_checkpoint_facts *facts) {
    if (facts->state->count > 1 &&
        !facts->weights_only) { /* a snapshot's model can be read without the other networks */
        km_store_set_format(store, KM_FORMAT_NETWORKS);
    }
    KM_TRY(add_networks(store, facts));
    KM_TRY(describe(store, facts));
    KM_TRY(describe_networks(store, facts->state));
    return km_store_layout(store);
}

km_status km_checkpoint_create(km_store **out, const km_checkpoint_facts *facts, const char *path) {
    *out = NULL;
    char *folder = km_format("%.*s", (int)(strrchr(path, '/') - path), path);
    km_status status = km_make_folder(folder);
    free(folder);
    KM_TRY(status);
    KM_TRY(km_store_create(out, path));
    status = lay_out(*out, facts);
    if (status != KM_OK) {
        km_store_abandon(*out);
        *out = NULL;
    }
    return status;
}

/* A rank's part has pieces in several buckets, which lie at several places of the flat array. */
km_status km_checkpoint_write(km_store *store, const km_state_part *part, int rank, size_t first, size_t count,
                              const float *data) {
    const km_network *network = &part->trained->network;
    const km_exchange *exchange = part->trained->parameters->exchange;
    for (int b = 0; b < km_exchange_buckets(exchange); b++) {
        size_t place = 0, number = 0, local = 0;
        km_exchange_part(exchange, b, rank, &place, &number, &local);
        const size_t begin = KM_MAX(local, first), end = KM_MIN(local + number, first + count);
        if (begin < end) {
            KM_TRY(km_fault("save.write"));
            KM_TRY(km_network_write(store, network, part->group, place + (begin - local), end - begin,
                                    data + (begin - first)));
        }
    }
    return KM_OK;
}

/* ---- Its size ---- */

double km_run_file_bytes(const km_run *run, bool weights_only) {
    const km_state state = km_run_state(run);
    const char *folder = getenv("TMPDIR");
    char *path =
        km_format("%s/kmask-plan-%lld", folder != NULL && *folder != '\0' ? folder : "/tmp", (long long)getpid());
    const km_checkpoint_facts facts = {.config = &run->config,
                                       .state = &state,
                                       .corpus = run->corpus,
                                       .step = run->config.train.steps,
                                       .weights_only = weights_only};
    km_store *store = NULL;
    double bytes = (double)km_state_elements(&state, weights_only, 0, 1) * (double)sizeof(float);
    if (km_checkpoint_create(&store, &facts, path) == KM_OK) {
        bytes = (double)km_store_file_size(store);
        km_store_abandon(store);
    }
    free(path);
    return bytes;
}
