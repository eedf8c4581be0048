/* net: small networks that say what is to be masked. Each gives one or two numbers to every token of a text:
 *
 *   supervised   the logits of an answer that starts, and of one that ends here (Ye et al. 2021, section 4.2)
 *   meta         the logits of leaving the token as it is, and of masking it (section 4.3)
 *   proposal     a score: the logarithm of the norm that the gradient is expected to have where the token is masked (Chen et al. 2020)
 *
 * As in kmask/model.h a network is a function of weights and a batch, weights are one flat array, and everything is local. */
#ifndef KMASK_NET_H
#define KMASK_NET_H

#include "kmask/base.h"
#include "kmask/batch.h"
#include "kmask/model.h"

typedef enum km_policy_kind {
    KM_POLICY_SUPERVISED,
    KM_POLICY_META,
    KM_POLICY_PROPOSAL,
    KM_POLICY_KINDS
} km_policy_kind;
/* Of the two kinds that are trained from examples and are files of their own; false for other names. */
bool km_policy_kind_named(km_policy_kind *out, const char *name);
const char *km_policy_kind_name(km_policy_kind kind);

/* V rows of embeddings, C wide; supervised: L layers of an LSTM with H units in each direction; meta and proposal: a convolution of
 * width K to H channels, and a linear layer from H to M. */
typedef struct km_policy_shape {
    km_policy_kind kind;
    int V, C, H, L, K, M;
} km_policy_shape;

/* A network: sizes, and a table of its parameters, under the names of PyTorch's modules: embed.weight (V,C); lstm.weight_ih_l0 (4H,C) and
 * so on as nn.LSTM has them, start.weight (1,2H), start.bias, end.*; or conv.weight (H, C*K), which is (H,C,K) of nn.Conv1d, conv.bias,
 * linear1.* (M,H), linear2.* (2,M); of a proposal linear2.* (1,M). */
typedef struct km_policy_net km_policy_net;
/* KM_USAGE where a size makes no sense. The caller destroys. */
km_status km_policy_net_create(km_policy_net **out, const km_policy_shape *shape) KM_NODISCARD;
void km_policy_net_destroy(km_policy_net *net); /* NULL is fine */
const km_table *km_policy_net_table(const km_policy_net *net);
const km_policy_shape *km_policy_net_shape(const km_policy_net *net);
int km_policy_net_outputs(const km_policy_net *net); /* numbers of each token: 1 or 2 */
/* Initial weights as PyTorch's modules have them, functions of seed and name: uniform between -1/sqrt(n) and 1/sqrt(n), n the hidden
 * size of the LSTM or the inputs of one output; embeddings are normal with deviation 0.02. The last layer of a proposal is 0: all its scores are equal. */
void km_policy_net_init(const km_policy_net *net, float *weights, uint64_t seed);

/* The arithmetic of a forward pass for one token, in FLOPs. */
double km_policy_flops(const km_policy_net *net);

/* Activations of one thread, for batches of at most so many tokens and views. */
typedef struct km_policy_work km_policy_work;
km_status km_policy_work_create(km_policy_work **out, const km_policy_net *net, int tokens, int views) KM_NODISCARD;
void km_policy_work_destroy(km_policy_work *work); /* NULL is fine */
/* Dropout of kind supervised, on the embeddings and on what each layer makes, for streams with keys. A function of seed, keys and place. */
void km_policy_work_set_dropout(km_policy_work *work, double share, uint64_t seed);
size_t km_policy_work_bytes(const km_policy_net *net, int tokens, int views);
/* The outputs of each token, (N,outputs), the work area's, for the sequences of a stream (ids and starts are read). The result is a function
 * of the arguments to the bit. */
const float *km_policy_forward(const km_policy_net *net, const float *weights, const km_stream *stream, int views,
                               km_policy_work *work);
/* The gradient of the parameters from that of the outputs, dlogits (N,outputs), behind km_policy_forward of the same stream. embeddings false:
 * nothing is reported for embed.weight. The sink's last call is done(0). */
void km_policy_backward(const km_policy_net *net, const float *weights, const km_stream *stream, int views,
                        const float *dlogits, bool embeddings, km_policy_work *work, const km_sink *sink);

#endif
