#include "checkpoint.h"

#include "check.h"
#include "kmask/kernel.h"
#include "optimizer.h"

#include <gnu/libc-version.h>
#include <stdlib.h>
#include <string.h>

/* The parts of the state that hold one value a parameter. */
static const char *const GROUPS[] = {"/model/", "/optimizer/m/", "/optimizer/v/"};
enum { WEIGHTS, FIRST_MOMENTS, SECOND_MOMENTS, GROUP_COUNT };

static const km_array *find(const km_store *store, int group, const km_param *param) {
    char *name = km_format("%s%s", GROUPS[group], param->name);
    const km_array *array = km_store_find(store, name);
    free(name);
    return array;
}

/* ---- What the bits depend on besides the config ---- */

static char *blas_text(const km_config *config) {
    const km_gemm_name gemm = km_gemm_named(config);
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

static km_status describe(km_store *store, const km_trainer *t, const km_corpus *corpus, bool weights_only,
                          km_hash hash) {
    const km_tokenizer *tokenizer = km_corpus_tokenizer(corpus);
    char *config = km_config_print(t->config), *pieces = km_tokenizer_print(tokenizer);
    char weights_hash[33], tokenizer_hash[33], corpus_hash[33];
    km_hash_text(weights_hash, hash);
    km_hash_text(tokenizer_hash, km_tokenizer_hash(tokenizer));
    km_hash_text(corpus_hash, km_corpus_hash(corpus));
    char *blas = blas_text(t->config), *built_with = built_with_text();
    const struct {
        const char *name, *text;
    } texts[] = {
        {"kind", weights_only ? "model" : "checkpoint"},
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
    KM_TRY(km_store_set_number(store, "step", t->step));
    KM_TRY(km_store_set_number(store, "seed", t->config->run.seed));
    return km_store_set_number(store, "place", t->step * t->config->train.sequences);
}

static km_status add_arrays(km_store *store, const km_table *table, int groups) {
    for (int group = 0; group < groups; group++) {
        for (int i = 0; i < table->count; i++) {
            const km_param *p = &table->params[i];
            char *name = km_format("%s%s", GROUPS[group], p->name);
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
    return km_store_write(s->store, find(s->store, s->group, param), first - param->offset, count,
                          s->from + (first - s->first));
}

km_status km_checkpoint_write(km_store *store, const km_trainer *t, int group, int rank, size_t first, size_t count,
                              const float *data) {
    for (int b = 0; b < km_exchange_buckets(t->exchange); b++) {
        size_t place = 0, number = 0, local = 0;
        km_exchange_part(t->exchange, b, rank, &place, &number, &local);
        size_t begin = KM_MAX(local, first), end = KM_MIN(local + number, first + count);
        if (begin < end) {
            stretch s = {
                .store = store, .group = group, .first = place + (begin - local), .from = data + (begin - first)};
            KM_TRY(km_table_walk(t->table, s.first, end - begin, write_overlap, &s));
        }
    }
    return KM_OK;
}

static km_status lay_out(km_store *store, const km_trainer *t, const km_corpus *corpus, bool weights_only,
                         km_hash hash) {
    KM_TRY(add_arrays(store, t->table, weights_only ? 1 : GROUP_COUNT));
    KM_TRY(describe(store, t, corpus, weights_only, hash));
    return km_store_layout(store);
}

km_status km_checkpoint_create(km_store **out, const km_trainer *t, const km_corpus *corpus, const char *path,
                               bool weights_only, km_hash hash) {
    *out = NULL;
    char *folder = km_format("%.*s", (int)(strrchr(path, '/') - path), path);
    km_status status = km_make_folder(folder);
    free(folder);
    KM_TRY(status);
    KM_TRY(km_store_create(out, path));
    status = lay_out(*out, t, corpus, weights_only, hash);
    if (status != KM_OK) {
        km_store_abandon(*out);
        *out = NULL;
    }
    return status;
}

/* ---- Reading ---- */

static km_status check_shape(const km_array *array, const km_param *param, int group) {
    if (array == NULL) {
        return km_fail(KM_FAILED, "tensor %s%s is missing", GROUPS[group], param->name);
    }
    if (array->type != KM_F32 || array->rank != param->rank || array->count != param->count ||
        (param->rank == 2 && array->dims[0] != param->dims[0])) {
        return km_fail(KM_FAILED, "tensor %s: found %s of %llu x %llu, expected float32 of %llu x %llu",
                       array->name, km_type_name(array->type), (unsigned long long)array->dims[0],
                       (unsigned long long)(array->rank > 1 ? array->dims[1] : 1),
                       (unsigned long long)param->dims[0],
                       (unsigned long long)(param->rank > 1 ? param->dims[1] : 1));
    }
    return KM_OK;
}

km_status km_checkpoint_check(const km_store *store, const km_table *table, bool moments) {
    for (int group = 0; group < (moments ? GROUP_COUNT : 1); group++) {
        for (int i = 0; i < table->count; i++) {
            km_status status = check_shape(find(store, group, &table->params[i]), &table->params[i], group);
            if (status != KM_OK) {
                return km_context(status, "%s", km_store_path(store));
            }
        }
    }
    return KM_OK;
}

km_status km_weights_read(const km_store *store, const km_table *table, float *weights) {
    for (int i = 0; i < table->count; i++) {
        const km_param *p = &table->params[i];
        const km_array *array = find(store, WEIGHTS, p);
        km_status status = check_shape(array, p, WEIGHTS);
        if (status == KM_OK) {
            status = km_store_read(store, array, 0, p->count, weights + p->offset);
        }
        if (status != KM_OK) {
            return km_context(status, "%s", km_store_path(store));
        }
    }
    return KM_OK;
}

static km_status read_overlap(void *payload, const km_param *param, size_t first, size_t count) {
    stretch *s = payload;
    const km_array *array = find(s->from_file, s->group, param);
    KM_TRY(check_shape(array, param, s->group));
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
    return km_weights_read(store, t->table, t->weights);
}

km_status km_checkpoint_load(km_trainer *t, const km_store *store) {
    bool root = km_comm_rank(t->comm) == 0;
    KM_TRY(km_comm_agree(t->comm, root ? read_on_root(t, store) : KM_OK));
    km_comm_broadcast(t->comm, &t->step, sizeof t->step);
    km_comm_broadcast(t->comm, t->weights, t->table->size * sizeof *t->weights);
    float *moments[GROUP_COUNT] = {[FIRST_MOMENTS] = t->m, [SECOND_MOMENTS] = t->v};
    for (int group = FIRST_MOMENTS; group < GROUP_COUNT; group++) {
        stretch s = {.from_file = store, .table = t->table, .group = group};
        KM_TRY(km_exchange_distribute(t->exchange, moments[group], read_piece, &s));
    }
    return KM_OK;
}
