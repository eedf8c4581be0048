/* A run's state with three networks, saved while nothing else goes on and loaded again: every number comes to its own place of the
 * file, whatever the number of ranks, and back.
 *
 *   mpi_state FILE    also keeps the checkpoint as FILE: so golden/version2.h5 was made */
#include "checkpoint.h"
#include "checkpoint_files.h"
#include "kmask/kernel.h"
#include "save.h"
#include "tiny_corpus.h"

enum { STEP = 7, NETWORKS = 3, SMALL_SIZE = 2 * KM_BLOCK };

static const char *keep;

/* ---- Networks ---- */

/* Two tables that no model has: parameters with gaps behind them, of which one is longer than a block. */
static km_param params[NETWORKS - 1][2] = {
    {{.name = "embed.weight", .rank = 2, .dims = {100, 41}, .offset = 0, .count = 4100},
     {.name = "score.bias", .rank = 1, .dims = {7}, .offset = 4160, .count = 7}},
    {{.name = "conv.weight", .rank = 2, .dims = {5, 3}, .offset = 16, .count = 15},
     {.name = "conv.bias", .rank = 1, .dims = {5}, .offset = KM_BLOCK, .count = 5}}};
static const km_table tables[NETWORKS - 1] = {
    {.params = params[0], .count = 2, .size = SMALL_SIZE, .elements = 4107},
    {.params = params[1], .count = 2, .size = SMALL_SIZE, .elements = 20},
};

typedef struct setting {
    km_config config;
    km_model *model;
    km_pool *pool;
    km_state state;
} setting;

/* 1e6 * network + 1e5 * group + place: exact in float32, and different everywhere. */
static float value(int network, int group, size_t place) {
    return (float)((size_t)(1000000 * network + 100000 * group) + place);
}

/* Is it part of a parameter? Only these are saved. */
static bool is_saved(const km_table *table, size_t place) {
    for (int i = 0; i < table->count; i++) {
        if (place >= table->params[i].offset && place < table->params[i].offset + table->params[i].count) {
            return true;
        }
    }
    return false;
}

/* Calls `visit` for each element that this rank has: all weights, and the moments that it owns. */
typedef void visitor(float *element, int network, int group, size_t place, bool saved);
static void visit_all(const km_state *state, visitor *visit) {
    for (int n = 0; n < state->count; n++) {
        const km_parameters *p = state->networks[n].parameters;
        for (size_t i = 0; i < p->table->size; i++) {
            visit(&p->weights[i], n, KM_WEIGHTS, i, is_saved(p->table, i));
        }
        for (int b = 0; b < km_exchange_buckets(p->exchange); b++) {
            size_t first = 0, count = 0, local = 0;
            km_exchange_part(p->exchange, b, km_comm_rank(comm), &first, &count, &local);
            for (size_t i = 0; i < count; i++) {
                const bool saved = state->networks[n].network.groups == KM_GROUPS && is_saved(p->table, first + i);
                visit(&p->m[local + i], n, KM_FIRST_MOMENTS, first + i, saved);
                visit(&p->v[local + i], n, KM_SECOND_MOMENTS, first + i, saved);
            }
        }
    }
}

static void set_value(float *element, int network, int group, size_t place, bool saved) {
    *element = saved ? value(network, group, place) : 0;
}

static void clear_value(float *element, int network, int group, size_t place, bool saved) {
    (void)network;
    (void)group;
    (void)place;
    (void)saved;
    *element = 0;
}

static void check_value(float *element, int network, int group, size_t place, bool saved) {
    const float want = saved ? value(network, group, place) : 0;
    if (*element != want) {
        fail_msg("network %d, group %d, element %zu: %.9g, expected %.9g", network, group, place, (double)*element,
                 (double)want);
    }
}

static void begin(setting *s) {
    static const char *const names[NETWORKS] = {KM_MODEL_NETWORK, "policy", "frozen"};
    *s = (setting){.state = {.count = NETWORKS}};
    char *json = km_format("{\"run\": {\"dir\": \"%s/run\"}, \"data\": {\"train\": \"unused\", \"length\": 16},"
                           " \"train\": {\"steps\": 9, \"sequences\": 4}, \"optimizer\": {\"lr\": 1},"
                           " \"model\": {\"type\": \"bert\", \"vocab_size\": 15, \"hidden_size\": 8,"
                           "  \"num_hidden_layers\": 1, \"num_attention_heads\": 2, \"intermediate_size\": 16,"
                           "  \"max_position_embeddings\": 16, \"pad_token_id\": 0}}",
                           tiny_folder);
    OK(km_config_parse(&s->config, json, "test"));
    free(json);
    OK(km_model_create(&s->model, &s->config.model, KM_HEAD_TOKENS));
    OK(km_pool_create(&s->pool, km_kernel_concurrent() ? 2 : 1));
    for (int n = 0; n < NETWORKS; n++) {
        const km_table *table = n == 0 ? km_model_table(s->model) : &tables[n - 1];
        km_trained *trained = &s->state.networks[n];
        trained->network = (km_network){.name = names[n], .table = table, .groups = n < 2 ? KM_GROUPS : 1};
        OK(km_parameters_create(&trained->parameters, comm, table, false));
    }
}

static void end(setting *s) {
    for (int n = 0; n < NETWORKS; n++) {
        km_parameters_destroy(s->state.networks[n].parameters);
    }
    km_pool_destroy(s->pool);
    km_model_destroy(s->model);
}

/* ---- Saving ---- */

static void save(setting *s) {
    const km_saver_options options = {
        .comm = comm, .pool = s->pool, .config = &s->config, .corpus = corpus, .state = s->state};
    const km_table *model = km_model_table(s->model);
    km_saver *saver = NULL;
    km_metrics *metrics = NULL;
    OK(km_saver_create(&saver, &options));
    if (km_comm_rank(comm) == 0) {
        OK(km_make_folder(s->config.run.dir));
        OK(km_metrics_open(&metrics, s->config.run.dir, -1));
        km_saver_set_metrics(saver, metrics);
        OK(km_saver_prove_room(saver));
    }
    km_saver_begin(saver, STEP, true, true, km_table_hash(model, s->state.networks[0].parameters->weights));
    OK(km_saver_confirm(saver));
    km_saver_destroy(saver);
    km_metrics_close(metrics);
}

/* What `path` holds, as any reader sees it. */
static void check_file(const setting *s, const char *path, bool weights_only) {
    km_store *store = NULL;
    int64_t step = 0;
    OK(km_store_open(&store, path));
    assert_int_equal(km_store_format(store), weights_only ? KM_FORMAT_FIRST : KM_FORMAT_NETWORKS);
    assert_true(km_store_number(store, "step", &step) && step == STEP);
    assert_string_equal(km_store_text(store, "kind"), weights_only ? "model" : "checkpoint");
    for (int n = 0; n < NETWORKS; n++) {
        km_network network = s->state.networks[n].network;
        float *read = km_new(network.table->size, sizeof *read);
        char hash[33], *name = km_network_hash_name(&network);
        for (int group = 0; group < (weights_only ? 1 : network.groups); group++) {
            OK(km_network_read(store, &network, (km_group)group, 0, network.table->size, read));
            for (size_t i = 0; i < network.table->size; i++) {
                check_value(&read[i], n, group, i, is_saved(network.table, i));
            }
        }
        km_hash_text(hash, km_table_hash(network.table, s->state.networks[n].parameters->weights));
        assert_string_equal(km_store_text(store, name), hash);
        free(name);
        free(read);
    }
    assert_int_equal(km_state_check(&s->state, store), weights_only ? KM_FAILED : KM_OK);
    km_store_close(store);
}

static void check_files(const setting *s) {
    char *checkpoint = km_checkpoint_path(s->config.run.dir, STEP);
    char *snapshot = km_snapshot_path(s->config.run.dir, STEP);
    check_file(s, checkpoint, false);
    check_file(s, snapshot, true);
    if (keep != NULL) {
        assert_int_equal(rename(checkpoint, keep), 0);
    }
    free(checkpoint);
    free(snapshot);
}

static void every_number_is_in_its_place(void **state) {
    (void)state;
    setting s;
    begin(&s);
    visit_all(&s.state, set_value);
    save(&s);
    if (km_comm_rank(comm) == 0) {
        check_files(&s);
    }
    km_comm_barrier(comm);
    end(&s);
}

/* ---- Loading ---- */

/* Version 2 of the format, as it was first written, on one rank. */
static void a_file_of_version_2_is_loaded(void **state) {
    (void)state;
    setting s;
    int64_t step = 0;
    km_store *store = NULL;
    begin(&s);
    visit_all(&s.state, clear_value);
    if (km_comm_rank(comm) == 0) {
        OK(km_store_open(&store, TEST_DATA "/version2.h5"));
        assert_int_equal(km_store_format(store), KM_FORMAT_NETWORKS);
    }
    OK(km_state_load(&s.state, &step, comm, store));
    km_store_close(store);
    assert_int_equal(step, STEP);
    visit_all(&s.state, check_value);
    end(&s);
}

/* A network that the file does not have is named, on all ranks. */
static void a_missing_network_is_named(void **state) {
    (void)state;
    setting s;
    int64_t step = 0;
    km_store *store = NULL;
    begin(&s);
    s.state.networks[1].network.name = "absent";
    if (km_comm_rank(comm) == 0) {
        OK(km_store_open(&store, TEST_DATA "/version2.h5"));
    }
    assert_int_equal(km_state_load(&s.state, &step, comm, store), KM_FAILED);
    assert_non_null(strstr(km_message(), "tensor /absent/embed.weight is missing"));
    km_store_close(store);
    end(&s);
}

static void names_of_arrays(void **state) {
    (void)state;
    static const struct {
        const char *array, *network, *tensor;
        int group; /* -1: of no network */
    } cases[] = {{"/model/a.b", "model", "a.b", KM_WEIGHTS},
                 {"/optimizer/m/a.b", "model", "a.b", KM_FIRST_MOMENTS},
                 {"/optimizer/v/a.b", "model", "a.b", KM_SECOND_MOMENTS},
                 {"/policy/a", "policy", "a", KM_WEIGHTS},
                 {"/optimizer/policy/m/a", "policy", "a", KM_FIRST_MOMENTS},
                 {"/optimizer/policy/v/a", "policy", "a", KM_SECOND_MOMENTS},
                 {"/optimizer/policy/x/a", "", "", -1},
                 {"/optimizer/policy", "", "", -1},
                 {"/tokens", "", "", -1},
                 {"bert.a", "", "", -1},
                 {"/a-name-that-is-longer-than-any-network-has/a", "", "", -1}};
    for (size_t i = 0; i < KM_COUNT(cases); i++) {
        km_network_tensor of;
        const bool parsed = km_network_parse(&of, cases[i].array);
        assert_int_equal(parsed, cases[i].group >= 0);
        if (parsed) {
            assert_string_equal(of.network, cases[i].network);
            assert_string_equal(of.tensor, cases[i].tensor);
            assert_int_equal(of.group, cases[i].group);
        }
    }
}

int main(int argc, char **argv) {
    if (km_comm_open(&comm, &argc, &argv) != KM_OK) {
        return 1;
    }
    keep = argc > 1 ? argv[1] : NULL;
    km_kernel_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_number_is_in_its_place, tiny_make, tiny_clean),
        cmocka_unit_test_setup_teardown(a_file_of_version_2_is_loaded, tiny_make, tiny_clean),
        cmocka_unit_test_setup_teardown(a_missing_network_is_named, tiny_make, tiny_clean),
        cmocka_unit_test(names_of_arrays),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    km_comm_close(comm);
    return failed;
}
