/* file: policies as files. Their own are HDF5 files with the weights under /policy/ and, as attributes, sizes, config and tokenizer;
 * safetensors files of PyTorch's modules are read too. */
#include "file.h"

#include <stdlib.h>
#include <string.h>

/* ---- Writing ---- */

static char *print_shape(const km_policy_shape *shape) {
    km_json *json = km_json_object();
    km_json_set_string(json, "kind", km_policy_kind_name(shape->kind));
    km_json_set_number(json, "vocabulary", shape->V);
    km_json_set_number(json, "width", shape->C);
    km_json_set_number(json, "hidden", shape->H);
    km_json_set_number(json, "layers", shape->L);
    km_json_set_number(json, "kernel", shape->K);
    km_json_set_number(json, "linear", shape->M);
    char *text = km_json_print(json, false);
    km_json_destroy(json);
    return text;
}

static km_status set_and_free(km_store *store, const char *name, char *text) {
    km_status status = km_store_set_text(store, name, text);
    free(text);
    return status;
}

km_status km_policy_set_facts(km_store *store, const km_policy_net *net, const km_policy_facts *facts) {
    char hash[33];
    km_hash_text(hash, km_tokenizer_hash(facts->tokenizer));
    KM_TRY(km_store_set_text(store, "created_by", "kmask " KM_VERSION));
    KM_TRY(set_and_free(store, "shape", print_shape(km_policy_net_shape(net))));
    KM_TRY(set_and_free(store, "config", km_schema_print(&km_policy_schema, facts->input)));
    KM_TRY(set_and_free(store, "tokenizer", km_tokenizer_print(facts->tokenizer)));
    KM_TRY(km_store_set_text(store, "tokenizer_hash", hash));
    return km_store_set_number(store, "step", facts->step);
}

static km_status write_policy(km_store *store, const km_policy_net *net, const float *weights,
                              const km_policy_facts *facts) {
    const km_network network = {.name = KM_POLICY_NETWORK, .table = km_policy_net_table(net), .groups = 1};
    char hash[33], *name = km_network_hash_name(&network);
    km_hash_text(hash, km_table_hash(km_policy_net_table(net), weights));
    km_status status = km_store_set_text(store, name, hash);
    free(name);
    KM_TRY(status);
    KM_TRY(km_store_set_text(store, "kind", "policy"));
    KM_TRY(km_policy_set_facts(store, net, facts));
    KM_TRY(km_network_add(store, &network));
    KM_TRY(km_store_layout(store));
    return km_network_write(store, &network, KM_WEIGHTS, 0, km_policy_net_table(net)->size, weights);
}

km_status km_policy_save(const char *path, const km_policy_net *net, const float *weights,
                         const km_policy_facts *facts) {
    km_store *store = NULL;
    KM_TRY(km_store_create(&store, path));
    km_status status = write_policy(store, net, weights, facts);
    if (status != KM_OK) {
        km_store_abandon(store);
        return status;
    }
    return km_store_commit(store);
}

/* ---- Reading a policy file ---- */

static km_status parse_shape(km_policy_shape *out, const char *text, const char *path) {
    km_json *json = NULL;
    KM_TRY(km_json_parse(&json, text, strlen(text), path));
    *out = (km_policy_shape){.V = (int)km_json_number_or(json, "vocabulary", 0),
                             .C = (int)km_json_number_or(json, "width", 0),
                             .H = (int)km_json_number_or(json, "hidden", 0),
                             .L = (int)km_json_number_or(json, "layers", 0),
                             .K = (int)km_json_number_or(json, "kernel", 0),
                             .M = (int)km_json_number_or(json, "linear", 0)};
    const bool known = km_policy_kind_named(&out->kind, km_json_text(json, "kind"));
    km_json_destroy(json);
    return known ? KM_OK : km_fail(KM_FAILED, "%s: the policy is of a kind that this kmask does not know", path);
}

static km_status make_net(km_policy *policy, const km_policy_shape *shape, const char *path) {
    km_status status = km_policy_net_create(&policy->net, shape);
    if (status != KM_OK) {
        return km_context(KM_FAILED, "%s", path);
    }
    return km_allocate((void **)&policy->weights, km_policy_net_table(policy->net)->size * sizeof(float),
                       "the policy's weights");
}

static km_status read_policy(km_policy *policy, const km_store *store, const char *path) {
    const char *kind = km_store_text(store, "kind"), *tokenizer = km_store_text(store, "tokenizer");
    const char *text = km_store_text(store, "shape"), *config = km_store_text(store, "config");
    if (kind == NULL || strcmp(kind, "policy") != 0 || text == NULL || tokenizer == NULL || config == NULL) {
        return km_fail(KM_FAILED, "%s: found a %s, expected a policy, which `kmask policy train` makes", path,
                       kind != NULL ? kind : "file without a kind");
    }
    km_policy_shape shape;
    km_policy_input *input = km_new(1, sizeof *input);
    km_status status = km_schema_parse(&km_policy_schema, input, config, path);
    policy->longest = input->policy.longest;
    policy->whole_words = input->policy.whole_words;
    policy->temperature = input->policy.temperature;
    free(input);
    KM_TRY(status);
    KM_TRY(parse_shape(&shape, text, path));
    KM_TRY(km_tokenizer_parse(&policy->tokenizer, tokenizer, strlen(tokenizer), path));
    KM_TRY(make_net(policy, &shape, path));
    const km_network network = {.name = KM_POLICY_NETWORK, .table = km_policy_net_table(policy->net), .groups = 1};
    KM_TRY(km_network_check(store, &network));
    return km_network_read(store, &network, KM_WEIGHTS, 0, km_policy_net_table(policy->net)->size, policy->weights);
}

/* ---- Reading safetensors ---- */

static int dim_of(const km_store *store, const char *name, int dim) {
    const km_array *array = km_store_find(store, name);
    return array != NULL && dim < array->rank ? (int)KM_MIN(array->dims[dim], (uint64_t)INT32_MAX) : 0;
}

static int layers_of(const km_store *store) {
    char name[64];
    int layers = 0;
    for (;; layers++) {
        snprintf(name, sizeof name, "lstm.weight_ih_l%d", layers);
        if (km_store_find(store, name) == NULL) {
            return layers;
        }
    }
}

static km_policy_shape shape_of(const km_store *store) {
    km_policy_shape shape = {.V = dim_of(store, "embed.weight", 0), .C = dim_of(store, "embed.weight", 1)};
    if (km_store_find(store, "conv.weight") != NULL) {
        shape.kind = KM_POLICY_META;
        shape.H = dim_of(store, "conv.weight", 0);
        shape.K = dim_of(store, "conv.weight", 2);
        shape.M = dim_of(store, "linear1.weight", 0);
    } else {
        shape.H = dim_of(store, "lstm.weight_hh_l0", 1);
        shape.L = layers_of(store);
    }
    return shape;
}

static km_status read_tensors(km_policy *policy, const km_store *store, const char *path) {
    const km_policy_shape shape = shape_of(store);
    KM_TRY(make_net(policy, &shape, path));
    const km_table *table = km_policy_net_table(policy->net);
    for (int i = 0; i < table->count; i++) {
        const km_param *param = &table->params[i];
        const km_array *array = km_store_find(store, param->name);
        if (array == NULL || array->count != param->count || !km_dtype_is_float(array->type)) {
            return km_fail(KM_FAILED, "%s: tensor %s is missing, or is no array of %zu floats", path, param->name,
                           param->count);
        }
        KM_TRY(km_store_read_floats(store, array, 0, param->count, policy->weights + param->offset));
    }
    return KM_OK;
}

/* ---- Opening ---- */

static bool is_safetensors(const char *path) {
    static const char end[] = ".safetensors";
    const size_t length = strlen(path);
    return length >= sizeof end && strcmp(path + length + 1 - sizeof end, end) == 0;
}

km_status km_policy_open(km_policy **out, const char *path) {
    km_store *store = NULL;
    *out = NULL;
    KM_TRY(km_store_open(&store, path));
    km_policy *policy = km_new(1, sizeof *policy);
    policy->longest = 10;
    policy->whole_words = true;
    policy->temperature = 1;
    km_status status = is_safetensors(path) ? read_tensors(policy, store, path) : read_policy(policy, store, path);
    km_store_close(store);
    if (status != KM_OK) {
        km_policy_close(policy);
        return status;
    }
    policy->weights_hash = km_table_hash(km_policy_net_table(policy->net), policy->weights);
    *out = policy;
    return KM_OK;
}

void km_policy_close(km_policy *policy) {
    if (policy != NULL) {
        km_policy_net_destroy(policy->net);
        if (policy->tokenizer != NULL) {
            km_tokenizer_destroy(policy->tokenizer);
        }
        free(policy->weights);
        free(policy);
    }
}

/* ---- Models ---- */

const km_param *km_model_words(const km_model *model) {
    const km_interchange *files = km_architecture_files(km_model_architecture(model));
    const km_param *param = NULL;
    for (int i = 0; files->words[i] != NULL && param == NULL; i++) {
        char *name = km_format("%s%s", files->root, files->words[i]);
        param = km_table_find(km_model_table(model), name);
        free(name);
    }
    return param;
}
