/* checkpoint: what is written, and in which order. */
#include "checkpoint.h"

#include "kmask/kernel.h"

#include <gnu/libc-version.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- What the bits depend on besides the config ---- */

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

/* ---- Writing, on rank 0 ---- */

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
    return km_store_set_number(store, "place", facts->step * facts->config->train.sequences);
}

static km_status add_arrays(km_store *store, const km_table *table, int groups) {
    for (int group = 0; group < groups; group++) {
        for (int i = 0; i < table->count; i++) {
            const km_param *p = &table->params[i];
            char *name = km_format("%s%s", km_group_prefix(group), p->name);
            km_status status = km_store_add(store, name, KM_F32, p->rank, p->dims);
            free(name);
            KM_TRY(status);
        }
    }
    return KM_OK;
}

/* A stretch of one group of the table, to or from the file. */
typedef struct stretch {
    km_store *store;           /* being written */
    const km_store *from_file; /* being read */
    const km_table *table;
    int group;
    size_t first;
    const float *from;
    float *to;
} stretch;

static km_status write_overlap(void *payload, const km_param *param, size_t first, size_t count) {
    stretch *s = payload;
    KM_TRY(km_fault("save.write"));
    return km_store_write(s->store, km_group_find(s->store, s->group, param), first - param->offset, count,
                          s->from + (first - s->first));
}

km_status km_checkpoint_write(km_store *store, const km_parameters *p, int group, int rank, size_t first,
                              size_t count, const float *data) {
    for (int b = 0; b < km_exchange_buckets(p->exchange); b++) {
        size_t place = 0, number = 0, local = 0;
        km_exchange_part(p->exchange, b, rank, &place, &number, &local);
        size_t begin = KM_MAX(local, first), end = KM_MIN(local + number, first + count);
        if (begin < end) {
            stretch s = {
                .store = store, .group = group, .first = place + (begin - local), .from = data + (begin - first)};
            KM_TRY(km_table_walk(p->table, s.first, end - begin, write_overlap, &s));
        }
    }
    return KM_OK;
}

static km_status lay_out(km_store *store, const km_checkpoint_facts *facts) {
    KM_TRY(add_arrays(store, facts->table, facts->weights_only ? 1 : KM_GROUPS));
    KM_TRY(describe(store, facts));
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

/* ---- Reading ---- */

static km_status read_overlap(void *payload, const km_param *param, size_t first, size_t count) {
    stretch *s = payload;
    const km_array *array = km_group_find(s->from_file, s->group, param);
    KM_TRY(km_group_check_shape(array, param, s->group));
    return km_store_read(s->from_file, array, first - param->offset, count, s->to + (first - s->first));
}

static km_status read_piece(void *payload, size_t first, size_t count, float *data) {
    stretch s = *(stretch *)payload;
    s.first = first;
    s.to = data;
    memset(data, 0, count * sizeof *data); /* gaps between parameters */
    return km_table_walk(s.table, first, count, read_overlap, &s);
}

static km_status read_on_root(km_trainer *t, const km_store *store) {
    if (!km_store_number(store, "step", &t->step)) {
        return km_fail(KM_FAILED, "%s: no attribute `step`; this is not a checkpoint", km_store_path(store));
    }
    return km_weights_read(store, t->parameters->table, t->parameters->weights);
}

km_status km_checkpoint_load(km_trainer *t, const km_store *store) {
    const km_parameters *p = t->parameters;
    bool root = km_comm_rank(t->comm) == 0;
    KM_TRY(km_comm_agree(t->comm, root ? read_on_root(t, store) : KM_OK));
    km_comm_broadcast(t->comm, &t->step, sizeof t->step);
    km_comm_broadcast(t->comm, p->weights, p->table->size * sizeof *p->weights);
    float *moments[KM_GROUPS] = {[KM_FIRST_MOMENTS] = p->m, [KM_SECOND_MOMENTS] = p->v};
    for (int group = KM_FIRST_MOMENTS; group < KM_GROUPS; group++) {
        stretch s = {.from_file = store, .table = p->table, .group = group};
        KM_TRY(km_exchange_distribute(p->exchange, moments[group], read_piece, &s));
    }
    return KM_OK;
}

double km_run_file_bytes(const km_run *run, bool weights_only) {
    const km_table *table = km_model_table(run->model);
    const char *folder = getenv("TMPDIR");
    char *path =
        km_format("%s/kmask-plan-%lld", folder != NULL && *folder != '\0' ? folder : "/tmp", (long long)getpid());
    const km_checkpoint_facts facts = {.config = &run->config,
                                       .table = table,
                                       .corpus = run->corpus,
                                       .step = run->config.train.steps,
                                       .weights_only = weights_only};
    km_store *store = NULL;
    double bytes = (double)table->elements * (double)sizeof(float) * (weights_only ? 1 : 3);
    if (km_checkpoint_create(&store, &facts, path) == KM_OK) {
        bytes = (double)km_store_file_size(store);
        km_store_abandon(store);
    }
    free(path);
    return bytes;
}
