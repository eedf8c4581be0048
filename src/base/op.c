/* op: the seconds that threads spend on each operation. Each thread has a record of its own, which no other thread writes. */
#include "kmask/base.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH = 8 };

typedef struct record {
    km_op ops[DEPTH]; /* a stack: ops[depth] is what the thread does now, ops[depth - 1] what it will go back to */
    int depth;
    double since;
    double seconds[KM_OPS];
    struct record *next;
} record;

bool km_ops_measured;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* guards the list and the round */
static record *records;
static unsigned round_now;

static _Thread_local record *own;
static _Thread_local unsigned own_round;

static void open_record(double now) {
    pthread_mutex_lock(&mutex);
    own = km_new(1, sizeof *own);
    own->since = now;
    own->next = records;
    records = own;
    own_round = round_now;
    pthread_mutex_unlock(&mutex);
}

/* Adds the time since the last call to the operation that this thread has been doing. */
static void add_time(void) {
    const double now = km_seconds();
    if (own == NULL || own_round != round_now) {
        open_record(now);
    }
    own->seconds[own->ops[own->depth]] += now - own->since;
    own->since = now;
}

void km_op_push(km_op op) {
    add_time();
    assert(own->depth + 1 < DEPTH);
    own->ops[++own->depth] = op;
}

void km_op_pop(void) {
    add_time();
    own->depth -= own->depth > 0; /* the stack is empty where the operation had begun before the measurement */
}

void km_ops_measure(bool on) {
    pthread_mutex_lock(&mutex);
    while (records != NULL) {
        record *next = records->next;
        free(records);
        records = next;
    }
    round_now++; /* a thread that has a record of an earlier round opens a new one */
    km_ops_measured = on;
    pthread_mutex_unlock(&mutex);
}

void km_ops_collect(double seconds[KM_OPS]) {
    const double now = km_seconds();
    memset(seconds, 0, KM_OPS * sizeof *seconds);
    pthread_mutex_lock(&mutex);
    for (const record *a = records; a != NULL; a = a->next) {
        for (int op = 0; op < KM_OPS; op++) {
            seconds[op] += a->seconds[op];
        }
        seconds[a->ops[a->depth]] += now - a->since;
    }
    pthread_mutex_unlock(&mutex);
}

const char *km_op_name(km_op op) {
    static const char *const names[KM_OPS] = {[KM_OP_REST] = "rest",
                                              [KM_OP_INPUT] = "input",
                                              [KM_OP_FORWARD_PRODUCTS] = "forward_products",
                                              [KM_OP_FORWARD_ATTENTION] = "forward_attention",
                                              [KM_OP_FORWARD_NORM] = "forward_norm",
                                              [KM_OP_FORWARD_GELU] = "forward_gelu",
                                              [KM_OP_FORWARD_EMBEDDING] = "forward_embedding",
                                              [KM_OP_LOSS] = "loss",
                                              [KM_OP_BACKWARD_PRODUCTS] = "backward_products",
                                              [KM_OP_BACKWARD_ATTENTION] = "backward_attention",
                                              [KM_OP_BACKWARD_NORM] = "backward_norm",
                                              [KM_OP_BACKWARD_GELU] = "backward_gelu",
                                              [KM_OP_BACKWARD_EMBEDDING] = "backward_embedding",
                                              [KM_OP_DROPOUT] = "dropout",
                                              [KM_OP_EXACT_SUM] = "exact_sum",
                                              [KM_OP_OPTIMIZER] = "optimizer",
                                              [KM_OP_ROUNDING] = "rounding",
                                              [KM_OP_COMMUNICATION] = "communication",
                                              [KM_OP_WAITING] = "waiting",
                                              [KM_OP_IDLE] = "idle"};
    return names[op];
}
