/* What policies hide, as JSON and as an HDF5 file. */
#include "census.h"

#include <stdlib.h>
#include <string.h>

#include "kmask/store.h"

/* ---- JSON ---- */

static const char *tag_name(const km_census_corpus *c, int tag) {
    return km_corpus_tag(c->corpus, tag);
}

static km_json *pair(double low, double high) {
    km_json *json = km_json_array();
    km_json_push_number(json, low);
    km_json_push_number(json, high);
    return json;
}

static km_json *corpus_json(const km_census_corpus *c) {
    km_json *json = km_json_object(), *tags = km_json_object(), *pieces = km_json_array();
    char hash[33];
    km_hash_text(hash, km_corpus_hash(c->corpus));
    km_json_set_string(json, "path", km_corpus_path(c->corpus));
    km_json_set_string(json, "hash", hash);
    km_json_set_number(json, "tokens", (double)c->tokens);
    for (int t = 1; t < c->tags; t++) {
        km_json_set_number(tags, tag_name(c, t), (double)c->by_tag[t] / (double)c->tokens);
    }
    km_json_set(json, "tags", tags);
    km_json_set_number(json, "untagged", (double)c->by_tag[0] / (double)c->tokens);
    for (int i = 0; i < c->ranked_count; i++) {
        km_json_push_string(pieces, km_tokenizer_piece(km_corpus_tokenizer(c->corpus), c->ranked[i]));
    }
    km_json_set(json, "pieces", pieces);
    return json;
}

static void set_tags(km_json *json, const km_census_arm *arm) {
    km_json *tags = km_json_object(), *intervals = km_json_object();
    for (int t = 1; t < arm->over->tags; t++) {
        km_json_set_number(tags, tag_name(arm->over, t), arm->tags[t].mean);
        km_json_set(intervals, tag_name(arm->over, t), pair(arm->tags[t].low, arm->tags[t].high));
    }
    km_json_set(json, "tags", tags);
    km_json_set(json, "tag_intervals", intervals);
    km_json_set_number(json, "untagged", arm->tags[0].mean);
}

static void set_ranks(km_json *json, const km_census_arm *arm) {
    const km_census_corpus *c = arm->over;
    km_json *ranks = km_json_array(), *intervals = km_json_array();
    for (int i = 0; i < c->ranked_count; i++) {
        const km_interval *of = &arm->pieces[c->ranked[i]];
        km_json *point = km_json_array();
        km_json_push_number(point, i + 1);
        km_json_push_number(point, (double)c->by_id[c->ranked[i]] / (double)c->tokens);
        km_json_push_number(point, of->mean);
        km_json_push(ranks, point);
        km_json_push(intervals, pair(of->low, of->high));
    }
    km_json_set(json, "ranks", ranks);
    km_json_set(json, "rank_intervals", intervals);
}

static km_json *arm_json(const km_census_arm *arm) {
    km_json *json = km_json_object();
    km_json_set_string(json, "name", arm->name);
    km_json_set_string(json, "policy", arm->masking.policy->name);
    km_json_set_string(json, "unit", km_unit_name(km_masking_unit(&arm->masking)));
    km_json_set_number(json, "splits", arm->masking.spec.splits);
    km_json_set_number(json, "ratio", arm->masking.spec.ratio);
    km_json_set_string(json, "config", arm->input->path);
    km_json_set_number(json, "seed", (double)arm->input->config.run.seed);
    km_json_set_number(json, "corpus", arm->over_index);
    km_json_set_number(json, "rows", (double)arm->rows);
    km_json_set_number(json, "rows_total", (double)arm->rows_total);
    km_json_set_boolean(json, "exact", arm->exact);
    km_json_set_number(json, "draws", arm->exact ? 0 : (double)arm->input->masks.draws);
    km_json_set_number(json, "masked", arm->masked);
    set_tags(json, arm);
    set_ranks(json, arm);
    return json;
}

km_json *km_census_json(const km_census_corpus *corpora, int corpus_count, const km_census_arm *arms, int count) {
    km_json *json = km_json_object(), *over = km_json_array(), *policies = km_json_array();
    km_json_set_number(json, "confidence", 0.95);
    for (int i = 0; i < corpus_count; i++) {
        km_json_push(over, corpus_json(&corpora[i]));
    }
    for (int i = 0; i < count; i++) {
        km_json_push(policies, arm_json(&arms[i]));
    }
    km_json_set(json, "corpora", over);
    km_json_set(json, "policies", policies);
    return json;
}

/* ---- HDF5 ---- */

/* An array of doubles that waits to be written: names and values are freed with it. */
typedef struct column {
    char *name;
    double *values;
    uint64_t count;
} column;

typedef struct columns {
    column *list;
    int count;
} columns;

static double *add_column(columns *all, uint64_t count, char *name) {
    all->list = km_grow(all->list, (size_t)all->count + 1, sizeof *all->list);
    column *c = &all->list[all->count++];
    *c = (column){.name = name, .values = km_new(count + 1, sizeof *c->values), .count = count};
    return c->values;
}

/* Tags in the order of the corpus' list, "none" first; pieces by rank. */
static void add_corpus(columns *all, const km_census_corpus *c, int index) {
    const uint64_t tags = (uint64_t)c->tags, ranked = (uint64_t)c->ranked_count;
    double *by_tag = add_column(all, tags, km_format("/corpus_%d/tags", index));
    double *ids = add_column(all, ranked, km_format("/corpus_%d/ids", index));
    double *shares = add_column(all, ranked, km_format("/corpus_%d/shares", index));
    for (int t = 0; t < c->tags; t++) {
        by_tag[t] = (double)c->by_tag[t] / (double)c->tokens;
    }
    for (int i = 0; i < c->ranked_count; i++) {
        ids[i] = c->ranked[i];
        shares[i] = (double)c->by_id[c->ranked[i]] / (double)c->tokens;
    }
}

static void add_intervals(columns *all, int index, const char *what, const km_interval *of, const int32_t *order,
                          int count) {
    double *mean = add_column(all, (uint64_t)count, km_format("/policy_%d/%s", index, what));
    double *low = add_column(all, (uint64_t)count, km_format("/policy_%d/%s_low", index, what));
    double *high = add_column(all, (uint64_t)count, km_format("/policy_%d/%s_high", index, what));
    for (int i = 0; i < count; i++) {
        const km_interval *one = &of[order != NULL ? order[i] : i];
        mean[i] = one->mean;
        low[i] = one->low;
        high[i] = one->high;
    }
}

static km_status write_columns(km_store *store, const columns *all) {
    for (int i = 0; i < all->count; i++) {
        KM_TRY(km_store_add(store, all->list[i].name, KM_F64, 1, &all->list[i].count));
    }
    KM_TRY(km_store_layout(store));
    for (int i = 0; i < all->count; i++) {
        const column *c = &all->list[i];
        KM_TRY(km_store_write(store, km_store_find(store, c->name), 0, c->count, c->values));
    }
    return KM_OK;
}

static km_status set_names(km_store *store, const km_census_corpus *corpora, int corpus_count,
                           const km_census_arm *arms, int count) {
    km_json *names = km_json_array(), *tags = km_json_array();
    for (int i = 0; i < count; i++) {
        km_json_push_string(names, arms[i].name);
    }
    for (int i = 0; i < corpus_count; i++) {
        km_json *list = km_json_array();
        for (int t = 0; t < corpora[i].tags; t++) {
            km_json_push_string(list, t == 0 ? "" : tag_name(&corpora[i], t));
        }
        km_json_push(tags, list);
    }
    char *policies = km_json_print(names, false), *lists = km_json_print(tags, false);
    km_status status = km_store_set_text(store, "kind", "masks");
    status = status == KM_OK ? km_store_set_text(store, "policies", policies) : status;
    status = status == KM_OK ? km_store_set_text(store, "tags", lists) : status;
    free(policies);
    free(lists);
    km_json_destroy(names);
    km_json_destroy(tags);
    return status;
}

static km_status write_store(const char *path, const km_census_corpus *corpora, int corpus_count,
                             const km_census_arm *arms, int count, const columns *all) {
    km_store *store = NULL;
    KM_TRY(km_store_create_out(&store, path, NULL));
    km_status status = set_names(store, corpora, corpus_count, arms, count);
    status = status == KM_OK ? write_columns(store, all) : status;
    if (status == KM_OK) {
        return km_store_commit(store);
    }
    km_store_abandon(store);
    return status;
}

static km_status write_json(const char *path, km_json *json) {
    char *text = km_json_print(json, false);
    km_status status = km_out_replace(path, text, strlen(text));
    free(text);
    km_json_destroy(json);
    return status;
}

km_status km_census_write(const km_census_corpus *corpora, int corpus_count, const km_census_arm *arms, int count,
                          const char *folder) {
    columns all = {0};
    for (int i = 0; i < corpus_count; i++) {
        add_corpus(&all, &corpora[i], i);
    }
    for (int i = 0; i < count; i++) {
        add_intervals(&all, i, "tags", arms[i].tags, NULL, arms[i].over->tags);
        add_intervals(&all, i, "shares", arms[i].pieces, arms[i].over->ranked, arms[i].over->ranked_count);
    }
    char *json = km_format("%s/masks.json", folder), *store = km_format("%s/masks.h5", folder);
    km_status status = write_json(json, km_census_json(corpora, corpus_count, arms, count));
    status = status == KM_OK ? write_store(store, corpora, corpus_count, arms, count, &all) : status;
    for (int i = 0; i < all.count; i++) {
        free(all.list[i].name);
        free(all.list[i].values);
    }
    free(all.list);
    free(json);
    free(store);
    return status;
}
