/* policy: masking policies that are learned from a task's own examples (Q. Ye et al., "On the influence of masking policies in
 * intermediate pre-training", EMNLP 2021). A policy is a small network that gives two numbers to each token of a text:
 *
 *   supervised   the logits of an answer that starts, and of one that ends here (section 4.2)
 *   meta         the logits of leaving the token as it is, and of masking it (section 4.3)
 *
 * Policies are files of their own. They are trained from examples (context, source, target), and used by pre-training, for which they
 * mark the rows of a corpus once (km_marks in kmask/data.h). Calls are local unless their comment ends with "Collective.". */
#ifndef KMASK_POLICY_H
#define KMASK_POLICY_H

#include "kmask/base.h"
#include "kmask/comm.h"
#include "kmask/data.h"
#include "kmask/modelfile.h"
#include "kmask/net.h"
#include "kmask/run.h"
#include "kmask/train.h"

/* ---- Options ---------------------------------------------------------------------------------------------------- */

typedef struct km_policy_config {
    uint64_t given;
    char kind[KM_WORD];
    char examples[KM_PATH], dev[KM_PATH], init[KM_PATH];
    double dev_share;
    char embeddings[KM_WORD]; /* trained | frozen */
    double embedding_std;
    int64_t width, hidden, layers, kernel, length, longest;
    bool whole_words;
    int64_t epochs, patience, batch, micro_batch;
    double lr, weight_decay, dropout, clip;
    /* meta */
    double alpha0, alpha1, alpha2, beta, gamma, epsilon, temperature;
    bool hard, keep_pretrained;
    char objective[KM_WORD]; /* decrease | loss */
} km_policy_config;
extern const km_section km_policy_section;

/* The config of `kmask policy train`. Plain bytes: ranks broadcast it as it is. */
typedef struct km_policy_input {
    km_run_config run;
    km_policy_config policy;
    km_checkpoint_config checkpoint;
    km_parallel_config parallel;
} km_policy_input;
extern const km_schema km_policy_schema;
/* Reads and checks a config and fills in defaults. Every failure is KM_USAGE. */
km_status km_policy_load(km_policy_input *out, const km_config_source *source) KM_NODISCARD;

/* ---- Spans ---------------------------------------------------------------------------------------------------------- */

/* Cross entropy of the spans first..last (places of the stream, both included) of `views` sequences against their logits (N,2): the
 * softmax is over a sequence's tokens, and the loss of one is the mean of start and end. *dlogits (N,2), where not NULL, becomes the
 * gradient of the sum that is returned. */
double km_span_loss(const float *logits, const int32_t *starts, int views, const int32_t *first,
                    const int32_t *last, float *dlogits);
/* Which spans of a sequence may be chosen. */
typedef struct km_span_rule {
    const uint8_t *allowed; /* (length) spans have tokens with 1 alone */
    const uint8_t *
        starts_word; /* (length) spans are whole words: they begin where this is 1, and end before a token where it is, or
                                   one that is not allowed; NULL: of any tokens */
    int longest; /* words of a span at most, or tokens */
} km_span_rule;
/* The `top` best spans of a sequence of `length` tokens with logits (length,2), by start + end logit, the best first; of equal ones the
 * earlier start, then the shorter. Returns how many there are. */
int km_span_best(km_mark_span *out, int top, const float *logits, const km_span_rule *rule, int length);

/* ---- Files -------------------------------------------------------------------------------------------------------- */

/* A policy file, opened for use. */
typedef struct km_policy {
    km_policy_net *net;
    float *weights;
    km_tokenizer *tokenizer; /* NULL: a safetensors file, which has none */
    int64_t longest;         /* words of a span at most, or tokens: */
    bool whole_words;
    double temperature; /* of the Gumbel softmax that it was trained with */
    km_hash weights_hash;
} km_policy;
/* The caller closes. Of a safetensors file the sizes follow from the shapes, and the kind from the names. [HDF5] */
km_status km_policy_open(km_policy **out, const char *path) KM_NODISCARD;
void km_policy_close(km_policy *policy); /* NULL is fine */

/* ---- Training ------------------------------------------------------------------------------------------------------ */

/* Trains a policy, or goes on with what is in the run folder, which then has policy.h5, config.json, metrics.jsonl and checkpoints.
 * *out on rank 0: {"kind", "step", "examples", "left_out", "weights_hash", ...}, the caller's; NULL elsewhere. KM_STOPPED after a signal
 * or run.max_hours. Collective. */
km_status km_policy_train(km_comm *comm, const km_policy_input *input, km_json **out) KM_NODISCARD;

/* ---- Marks --------------------------------------------------------------------------------------------------------- */

/* Opens the marks that the policy at request->model gives to the rows, and makes them first where the file is not there: all ranks share
 * the rows. It is what km_run_set_marker is given. Collective, and local with comm NULL. */
km_status km_policy_mark(km_comm *comm, const km_mark_request *request, km_marks **out) KM_NODISCARD;

/* ---- Probing ------------------------------------------------------------------------------------------------------- */

/* Writes what a policy makes of given ids to the HDF5 file `output` (section 9 of src/README.md). model: of kind meta, the model that
 * the inner steps train; else NULL. `comm` is of one rank. Collective. */
km_status km_policy_probe(km_comm *comm, const char *net, km_policy_kind kind, const char *model, const char *input,
                          const char *output) KM_NODISCARD;

#endif
