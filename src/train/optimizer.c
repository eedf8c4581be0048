/* optimizer: from the sum of a gradient to its norm and to new weights, each rank on the elements that it owns. */
#include "kmask/train.h"

#include "kmask/kernel.h"

#include <math.h>

/* Work that the pool's workers share. `visit` is called for each part of a bucket that this rank owns: elements
 * first..first+count-1 of the table, which are local..local+count-1 of the owned elements. */
typedef struct pass pass;
struct pass {
    km_parameters *parameters;
    int workers;
    const int64_t *sums;
    double scale; /* gradient = sums * scale */
    km_adamw options;
    void (*visit)(const pass *p, size_t first, size_t count, size_t local);
};

static void visit_parts(void *payload, int worker) {
    const pass *p = payload;
    const km_exchange *exchange = p->parameters->exchange;
    const int rank = km_comm_rank(p->parameters->comm);
    for (int b = worker; b < km_exchange_buckets(exchange); b += p->workers) {
        size_t first = 0, count = 0, local = 0;
        km_exchange_part(exchange, b, rank, &first, &count, &local);
        if (count > 0) {
            p->visit(p, first, count, local);
        }
    }
}

static void run_pass(pass *p, km_pool *pool) {
    p->workers = km_pool_workers(pool);
    km_pool_run(pool, visit_parts, p);
}

/* ---- The norm ---- */

static void square_part(const pass *p, size_t first, size_t count, size_t local) {
    for (size_t i = 0; i < count; i += KM_BLOCK) {
        km_op_begin(KM_OP_OPTIMIZER);
        p->parameters->blocks[(first + i) / KM_BLOCK] = km_fixed_squares(p->sums + local + i, p->scale, KM_BLOCK);
        km_op_end();
    }
}

double km_gradient_norm(km_parameters *parameters, km_pool *pool, const int64_t *sums, double divisor) {
    pass p = {.parameters = parameters,
              .sums = sums,
              .scale = ldexp(1.0, -KM_FIXED_BITS) / divisor,
              .visit = square_part};
    run_pass(&p, pool);
    km_exchange_gather_blocks(parameters->exchange, parameters->blocks);
    double squares = 0;
    for (size_t i = 0; i < parameters->table->size / KM_BLOCK; i++) {
        squares += parameters->blocks[i];
    }
    return sqrt(squares);
}

/* ---- The update ---- */

/* A part of a bucket. It may hold several parameters, or a piece of one. */
typedef struct part {
    const pass *p;
    size_t first, local; /* where it begins in the table, and among the owned elements */
} part;

static km_status update_overlap(void *payload, const km_param *param, size_t first, size_t count) {
    const part *at = payload;
    const pass *p = at->p;
    km_parameters *parameters = p->parameters;
    km_adamw options = p->options;
    if (!param->decay) {
        options.weight_decay = 0;
    }
    const size_t local = at->local + (first - at->first);
    KM_TIMED(KM_OP_OPTIMIZER, km_adamw_update(parameters->weights + first, parameters->m + local,
                                              parameters->v + local, p->sums + local, p->scale, &options, count));
    return KM_OK;
}

static void update_part(const pass *p, size_t first, size_t count, size_t local) {
    part at = {p, first, local};
    (void)km_table_walk(p->parameters->table, first, count, update_overlap, &at);
}

void km_parameters_update(km_parameters *parameters, km_pool *pool, const km_update *u) {
    const km_optimizer_config *o = u->optimizer;
    const double shrink = o->clip > 0 && u->norm > o->clip ? o->clip / u->norm : 1.0;
    pass p = {.parameters = parameters,
              .sums = u->sums,
              .scale = ldexp(1.0, -KM_FIXED_BITS) / u->divisor * shrink,
              .visit = update_part};
    p.options = (km_adamw){
        .lr = (float)u->lr,
        .beta1 = (float)o->beta1,
        .beta2 = (float)o->beta2,
        .eps = (float)o->eps,
        .weight_decay = (float)o->weight_decay,
        .correction1 = (float)(1.0 - pow(o->beta1, (double)u->step)),
        .correction2 = (float)(1.0 - pow(o->beta2, (double)u->step)),
    };
    run_pass(&p, pool);
    km_exchange_gather(parameters->exchange, parameters->weights);
}
