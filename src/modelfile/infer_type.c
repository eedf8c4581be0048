/* infer_type: the architecture of a folder whose config.json does not name one, by what its tensors are called. */
#include "model_json.h"

/* Whether a tensor has the name that the word embeddings of this architecture have behind its root. */
static bool has_words(const km_store *store, const km_interchange *files) {
    for (int i = 0; i < km_store_arrays(store); i++) {
        for (const char *const *words = files->words; *words != NULL; words++) {
            km_naming naming;
            if (km_naming_from(&naming, files, *words, km_store_array(store, i)->name) &&
                naming.head < naming.backbone) {
                return true;
            }
        }
    }
    return false;
}

bool km_model_json_names_type(const km_json *config) {
    const km_json *type = km_json_get(config, "model_type"), *classes = km_json_get(config, "architectures");
    return (type != NULL && !km_json_is_null(type)) || km_json_string(km_json_first(classes)) != NULL;
}

void km_model_json_infer_type(km_json *config, const km_store *store, const char *folder) {
    const km_interchange *found = NULL;
    int count = 0;
    for (int i = 0; km_architecture_at(i) != NULL; i++) {
        const km_interchange *files = km_architecture_files(km_architecture_at(i));
        if (has_words(store, files)) {
            found = files;
            count++;
        }
    }
    if (count == 1) {
        km_log("%s/config.json has no model_type: its tensors are named %s..., so it is read as a model of type %s",
               folder, found->root, found->type);
        km_json_set_string(config, "model_type", found->type);
    }
}
