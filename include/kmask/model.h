/* model: a model as a function of weights and a micro-batch. A model is a backbone, of one of several architectures, and a head
 * that predicts something of the backbone's last hidden states. Weights are one flat array; a table names its parts. Nothing here
 * hears of MPI, of sums or of threads: a work area belongs to one thread, weights are read only. Everything is local. */
#ifndef KMASK_MODEL_H
#define KMASK_MODEL_H

#include "kmask/base.h"
#include "kmask/batch.h"
#include "kmask/kernel.h"

/* ---- Options ------------------------------------------------------------------------------------------------ */

enum { KM_MOST_ENDS = 8 };

/* Section `model`: the architecture, in the field's own words; 0 or "" = not given (km_model_resolve fills it in). */
typedef struct km_model_config {
    uint64_t given;
    char type[KM_WORD];
    char preset[KM_WORD];
    char init[KM_PATH]; /* checkpoint, model file or safetensors folder to start from */
    int64_t vocab_size, hidden_size, num_hidden_layers, num_attention_heads, intermediate_size;
    int64_t max_position_embeddings, type_vocab_size;
    double layer_norm_eps;
    char hidden_act[KM_WORD]; /* gelu (erf) | gelu_new (tanh) */
    double hidden_dropout_prob, attention_probs_dropout_prob, initializer_range;
    int64_t pad_token_id; /* the tokenizer's unless given; RoBERTa's positions start after it */
    /* Of BART, in the words of its config.json: */
    int64_t d_model, encoder_layers, decoder_layers, encoder_attention_heads, decoder_attention_heads;
    int64_t encoder_ffn_dim, decoder_ffn_dim;
    char activation_function[KM_WORD]; /* gelu | gelu_new | relu */
    double dropout, attention_dropout, activation_dropout, init_std;
    bool scale_embedding;
    /* What the decoder's input begins with, the tokenizer's </s> unless given; what generation puts first and last, -1: nothing. */
    int64_t decoder_start_token_id, forced_bos_token_id, forced_eos_token_id;
    km_numbers
        eos_token_id; /* what ends generated text, at most KM_MOST_ENDS ids; the tokenizer's </s> unless given */
    /* Of models with a classification head: */
    int64_t num_labels; /* 0: there is no such head; 1: it predicts a number */
    bool has_classifier_dropout;
    double classifier_dropout; /* where given; else hidden_dropout_prob is its share */
} km_model_config;
extern const km_section km_model_section;

/* Whether type and sizes can follow from what was given; and beside `init` nothing that it decides. KM_USAGE. */
km_status km_model_config_check_given(const km_model_config *config) KM_NODISCARD;
/* Sizes of the preset and what follows from the type, where they were not given. A model that comes from `init` stays as it is. */
void km_model_resolve(km_model_config *config);
/* Ids that follow from the tokenizer's pad token and the one that ends a sequence, where they were not given. */
void km_model_take_tokens(km_model_config *config, int32_t pad, int32_t last);
/* Shares of dropout that `given` gives in place of those of the model that it starts from. KM_USAGE: there is no such share. */
km_status km_model_take_dropout(km_model_config *config, const km_model_config *given) KM_NODISCARD;
/* An option's number (a switch's is 0 or 1) or text, by its name; false and NULL where it has none. */
bool km_model_number(double *out, const km_model_config *config, const char *name);
const char *km_model_text(const km_model_config *config, const char *name);
const km_numbers *km_model_numbers(const km_model_config *config,
                                   const char *name); /* of a list; NULL where it is none */
/* Sizes that must fit together, and rows of `length` tokens to the positions; sizes that are not known yet (0) pass. KM_USAGE. */
km_status km_model_config_check(const km_model_config *config, int64_t length) KM_NODISCARD;

/* ---- The table: what the flat array holds ------------------------------------------------------------------- */

typedef enum km_start { KM_START_NORMAL, KM_START_ZERO, KM_START_ONE } km_start;

typedef struct km_param {
    char name[112]; /* the field's own: "bert.encoder.layer.0.attention.self.query.weight" */
    int rank;       /* 1 or 2 */
    uint64_t dims[2];
    size_t offset, count;
    bool decay;   /* false: biases and layer norms */
    bool trained; /* false: a buffer, which gets no gradient and therefore stays as it is */
    km_start start;
} km_param;

typedef struct km_table {
    km_param *params; /* ascending offsets: embeddings, layers, head. Backward finishes them from the end. */
    int count;
    size_t size;     /* elements of the flat array, a multiple of 4,096; gaps between parts stay 0 */
    size_t elements; /* parameters proper: without gaps and buffers */
} km_table;
const km_param *km_table_find(const km_table *table, const char *name); /* NULL when absent */
/* Builds the table of a network of another folder: each call appends a part, decides its offset, and returns that. columns 0: a vector.
 * The format makes the name. It runs twice: with table->params NULL it counts, then it fills an array of that many. km_table_end makes
 * the size a multiple of 4,096. */
size_t km_table_add(km_table *table, km_start start, int rows, int columns, const char *format, ...)
    KM_PRINTF(5, 6);
void km_table_end(km_table *table);
/* XXH3-128 over the parts in ascending order of names: each name with its NUL, then its values. */
km_hash km_table_hash(const km_table *table, const float *flat);
/* Walks the parameters that a stretch of the table touches: `visit` gets each overlap. Local. */
typedef km_status km_overlap(void *payload, const km_param *param, size_t first, size_t count);
km_status km_table_walk(const km_table *table, size_t first, size_t count, km_overlap *visit, void *payload);

/* ---- Architectures -------------------------------------------------------------------------------------------- */

/* Each is one file of src/model, the only place where its name is compared with another; whoever needs to know something that
 * differs between them asks one of these functions. */
typedef struct km_architecture km_architecture;

/* What a head predicts. */
typedef enum km_head_kind {
    KM_HEAD_TOKENS,  /* the ids at labelled places: the pre-training head of every architecture */
    KM_HEAD_CLASSES, /* a class of each view, or with num_labels 1 a number */
    KM_HEAD_KINDS
} km_head_kind;

const km_architecture *km_architecture_named(const char *type); /* by model.type: "bert"; NULL when there is none */
const km_architecture *km_architecture_at(int index);           /* NULL behind the last */
const char *km_architecture_types(void);                        /* "bert|roberta" */
const char *km_architecture_presets(void);                      /* "tiny|small|bert-base|..." */
/* The types for a message, each in `quotes`: `"bert" or "roberta"`. The caller frees. */
char *km_architecture_list(const char *quotes);

/* Fills in what a preset's name and the type decide, where it was not given. */
void km_model_config_fill(km_model_config *config);
/* The stacks of layers of a backbone, and the streams of a batch that they read: an encoder the input, a decoder its own. */
typedef enum km_stack_name { KM_ENCODER, KM_DECODER, KM_STACKS } km_stack_name;

/* The longest sequence that the config's positions allow: RoBERTa leaves those out that are not behind its pad token's id. */
int64_t km_model_longest(const km_model_config *config);
/* The same before a tokenizer has said which id pads, with the pad id of the published models. *why: what a message adds. */
int64_t km_model_usual_longest(const km_model_config *config, const char **why);
/* The id that an encoder-decoder's decoder reads first; -1 where the type has no decoder. */
int64_t km_model_decoder_start(const km_model_config *config);
/* Rows of embeddings to take where there is no tokenizer yet: those of the preset, or of the type's published base model. */
int64_t km_model_usual_vocabulary(const km_model_config *config);

/* ---- Other programs' files ------------------------------------------------------------------------------------ */

/* A number (or a switch) of config.json, and what transformers' class takes where the file does not have it. Its name is also the
 * model section's option. -1 is written as null where the option's range begins there: no token. */
typedef struct km_interchange_number {
    const char *key;
    double standard;
} km_interchange_number;
/* A switch of config.json that has to be as it is here, or absent. */
typedef struct km_interchange_switch {
    const char *key;
    bool value;
    const char *expected; /* what a message says of it */
} km_interchange_switch;
/* A tensor of a file that repeats a part of the table, by both names. */
typedef struct km_interchange_copy {
    const char *name, *of;
} km_interchange_copy;

/* How the files of an architecture's pre-trained models look (transformers' PreTrainedModel.save_pretrained). Lists end with NULL
 * or a NULL name. */
typedef struct km_interchange {
    const char *type;         /* config.json's model_type: "bert" */
    const char *class_prefix; /* of its classes: "Bert" */
    const km_interchange_number *numbers;
    const km_interchange_switch *switches;
    const char *const
        *generation; /* those of the numbers that generation_config.json has too, which wins; NULL: none */
    bool is_encoder_decoder;
    const char *width;      /* the key of the hidden states' width: "hidden_size" */
    const char *activation; /* the key of the activation's name: "hidden_act" */
    /* How many of the token that ends a text stand between the two texts of a pair; with one, the second text's tokens have token type
     * 1. */
    int separators;
    bool sequence_ids; /* config.json names the ids that begin and end a sequence */
    const char *root;  /* what its backbone's names begin with: "bert." */
    /* Names behind the root. Of the word embeddings: the first that a file has; what those of the backbone begin with; of parts of
     * models that are not in the table; of buffers that hold no weights, such as numbers 0, 1, 2, ... */
    const char *const *words, *const *backbone, *const *unused, *const *buffers;
    const char *head; /* what the pre-training head's names begin with */
    const km_interchange_copy *copies;
} km_interchange;
/* Whether a part of the table with this name belongs to the backbone, and not to a head. */
bool km_interchange_is_backbone(const km_interchange *files, const char *name);
const km_interchange *km_architecture_files(const km_architecture *architecture);
/* transformers' class of a model with such a head: "BertForMaskedLM"; NULL where the architecture has none. */
const char *km_architecture_class(const km_architecture *architecture, km_head_kind head);

/* What stands before the names of the backbone and of the head in a file: "bert." and "" as the table has it, "" and ""
 * for a bare encoder, "0.auto_model." twice where sentence-transformers wrapped one. */
typedef struct km_naming {
    const km_interchange *files;
    size_t backbone, head; /* bytes before their names */
    char prefix[112];      /* the backbone's; the head's is its beginning */
} km_naming;
/* True where `name` is that of the word embeddings, one of files->words, from which the naming of the whole file follows. */
bool km_naming_from(km_naming *out, const km_interchange *files, const char *words, const char *name);
/* The name that the table, or a model with more heads, has for a file's `name`: prefixes are made the table's own, gamma
 * and beta become weight and bias. False where it is longer than `size`. */
bool km_naming_own(char *out, size_t size, const km_naming *naming, const char *name);
/* What a tensor that is no part of the table is, by its own name. */
typedef enum km_tensor_kind {
    KM_TENSOR_BUFFER,
    KM_TENSOR_COPY,   /* of a part of the table: *copy says of which */
    KM_TENSOR_EXTRA,  /* another head, a pooler */
    KM_TENSOR_UNKNOWN /* among the model's own names, but none of them: another architecture */
} km_tensor_kind;
km_tensor_kind km_naming_kind(const km_interchange_copy **copy, const km_naming *naming, const char *own);

/* ---- Models ------------------------------------------------------------------------------------------------- */

typedef struct km_model km_model;

/* All fields of `config` are resolved. KM_USAGE names what does not fit. The caller destroys. */
km_status km_model_create(km_model **out, const km_model_config *config, km_head_kind head) KM_NODISCARD;
void km_model_destroy(km_model *model);
const km_table *km_model_table(const km_model *model);
const km_model_config *km_model_shape(const km_model *model);
const km_architecture *km_model_architecture(const km_model *model);
km_head_kind km_model_head(const km_model *model);
/* Sizes of a stack of layers; false where the model has none of that name. */
typedef struct km_stack_shape {
    int layers, width, heads, intermediate;
} km_stack_shape;
bool km_model_stack(km_stack_shape *out, const km_model *model, km_stack_name stack);
/* Initial weights (table->size) are a function of the seed alone: normal(0, initializer_range) for matrices, 0 for
 * biases, 1 for layer norms' weights; keyed by the part's name, so adding a part changes no other. The row of the
 * pad token stays zero as the field has it. */
void km_model_init_weights(const km_model *model, float *weights, uint64_t seed);
/* Multiply-adds times two of one forward and backward over a batch: the work really done. */
double km_model_flops(const km_model *model, const km_batch *batch);
/* Whether ids, types, labels and lengths are the model's: KM_USAGE names the first that is not. What comes from a
 * file is to be checked once; gradient and forward only assert. */
km_status km_model_check(const km_model *model, const km_batch *batch) KM_NODISCARD;

/* ---- Gradient and forward ----------------------------------------------------------------------------------- */

/* Label smoothing of the loss over the vocabulary of V ids, where nll(v) is -log p(v). share 0: none.
 *
 *   among_others   (1 - share) nll(label) + share/(V-1) times the sum of nll over the other ids      fairseq
 *   else           (1 - share) nll(label) + share/V times the sum of nll over all ids    PyTorch, transformers */
typedef struct km_label_smoothing {
    double share;
    bool among_others;
} km_label_smoothing;

/* Most that any batch will need, and what is wanted. */
typedef struct km_work_options {
    km_batch_limits limits;
    bool backward;                /* false: forward only needs less */
    bool recompute;               /* keep only layer inputs, compute the rest again in backward (no bit changes) */
    bool bf16;                    /* products in bf16, where km_bf16_supported() */
    bool norms;                   /* km_model_gradient leaves km_work_norms; not of classes */
    km_label_smoothing smoothing; /* of the gradient's loss; not with bf16, nor of classes */
    /* With bf16: the weights rounded, of the table's layout, the caller's, as they are when a pass begins. NULL: every
     * pass rounds them for itself. */
    const km_bf16 *rounded;
} km_work_options;
typedef struct km_work km_work; /* activations and scratch of one thread; several at once for one model are fine */
/* KM_USAGE where the options do not fit the model (longest beyond its positions), KM_FAILED without memory or bf16. */
km_status km_work_create(km_work **out, const km_model *model, const km_work_options *options) KM_NODISCARD;
void km_work_destroy(km_work *work);
size_t km_work_bytes(const km_model *model, const km_work_options *options); /* weights are no part of it */

/* Where gradients go, on the caller's thread. `ready` gets finished slices of the gradient of the *summed* loss,
 * fp32, to be added at `offset` of the table (a place may come more than once: tied embeddings). `done(offset)`:
 * nothing at or beyond `offset` will come any more; the last call has offset 0. */
typedef struct km_sink {
    void *payload;
    void (*ready)(void *payload, size_t offset, const float *gradient, size_t count);
    void (*done)(void *payload, size_t offset);
} km_sink;

typedef struct km_loss_sum {
    double loss;    /* sum over labelled tokens of weight (km_batch.weights) times -log p(label) */
    int64_t masked; /* labelled tokens */
    int64_t correct;
} km_loss_sum;

/* Loss and gradient of one micro-batch; without labelled tokens both are 0 and only done(0) is called. The result
 * is a function of the arguments to the bit, whatever the work area held before. dropout_seed: the run's seed;
 * dropout is on when the config's shares are > 0 and `dropout`. */
void km_model_gradient(const km_model *model, const float *weights, const km_batch *batch, uint64_t dropout_seed,
                       bool dropout, km_work *work, const km_sink *sink, km_loss_sum *out);
/* Loss only, dropout off. *probabilities, where not NULL: (M,V) softmax at the labelled places, the work area's,
 * valid until its next use. */
void km_model_forward(const km_model *model, const float *weights, const km_batch *batch, km_work *work,
                      km_loss_sum *out, const float **probabilities);
/* The logits (M,V), bias included, dropout off; the work area's, valid until its next use. Labels are not read. */
const float *km_model_logits(const km_model *model, const float *weights, const km_batch *batch, km_work *work);
/* The gradient of the summed loss in the mixture of the encoder's embeddings (km_stream.mix), of the last km_model_gradient: (N), the work
 * area's. */
const float *km_work_mixture(const km_work *work);
/* With options.norms, of the last km_model_gradient, (M): for each labelled token the norm of the gradient of its own loss, before its
 * weight, in the output layer: |d logits| sqrt(|h|^2 + 1), where h is what the layer multiplies and 1 stands for its bias (where it has a
 * trained one). The work area's. */
const float *km_work_norms(const km_work *work);
/* Hidden states of the last pass: layer 0 is the embeddings', l is layer l's output: (N,C); of the last layer of the stream that
 * predicts (M,C), at the labelled tokens. NULL where the work area does not keep them (backward false; bf16 without recompute) or
 * there is no such one. */
const float *km_work_hidden(const km_work *work, km_stack_name stack, int layer);

/* ---- Generation ----------------------------------------------------------------------------------------------- */

/* How an encoder-decoder answers a source: as transformers' generate does it, with early_stopping off. */
typedef struct km_generate_options {
    int beams; /* 1: greedy; else beam search. (1 + number of ends) * beams is at most the vocabulary's size. */
    int min_length, max_length; /* tokens of an answer with the start and the end; max_length is at least 2 */
    double length_penalty;
    int no_repeat_ngram; /* so many tokens in a row never come twice in an answer; 0: they may */
    /* Ids: what an answer begins with, and what ends it; what comes second, and what comes last where max_length is reached (-1: what
     * the model predicts). */
    int32_t start, end, forced_first, forced_last;
    int32_t more_ends[KM_MOST_ENDS - 1]; /* (more_end_count) further ids that end an answer as `end` does */
    int more_end_count;
} km_generate_options;

/* Answers to B sources, in their order. */
typedef struct km_answers {
    int count;       /* B */
    int32_t *starts; /* (B+1) answer i is ids[starts[i]] to ids[starts[i + 1] - 1] */
    int32_t
        *ids; /* as transformers' generate returns them: with the start, and with the end where it was reached */
    /* (B) sum of the log probabilities of the tokens behind the start / (number of those)^length_penalty; a forced token has
     * probability 1. */
    float *scores;
} km_answers;

/* Encodes batches of sources, and decodes their answers together, one token at a time, with the keys and values of earlier tokens
 * kept. It belongs to one thread. Products are of fp32 numbers; their rows are those of the batch, so an answer's bits depend on the
 * whole batch and on nothing else. */
typedef struct km_generator km_generator;
/* No batch has more views, input tokens, or tokens in a view than `limits`. KM_USAGE where the model has no decoder, or the options
 * do not fit it; KM_FAILED without memory. The caller destroys. */
km_status km_generator_create(km_generator **out, const km_model *model, const km_generate_options *options,
                              const km_batch_limits *limits) KM_NODISCARD;
void km_generator_destroy(km_generator *generator); /* NULL is fine */
/* Whether the options fit the model: KM_USAGE names the one that does not. */
km_status km_generate_options_check(const km_model *model, const km_generate_options *options) KM_NODISCARD;
/* The answers to the sources in batch->input. They are the generator's, valid until its next use. */
const km_answers *km_generator_run(km_generator *generator, const float *weights, const km_batch *batch);

#endif
