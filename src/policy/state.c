/* state: checkpoints of a policy's training. All networks that the training changes are in the file, each in a section of its own. */
#include "train.h"

#include <stdlib.h>
#include <string.h>

/* ---- What is saved ---- */

enum { MOST_SECTIONS = 3 };
typedef struct section {
    km_network network;
    const km_table *table;
    km_parameters *parameters; /* NULL: weights alone, in `weights` */
    float *weights;
} section;

static int sections_of(section out[MOST_SECTIONS], const km_policy_training *t) {
    const km_table *table = km_policy_net_table(t->net);
    km_parameters *model = t->kind->model != NULL ? t->kind->model(t) : NULL;
    int count = 0;
    out[count++] = (section){.network = {KM_POLICY_NETWORK, table, t->kind->has_moments ? KM_GROUPS : 1},
                             .table = table,
                             .parameters = t->parameters,
                             .weights = t->parameters->weights};
    if (t->kind->has_best) {
        out[count++] = (section){.network = {"best", table, 1}, .table = table, .weights = t->best};
    }
    if (model != NULL) {
        out[count++] = (section){
            .network = {KM_MODEL_NETWORK, model->table, 1}, .table = model->table, .weights = model->weights};
    }
    return count;
}

/* ---- Moments: each rank has those of the elements that it owns ---- */

static void copy_parts(const km_parameters *p, float *whole, float *owned, bool out) {
    for (int b = 0; b < km_exchange_buckets(p->exchange); b++) {
        size_t first = 0, count = 0, local = 0;
        km_exchange_part(p->exchange, b, km_comm_rank(p->comm), &first, &count, &local);
        memcpy(out ? whole + first : owned + local, out ? owned + local : whole + first, count * sizeof *whole);
    }
}

static float *moments_of(const km_parameters *p, km_group group) {
    return group == KM_FIRST_MOMENTS ? p->m : p->v;
}

/* ---- Saving ---- */

static km_status set_hashes(km_store *store, const km_policy_training *t, const section *sections, int count) {
    char hash[33];
    for (int i = 0; i < count; i++) {
        char *name = km_network_hash_name(&sections[i].network);
        km_hash_text(hash, km_table_hash(sections[i].table, sections[i].weights));
        km_status status = km_store_set_text(store, name, hash);
        free(name);
        KM_TRY(status);
    }
    km_hash_text(hash, t->examples_hash);
    KM_TRY(km_store_set_text(store, "examples_hash", hash));
    km_hash_text(hash, t->init_hash);
    return km_store_set_text(store, "init_hash", hash);
}

static km_status set_attributes(km_store *store, const km_policy_training *t) {
    char loss[32];
    const km_policy_facts facts = {t->input, t->tokenizer, t->step};
    snprintf(loss, sizeof loss, "%a", t->best_loss);
    KM_TRY(km_store_set_text(store, "kind", "policy-checkpoint"));
    KM_TRY(km_policy_set_facts(store, t->net, &facts));
    KM_TRY(km_store_set_number(store, "best_step", t->best_step));
    return km_store_set_text(store, "best_loss", loss);
}

static km_status begin_file(km_store **store, const km_policy_training *t, const section *sections, int count) {
    char *path = km_checkpoint_path(t->input->run.dir, t->step);
    km_checkpoint_set_damaged_aside(path);
    km_status status = km_store_create(store, path);
    free(path);
    KM_TRY(status);
    km_store_set_format(*store, KM_FORMAT_NETWORKS);
    KM_TRY(set_attributes(*store, t));
    KM_TRY(set_hashes(*store, t, sections, count));
    for (int i = 0; i < count; i++) {
        KM_TRY(km_network_add(*store, &sections[i].network));
    }
    return km_store_layout(*store);
}

/* Gathers a group of moments, which rank 0 writes. */
static km_status write_moments(km_store *store, const section *s, km_group group, float *whole) {
    const km_parameters *p = s->parameters;
    copy_parts(p, whole, moments_of(p, group), true);
    km_exchange_gather(p->exchange, whole);
    return store != NULL ? km_network_write(store, &s->network, group, 0, s->table->size, whole) : KM_OK;
}

static km_status write_section(km_store *store, const section *s) {
    float *whole = NULL;
    km_status status =
        store != NULL ? km_network_write(store, &s->network, KM_WEIGHTS, 0, s->table->size, s->weights) : KM_OK;
    if (s->network.groups == 1) {
        return status;
    }
    whole = km_new(s->table->size, sizeof *whole);
    for (km_group group = KM_FIRST_MOMENTS; group < KM_GROUPS; group++) {
        km_status written = write_moments(status == KM_OK ? store : NULL, s, group, whole);
        status = status == KM_OK ? written : status;
    }
    free(whole);
    return status;
}

km_status km_training_save(km_policy_training *t, km_metrics *metrics) {
    section sections[MOST_SECTIONS];
    const int count = sections_of(sections, t);
    const bool root = km_comm_rank(t->comm) == 0;
    km_store *store = NULL;
    const km_phase phase = km_heartbeat_phase(t->comm, KM_SAVING);
    km_status status = km_comm_agree(t->comm, root ? begin_file(&store, t, sections, count) : KM_OK);
    for (int i = 0; i < count && status == KM_OK; i++) {
        status = km_comm_agree(t->comm, write_section(store, &sections[i]));
    }
    if (status == KM_OK) {
        status = root ? km_metrics_sync(metrics) : KM_OK;
        status = status == KM_OK && root ? km_store_commit(store) : status;
        store = NULL;
        status = km_comm_agree(t->comm, status);
    }
    km_store_abandon(store);
    if (status == KM_OK && root) {
        (void)km_checkpoint_files_prune(t->input->run.dir, t->input->checkpoint.keep, t->step, t->step);
    }
    (void)km_heartbeat_phase(t->comm, phase);
    return status;
}

/* ---- Resuming ---- */

static km_status same_hash(const km_store *store, const char *name, km_hash now, const char *what) {
    char hash[33];
    const char *was = km_store_text(store, name);
    km_hash_text(hash, now);
    if (was == NULL || strcmp(was, hash) != 0) {
        return km_fail(KM_USAGE,
                       "%s has other content than when the run in the folder was started (%s). Give the same "
                       "file, or a new run.dir.",
                       what, km_store_path(store));
    }
    return KM_OK;
}

static km_status check_config(const km_policy_training *t, const km_store *store) {
    const char *text = km_store_text(store, "config"), *path = km_store_path(store);
    if (text == NULL) {
        return km_fail(KM_FAILED, "%s: the attribute `config` is missing", path);
    }
    km_policy_input *was = km_new(1, sizeof *was);
    km_buffer refused = {0}, changes = {0};
    km_status status = km_schema_parse(&km_policy_schema, was, text, path);
    if (status == KM_OK) {
        km_schema_compare(&km_policy_schema, was, t->input, &refused, &changes);
        if (refused.size > 0) {
            status = km_fail(KM_USAGE, "%s was started with another config: %s. Take a new run.dir.",
                             t->input->run.dir, refused.data);
        }
    }
    free(was);
    km_buffer_free(&refused);
    km_buffer_free(&changes);
    return status;
}

static km_status check(const km_policy_training *t, const km_store *store) {
    KM_TRY(check_config(t, store));
    KM_TRY(same_hash(store, "examples_hash", t->examples_hash, "policy.examples or policy.dev"));
    return same_hash(store, "init_hash", t->init_hash, "policy.init");
}

static km_status read_part(void *payload, size_t first, size_t count, float *data) {
    const struct {
        const km_store *store;
        const section *s;
        km_group group;
    } *from = payload;
    return km_network_read(from->store, &from->s->network, from->group, first, count, data);
}

static km_status read_section(const km_policy_training *t, const km_store *store, const section *s) {
    const bool root = store != NULL;
    KM_TRY(km_comm_agree(
        t->comm, root ? km_network_read(store, &s->network, KM_WEIGHTS, 0, s->table->size, s->weights) : KM_OK));
    km_comm_broadcast(t->comm, s->weights, s->table->size * sizeof *s->weights);
    for (int group = KM_FIRST_MOMENTS; group < s->network.groups; group++) {
        struct {
            const km_store *store;
            const section *s;
            km_group group;
        } from = {store, s, (km_group)group};
        KM_TRY(km_exchange_distribute(s->parameters->exchange, moments_of(s->parameters, (km_group)group),
                                      read_part, &from));
    }
    return KM_OK;
}

/* Rank 0 opens the newest checkpoint; numbers[] = {step, best step}, step -1 where there is none. */
static km_status open_newest(km_policy_training *t, km_store **store, int64_t numbers[2]) {
    int64_t newest = -1;
    KM_TRY(km_checkpoint_open_newest(store, &numbers[0], &newest, t->input->run.dir));
    if (*store == NULL) {
        return KM_OK;
    }
    const char *loss = km_store_text(*store, "best_loss");
    (void)km_store_number(*store, "best_step", &numbers[1]);
    t->best_loss = loss != NULL ? strtod(loss, NULL) : 0;
    return check(t, *store);
}

km_status km_training_resume(km_policy_training *t) {
    section sections[MOST_SECTIONS];
    const int count = sections_of(sections, t);
    int64_t numbers[2] = {-1, 0};
    km_store *store = NULL;
    km_status status = km_comm_agree(t->comm, km_comm_rank(t->comm) == 0 ? open_newest(t, &store, numbers) : KM_OK);
    km_comm_broadcast(t->comm, numbers, sizeof numbers);
    km_comm_broadcast(t->comm, &t->best_loss, sizeof t->best_loss);
    for (int i = 0; i < count && status == KM_OK && numbers[0] >= 0; i++) {
        status = read_section(t, store, &sections[i]);
    }
    if (status == KM_OK && numbers[0] >= 0) {
        t->step = numbers[0];
        t->best_step = numbers[1];
        km_log("going on from step %lld of %s", (long long)t->step, t->input->run.dir);
    }
    km_store_close(store);
    return status;
}
