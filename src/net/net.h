/* Private to net/: what the networks share. Each kind is one file with a km_net_kind. */
#ifndef KMASK_NET_PRIVATE_H
#define KMASK_NET_PRIVATE_H

#include "kmask/kernel.h"
#include "kmask/net.h"

/* One direction of a layer of an LSTM: offsets into the table. */
typedef struct km_lstm_parts {
    size_t w_in, w_hidden, b_in, b_hidden; /* (4H,in), (4H,H), (4H), (4H) */
} km_lstm_parts;
enum { KM_MOST_LAYERS = 8, KM_DIRECTIONS = 2 };

/* A linear layer. */
typedef struct km_linear_parts {
    size_t w, b;
} km_linear_parts;

struct km_policy_net {
    km_policy_shape shape;
    const struct km_net_kind *kind;
    km_table table;
    size_t embed, above; /* of embed.weight, and of the first part behind it */
    km_lstm_parts lstm[KM_MOST_LAYERS][KM_DIRECTIONS];
    km_linear_parts start, end;             /* supervised */
    km_linear_parts conv, linear1, linear2; /* meta, proposal */
};

/* One pass over one batch. */
typedef struct km_net_pass {
    const km_policy_net *net;
    const float *weights;
    const km_stream *stream;
    int views;
    km_policy_work *work;
    const km_sink *sink; /* NULL: forward */
} km_net_pass;

/* A kind of network: how its parts above the embeddings are placed, and how they compute. */
typedef struct km_net_kind {
    const char *name;
    int outputs;      /* numbers of each token */
    bool starts_flat; /* initial weights of the last layer are 0 */
    km_status (*check)(const km_policy_shape *shape);
    void (*place)(km_policy_net *net, km_table *table);
    /* Takes the parts of its own work area out of the arena: room for N tokens and B views. */
    void (*place_work)(km_policy_work *work, const km_policy_net *net, km_arena *arena, int N, int B);
    /* work->x (N,C) -> work->logits (N,outputs) */
    void (*forward)(const km_net_pass *pass);
    /* work->dlogits (N,outputs) -> work->dx (N,C), and the parts' gradients to the sink, from the end of the table to its start */
    void (*backward)(const km_net_pass *pass);
} km_net_kind;
extern const km_net_kind km_net_lstm, km_net_conv, km_net_proposal;

/* What a direction of a layer keeps for backward, in packed order. */
typedef struct km_lstm_acts {
    float *gates, *cells, *hidden; /* (N,4H), (N,H), (N,H) */
} km_lstm_acts;

struct km_policy_work {
    void *block;
    float *x, *dx, *logits, *dlogits; /* (N,C), (N,C), (N,outputs), (N,outputs) */
    float *gradient;                  /* the slice that is being made */
    km_dropout dropout;               /* p = 0: none */
    /* LSTM: input of layer l is y[l], y[0] is x; (N,2H) else. */
    float *y[KM_MOST_LAYERS + 1], *dy[2];
    km_lstm_acts lstm[KM_MOST_LAYERS][KM_DIRECTIONS];
    float *gates, *packed, *hidden, *cell; /* (N,4H), (N,4H), (N,H), (B,H): scratch */
    int32_t *order[KM_DIRECTIONS];         /* (N) the place in the stream of each token in packed order */
    int32_t *before;                       /* (N) packed place of the token before; -1: none */
    int32_t *sorted;                       /* (B) views, the longest first */
    int *active;                           /* (N) */
    int steps;
    float *columns; /* (N) of the heads */
    /* Convolution. */
    float *windows, *dwindows, *conv, *dconv, *u, *g, *dg; /* (N,C*K) twice, (N,H) twice, (N,M) three times */
};

/* Reports the gradient of a linear layer y = x w^T + b from dy (N,out): the bias first. */
void km_net_report_linear(const km_net_pass *pass, const km_linear_parts *parts, const float *dy, const float *x,
                          int in, int out);
/* Drops elements of what layer `layer` made, y (N,C), or of its gradient; layer 0 are the embeddings. */
void km_net_dropout(const km_net_pass *pass, float *y, int layer, int C);
float *km_net_floats(km_arena *arena, size_t rows, size_t columns);

#endif
