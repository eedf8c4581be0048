/* The slow twin of model/: the textbook formulas in double, one view and one position after the other, no BLAS, no
 * kernel; parts are found by their names. Every position goes through every layer. */
#ifndef KMASK_TESTS_MODEL_TWIN_H
#define KMASK_TESTS_MODEL_TWIN_H

#include "model/support.h"

enum { TWIN_WIDTH = 64, TWIN_LENGTH = 32 };
typedef double twin_rows[TWIN_LENGTH][TWIN_WIDTH];

typedef struct twin {
    const km_model_config *config;
    const km_table *table;
    const double *weights;
    uint64_t seed;
    bool dropout;
} twin;

static inline const double *twin_part(const twin *t, const char *format, ...) KM_PRINTF(2, 3);
static inline const double *twin_part(const twin *t, const char *format, ...) {
    char name[112];
    va_list list;
    va_start(list, format);
    vsnprintf(name, sizeof name, format, list);
    va_end(list);
    const km_param *param = km_table_find(t->table, name);
    if (param == NULL) {
        fail_msg("the table has no %s", name);
        return NULL;
    }
    return t->weights + param->offset;
}

/* What element `e` of the row `key` is multiplied with (kernel.h, km_dropout). */
static inline double twin_keep(const twin *t, double p, uint32_t site, uint64_t key, uint32_t e) {
    double limit = t->dropout ? floor((double)(float)p * 65536.0 + 0.5) : 0.0;
    uint32_t philox_key[2], out[4];
    const uint32_t counter[4] = {e / 8, site, (uint32_t)key, (uint32_t)(key >> 32)};
    if (limit == 0.0) {
        return 1.0;
    }
    km_rng_key(philox_key, t->seed, KM_RNG_DROPOUT);
    km_philox(out, counter, philox_key);
    uint32_t number = e % 8 < 4 ? out[e % 8] & 0xFFFFu : out[e % 8 - 4] >> 16;
    return (double)number >= limit ? 1.0 / (1.0 - limit / 65536.0) : 0.0;
}

static inline void twin_norm(const twin *t, double *x, const char *prefix) {
    const double *w = twin_part(t, "%s.weight", prefix), *b = twin_part(t, "%s.bias", prefix);
    int C = (int)t->config->hidden_size;
    double mean = 0, variance = 0;
    for (int c = 0; c < C; c++) {
        mean += x[c] / C;
    }
    for (int c = 0; c < C; c++) {
        variance += (x[c] - mean) * (x[c] - mean) / C;
    }
    for (int c = 0; c < C; c++) {
        x[c] = (x[c] - mean) / sqrt(variance + (double)(float)t->config->layer_norm_eps) * w[c] + b[c];
    }
}

static inline void twin_dense(const twin *t, double *y, const double *x, int I, int O, const char *prefix) {
    const double *w = twin_part(t, "%s.weight", prefix), *b = twin_part(t, "%s.bias", prefix);
    for (int o = 0; o < O; o++) {
        y[o] = b[o];
        for (int i = 0; i < I; i++) {
            y[o] += w[o * I + i] * x[i];
        }
    }
}

static inline double twin_gelu(double x, bool tanh_form) {
    const double pi = 3.14159265358979323846;
    return tanh_form ? 0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x * x * x)))
                     : 0.5 * x * erfc(-x / sqrt(2));
}

static inline bool twin_tanh(const twin *t) {
    return strcmp(t->config->hidden_act, "gelu_new") == 0;
}

static inline void twin_attention(const twin *t, twin_rows out, twin_rows x, const uint64_t *keys,
                                  const uint8_t *seen, int T, const char *layer, uint32_t site) {
    static twin_rows q, k, v;
    char prefix[112];
    int C = (int)t->config->hidden_size, H = (int)t->config->num_attention_heads, D = C / H;
    double(*to[3])[TWIN_WIDTH] = {q, k, v};
    const char *names[3] = {"query", "key", "value"};
    for (int n = 0; n < 3; n++) {
        snprintf(prefix, sizeof prefix, "%s.attention.self.%s", layer, names[n]);
        for (int i = 0; i < T; i++) {
            twin_dense(t, to[n][i], x[i], C, C, prefix);
        }
    }
    memset(out, 0, sizeof(twin_rows));
    for (int i = 0; i < T; i++) {
        for (int h = 0; h < H; h++) {
            double e[TWIN_LENGTH], sum = 0;
            for (int j = 0; j < T; j++) {
                double score = 0;
                for (int d = h * D; d < (h + 1) * D; d++) {
                    score += q[i][d] * k[j][d];
                }
                e[j] = seen == NULL || seen[j] ? exp(score / sqrt(D)) : 0;
                sum += e[j];
            }
            for (int j = 0; j < T; j++) {
                double p =
                    e[j] / sum *
                    twin_keep(t, t->config->attention_probs_dropout_prob, site, keys[i], (uint32_t)(h * 65536 + j));
                for (int d = h * D; d < (h + 1) * D; d++) {
                    out[i][d] += p * v[j][d];
                }
            }
        }
    }
}

/* x = norm(x + dropout(dense(in))) */
static inline void twin_ending(const twin *t, double *x, const double *in, int I, uint64_t key, uint32_t site,
                               const char *layer) {
    char prefix[160];
    double y[TWIN_WIDTH];
    int C = (int)t->config->hidden_size;
    snprintf(prefix, sizeof prefix, "%s.dense", layer);
    twin_dense(t, y, in, I, C, prefix);
    for (int c = 0; c < C; c++) {
        x[c] += y[c] * twin_keep(t, t->config->hidden_dropout_prob, site, key, (uint32_t)c);
    }
    snprintf(prefix, sizeof prefix, "%s.LayerNorm", layer);
    twin_norm(t, x, prefix);
}

static inline void twin_layer(const twin *t, twin_rows x, const uint64_t *keys, const uint8_t *seen, int T, int l) {
    static twin_rows context;
    char layer[64], prefix[112];
    int C = (int)t->config->hidden_size, I = (int)t->config->intermediate_size;
    uint32_t site = (uint32_t)(1 + 3 * l);
    snprintf(layer, sizeof layer, "%s.encoder.layer.%d", t->config->type, l);
    twin_attention(t, context, x, keys, seen, T, layer, site);
    for (int i = 0; i < T; i++) {
        double wide[TWIN_WIDTH];
        snprintf(prefix, sizeof prefix, "%s.attention.output", layer);
        twin_ending(t, x[i], context[i], C, keys[i], site + 1, prefix);
        snprintf(prefix, sizeof prefix, "%s.intermediate.dense", layer);
        twin_dense(t, wide, x[i], C, I, prefix);
        for (int o = 0; o < I; o++) {
            wide[o] = twin_gelu(wide[o], twin_tanh(t));
        }
        snprintf(prefix, sizeof prefix, "%s.output", layer);
        twin_ending(t, x[i], wide, I, keys[i], site + 2, prefix);
    }
}

/* BERT: the token's index. RoBERTa: the pad token's id for pads; the others are counted, from the id after it. */
static inline int twin_place(const twin *t, const int32_t *ids, int index) {
    int pad = (int)t->config->pad_token_id, place = pad;
    if (strcmp(t->config->type, "bert") == 0) {
        return index;
    }
    for (int i = 0; i <= index; i++) {
        place += ids[i] != pad;
    }
    return ids[index] == pad ? pad : place;
}

static inline void twin_embed(const twin *t, double *x, int32_t id, int32_t type, int place, uint64_t key) {
    const char *root = t->config->type;
    char prefix[112];
    int C = (int)t->config->hidden_size;
    const double *word = twin_part(t, "%s.embeddings.word_embeddings.weight", root) + id * C;
    const double *position = twin_part(t, "%s.embeddings.position_embeddings.weight", root) + place * C;
    const double *kind = twin_part(t, "%s.embeddings.token_type_embeddings.weight", root) + type * C;
    for (int c = 0; c < C; c++) {
        x[c] = word[c] + position[c] + kind[c];
    }
    snprintf(prefix, sizeof prefix, "%.31s.embeddings.LayerNorm", root);
    twin_norm(t, x, prefix);
    for (int c = 0; c < C; c++) {
        x[c] *= twin_keep(t, t->config->hidden_dropout_prob, 0, key, (uint32_t)c);
    }
}

enum { TWIN_VOCABULARY = 64 };

/* Logits of the last hidden state x, and y: what the output layer multiplies. */
static inline void twin_logits(const twin *t, double *logits, double *y, const double *x) {
    bool bert = strcmp(t->config->type, "bert") == 0;
    int C = (int)t->config->hidden_size, V = (int)t->config->vocab_size;
    const double *word = twin_part(t, "%s.embeddings.word_embeddings.weight", t->config->type);
    const double *bias = twin_part(t, "%s", bert ? "cls.predictions.bias" : "lm_head.bias");
    assert_true(V <= TWIN_VOCABULARY);
    twin_dense(t, y, x, C, C, bert ? "cls.predictions.transform.dense" : "lm_head.dense");
    for (int c = 0; c < C; c++) {
        y[c] = twin_gelu(y[c], bert && twin_tanh(t));
    }
    twin_norm(t, y, bert ? "cls.predictions.transform.LayerNorm" : "lm_head.layer_norm");
    for (int v = 0; v < V; v++) {
        logits[v] = bias[v];
        for (int c = 0; c < C; c++) {
            logits[v] += y[c] * word[v * C + c];
        }
    }
}

static inline double twin_token_loss(const twin *t, const double *x, int32_t label) {
    double logits[TWIN_VOCABULARY], y[TWIN_WIDTH], sum = 0;
    twin_logits(t, logits, y, x);
    for (int v = 0; v < t->config->vocab_size; v++) {
        sum += exp(logits[v]);
    }
    return log(sum) - logits[label];
}

/* The norm of that loss' gradient in the output layer: the word embeddings as it reads them, and its bias. */
static inline double twin_token_norm(const twin *t, const double *x, int32_t label) {
    double logits[TWIN_VOCABULARY], y[TWIN_WIDTH], sum = 0, squares = 0;
    twin_logits(t, logits, y, x);
    for (int v = 0; v < t->config->vocab_size; v++) {
        sum += exp(logits[v]);
    }
    for (int v = 0; v < t->config->vocab_size; v++) {
        const double d = exp(logits[v]) / sum - (v == label ? 1 : 0);
        squares += d * d; /* of the bias */
        for (int c = 0; c < t->config->hidden_size; c++) {
            squares += d * y[c] * d * y[c]; /* of an embedding's element */
        }
    }
    return sqrt(squares);
}

/* The summed loss of a batch, with its labels' weights; norms (M), where not NULL: twin_token_norm of each label. */
static inline double twin_loss(const twin *t, const km_batch *batch, double *norms) {
    static twin_rows x;
    double loss = 0;
    for (int view = 0; view < batch->views; view++) {
        int first = batch->input.starts[view], T = batch->input.starts[view + 1] - first;
        for (int i = 0; i < T; i++) {
            int n = first + i;
            twin_embed(t, x[i], batch->input.ids[n], batch->input.types != NULL ? batch->input.types[n] : 0,
                       twin_place(t, batch->input.ids + first, i), batch->input.keys[n]);
        }
        for (int l = 0; l < (int)t->config->num_hidden_layers; l++) {
            twin_layer(t, x, batch->input.keys + first,
                       batch->input.seen != NULL ? batch->input.seen + first : NULL, T, l);
        }
        for (int m = 0; m < batch->labelled; m++) {
            if (batch->at[m] >= first && batch->at[m] < first + T) {
                const double *state = x[batch->at[m] - first],
                             weight = batch->weights != NULL ? (double)batch->weights[m] : 1;
                loss += weight * twin_token_loss(t, state, batch->labels[m]);
                if (norms != NULL) {
                    norms[m] = twin_token_norm(t, state, batch->labels[m]);
                }
            }
        }
    }
    return loss;
}

#endif
