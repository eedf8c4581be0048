/* file: policy files are written, and networks take the embeddings of models. */
#ifndef KMASK_POLICY_FILE_H
#define KMASK_POLICY_FILE_H

#include "kmask/policy.h"

#define KM_POLICY_NETWORK "policy"

/* What a policy file says besides its weights. */
typedef struct km_policy_facts {
    const km_policy_input *input; /* the config that it was trained by */
    const km_tokenizer *tokenizer;
    int64_t step;
} km_policy_facts;
/* Writes a policy file. [HDF5] */
km_status km_policy_save(const char *path, const km_policy_net *net, const float *weights,
                         const km_policy_facts *facts) KM_NODISCARD;
/* Adds the attributes of a policy to a file that is being written. [HDF5] */
km_status km_policy_set_facts(km_store *store, const km_policy_net *net, const km_policy_facts *facts) KM_NODISCARD;

/* Where the word embeddings of a model are among its weights. */
const km_param *km_model_words(const km_model *model);

#endif
