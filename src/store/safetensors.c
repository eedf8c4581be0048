/* Opens safetensors: one file, or a folder with model.safetensors, or with an index that names the shards. */
#include "store_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_INDEX = 100000000, MOST_SHARDS = 1000 };

static const char SINGLE[] = "model.safetensors", INDEX[] = "model.safetensors.index.json",
                  SUFFIX[] = ".safetensors";

static bool ends_like_one(const char *name) {
    size_t length = strlen(name), suffix = sizeof SUFFIX - 1;
    return length > suffix && strcmp(name + length - suffix, SUFFIX) == 0;
}

static bool is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool km_is_safetensors_path(const char *path) {
    return ends_like_one(path) || is_folder(path);
}

/* ---- Files ---- */

static size_t name_at(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash == NULL ? 0 : (size_t)(slash - path) + 1;
}

/* Opens a file and reads its header. Takes ownership of `path`. */
static km_status add_shard(km_store *store, char *path) {
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* does not wait for a named pipe */
    if (fd < 0) {
        km_status status = km_fail_errno(errno, "%s: cannot open", path);
        free(path);
        return status;
    }
    store->shards = km_grow(store->shards, (size_t)store->shard_count + 1, sizeof *store->shards);
    store->shards[store->shard_count] = (km_shard){.path = path, .fd = fd, .name = name_at(path)};
    int file = store->shard_count++;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        return km_fail(KM_FAILED, "%s: found a folder, device or pipe, expected a file", path);
    }
    store->size += (uint64_t)info.st_size;
    return km_safetensors_header(store, file, (uint64_t)info.st_size);
}

/* ---- Shards ---- */

static const char *shard_name(const km_store *store, int file) {
    const km_shard *shard = &store->shards[file];
    return shard->path + shard->name;
}

/* Whether an index may name this file: it must be in the folder itself. */
static bool good_shard(const char *name) {
    return name != NULL && ends_like_one(name) && km_is_safetensors_name(name) && strchr(name, '/') == NULL &&
           strstr(name, "..") == NULL;
}

static bool is_open(const km_store *store, const char *name) {
    /* From the last shard on, because tensors that are neighbours in an index are mostly in the same shard. */
    for (int i = store->shard_count - 1; i >= 0; i--) {
        if (strcmp(shard_name(store, i), name) == 0) {
            return true;
        }
    }
    return false;
}

static km_status open_shards(km_store *store, const km_json *map, const char *path) {
    if (!km_json_is_object(map) || km_json_size(map) == 0) {
        return km_fail(KM_FAILED, "%s: weight_map is not an object that names tensors and their files.", path);
    }
    for (const km_json *item = km_json_first(map); item != NULL; item = km_json_next(item)) {
        const char *name = km_json_string(item);
        if (!good_shard(name)) {
            return km_fail(
                KM_FAILED,
                "%s: tensor %.100s is said to be in \"%.100s\", expected the name of a .safetensors file "
                "in this folder.",
                path, km_json_key(item), name == NULL ? "(not a text)" : name);
        }
        if (is_open(store, name)) {
            continue;
        }
        if (store->shard_count == MOST_SHARDS) {
            return km_fail(KM_FAILED, "%s: names more than %d files.", path, MOST_SHARDS);
        }
        km_status status = add_shard(store, km_format("%s/%s", store->path, name));
        if (status != KM_OK) {
            return km_context(status, "%s", path);
        }
    }
    return KM_OK;
}

static km_status check_map(const km_store *store, const km_json *map, const char *path) {
    for (const km_json *item = km_json_first(map); item != NULL; item = km_json_next(item)) {
        const km_array *array = km_store_find(store, km_json_key(item));
        if (array == NULL || strcmp(shard_name(store, array->file), km_json_string(item)) != 0) {
            return km_fail(KM_FAILED, "%s: tensor %.200s is said to be in %s, but %s%s.", path, km_json_key(item),
                           km_json_string(item), array == NULL ? "is in no file" : "is in ",
                           array == NULL ? "" : shard_name(store, array->file));
        }
    }
    return KM_OK;
}

static km_status sort(km_store *store) {
    const char *twice = km_store_sort_arrays(store);
    return twice == NULL ? KM_OK : km_fail(KM_FAILED, "%s: two tensors are named %s.", store->path, twice);
}

static km_status open_index(km_store *store, const char *path) {
    char *text = NULL;
    size_t count = 0;
    km_json *json = NULL;
    KM_TRY(km_file_read(&text, &count, path, MOST_INDEX));
    km_status status = km_safetensors_json(&json, text, count, path);
    free(text);
    const km_json *map = km_json_get(json, "weight_map");
    if (status == KM_OK) {
        status = open_shards(store, map, path);
    }
    if (status == KM_OK) {
        status = sort(store);
    }
    if (status == KM_OK) {
        status = check_map(store, map, path);
    }
    km_json_destroy(json);
    return status;
}

/* ---- Folders ---- */

static km_status no_weights(const char *folder) {
    static const char unpickled[] = "a program for Python's unpickler", flax[] = "weights of Flax",
                      tensorflow[] = "weights of TensorFlow", adapter[] = "an adapter, which is no whole model",
                      python[] = "Turn it into one with tools/convert_pytorch_bin.py.",
                      save[] = "Load it with transformers (from_flax or from_tf) and save_pretrained it.",
                      merge[] = "Merge it into its model with peft (merge_and_unload) and save that.";
    static const char *const others[][3] = {{"pytorch_model.bin", unpickled, python},
                                            {"pytorch_model.bin.index.json", unpickled, python},
                                            {"adapter_model.safetensors", adapter, merge},
                                            {"adapter_model.bin", adapter, merge},
                                            {"adapter_config.json", adapter, merge},
                                            {"flax_model.msgpack", flax, save},
                                            {"tf_model.h5", tensorflow, save},
                                            {"bert_model.ckpt.index", tensorflow, save},
                                            {"model.ckpt.index", tensorflow, save}};
    for (size_t i = 0; i < KM_COUNT(others); i++) {
        char *path = km_format("%s/%s", folder, others[i][0]);
        bool there = km_file_exists(path);
        free(path);
        if (there) {
            return km_fail(KM_FAILED, "%s: holds %s, %s, expected %s. %s", folder, others[i][0], others[i][1],
                           SINGLE, others[i][2]);
        }
    }
    return km_fail(KM_FAILED, "%s: found a folder without %s (or %s), expected a file or a model's folder.", folder,
                   SINGLE, INDEX);
}

static km_status open_folder(km_store *store) {
    char *single = km_format("%s/%s", store->path, SINGLE), *index = km_format("%s/%s", store->path, INDEX);
    km_status status;
    if (km_file_exists(single)) {
        status = add_shard(store, km_strdup(single));
        status = status == KM_OK ? sort(store) : status;
    } else if (km_file_exists(index)) {
        status = open_index(store, index);
    } else {
        status = no_weights(store->path);
    }
    free(index);
    free(single);
    return status;
}

km_status km_safetensors_open(km_store *store) {
    if (is_folder(store->path)) {
        return open_folder(store);
    }
    KM_TRY(add_shard(store, km_strdup(store->path)));
    return sort(store);
}
