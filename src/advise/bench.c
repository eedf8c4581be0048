/* bench: how fast a step is, compared with the matrix products in it.
 *
 * Steps are made by km_trainer_step, with nothing left out but saves: reader, masks, dropout, gradient, exact sum, norm, AdamW,
 * and everything between ranks. After each step every thread of every rank calls the library for products of the same shapes and
 * precision and nothing else, for as many micro-batches as the thread has in a step. Steps and products take turns, so that
 * whatever else happens on the machine disturbs both alike.
 *
 * Work is counted in two ways, both as multiply-adds times two of the products of forward and backward. `whole` counts the last
 * layer at all tokens and the vocabulary at labelled tokens. `done` counts what a step computes: in the last layer only keys and
 * values at all tokens, everything else at labelled tokens. A share is the rate of the step divided by the rate of the products,
 * both by the same count; the share by `whole` may be above 1. */
#include "bench_private.h"
#include "kmask/kernel.h"
#include "kmask/run.h"

#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum { WARM_UP = 1 };

typedef struct measured_step {
    double seconds;          /* of the slowest rank */
    double exposed;          /* seconds of communication that nothing hides, the mean of the ranks */
    double whole, done;      /* FLOP/s of the bare products, of all threads of all ranks together */
    double dense, attention; /* the two kinds of products in `whole` */
} measured_step;

typedef struct bench {
    km_run run;
    int repeat;
    bool bare; /* whether the bare products are measured too */
    km_product_shape shape;
    int passes;              /* micro-batches that a thread multiplies after each step */
    km_products **products;  /* (threads) */
    km_products_time *times; /* (threads) */
    measured_step *steps;    /* (repeat) */
    double ops[KM_OPS];      /* seconds of all threads of all ranks, of all measured steps */
    int64_t masked, tokens;  /* of a step */
    double flops;            /* of a step, as km_model_flops counts them */
    int64_t peak;            /* bytes: the largest resident size of any rank */
    km_memory memory;
} bench;

/* ---- Setting up --------------------------------------------------------------------------------------------- */

static km_status open_data(km_run *run) {
    const km_config *config = &run->config;
    km_masking masking;
    KM_TRY(km_masking_of(&masking, &config->mask, -1));
    const km_rows_options options = {.length = (int)config->data.length,
                                     .packing = KM_PACK_STREAM,
                                     .unit = km_masking_unit(&masking),
                                     .min_units = masking.spec.splits};
    KM_TRY(km_bench_corpus_open(&run->corpus, config, NULL));
    const km_specials specials = km_tokenizer_specials(km_corpus_tokenizer(run->corpus));
    km_model_take_tokens(&run->config.model, specials.pad, specials.sep);
    return km_rows_open(&run->rows, run->corpus, &options, NULL);
}

static km_status set_up(bench *b, km_comm *comm, const km_config *config) {
    km_run *run = &b->run;
    *run = (km_run){.comm = comm, .config = *config, .resume_step = -1, .started = km_seconds()};
    run->config.train.steps = WARM_UP + b->repeat + 1;
    km_kernel_start();
    KM_TRY(km_comm_agree(comm, km_threads_check(config->parallel.threads)));
    KM_TRY(km_comm_agree(comm, km_products_check("train.precision", &config->train, &config->parallel, true)));
    KM_TRY(km_comm_agree(comm, open_data(run)));
    KM_TRY(km_comm_agree(comm, km_model_create(&run->model, &run->config.model, KM_HEAD_TOKENS)));
    KM_TRY(km_comm_agree(comm, km_check_reader(run, km_comm_size(comm))));
    const km_trainer_options options = km_run_trainer_options(run);
    KM_TRY(km_trainer_create(&run->trainer, comm, &options, run->model, run->reader));
    km_model_init_weights(run->model, run->trainer->parameters->weights, (uint64_t)config->run.seed);
    km_trainer_memory(&b->memory, run->trainer);
    km_trainer_prepare(run->trainer);
    return KM_OK;
}

static void take_shape(bench *b) {
    const km_batch_limits most = km_reader_limits(b->run.reader);
    const double each = (double)b->masked / km_reader_views(b->run.reader);
    b->shape = km_product_shape_of(b->run.model, &most, KM_MAX(1, (int)lround(each * most.views)));
}

static km_status make_products(bench *b) {
    const km_trainer *t = b->run.trainer;
    const int workers = km_pool_workers(t->pool);
    take_shape(b);
    if (!b->bare) {
        return KM_OK;
    }
    b->products = km_new((size_t)workers, sizeof(km_products *));
    b->times = km_new((size_t)workers, sizeof *b->times);
    b->passes = (int)((t->batches + (uint64_t)workers - 1) / (uint64_t)workers);
    for (int i = 0; i < workers; i++) {
        KM_TRY(km_products_create(&b->products[i], &b->shape, t->parameters->weights, t->parameters->rounded));
    }
    return KM_OK;
}

static void tear_down(bench *b) {
    const int workers = b->run.trainer != NULL ? km_pool_workers(b->run.trainer->pool) : 0;
    for (int i = 0; b->products != NULL && i < workers; i++) {
        km_products_destroy(b->products[i]);
    }
    free(b->products);
    free(b->times);
    free(b->steps);
    km_run_teardown(&b->run);
}

/* ---- Steps and products in turns ---------------------------------------------------------------------------------------------------- */

/* This process's largest resident size so far; 0 where the system does not say. */
static int64_t peak_bytes(void) {
    char *text = NULL;
    size_t size = 0;
    long long kilobytes = 0;
    if (km_file_read(&text, &size, "/proc/self/status", 1 << 16) == KM_OK) {
        const char *line = strstr(text, "VmHWM:");
        if (line != NULL) {
            kilobytes = strtoll(line + strlen("VmHWM:"), NULL, 10);
        }
    }
    free(text);
    return kilobytes * 1024;
}

static double sum_over_ranks(km_comm *comm, double value) {
    const double unit = 1e-9;
    int64_t whole = llround(value / unit);
    km_comm_sum(comm, &whole, 1);
    return (double)whole * unit;
}

static km_status run_step(bench *b, measured_step *m) {
    km_comm *comm = b->run.comm;
    km_step_report report = {0};
    km_comm_barrier(comm);
    KM_TRY(km_trainer_step(b->run.trainer, (km_step_wish){0}, &report));
    double seconds = report.seconds;
    km_comm_max(comm, &seconds, 1);
    *m = (measured_step){.seconds = seconds,
                         .exposed = sum_over_ranks(comm, report.comm_seconds) / km_comm_size(comm)};
    b->masked = report.masked;
    b->tokens = report.tokens;
    b->flops = report.flops;
    return KM_OK;
}

static void measure_step_begin(void) {
    km_ops_measure(true);
    km_op_end(); /* the main thread is measured from here on */
}

static void measure_step_end(bench *b) {
    double own[KM_OPS];
    km_ops_collect(own);
    km_ops_measure(false);
    for (int op = 0; op < KM_OPS; op++) {
        b->ops[op] += sum_over_ranks(b->run.comm, own[op]);
    }
}

static void run_products(void *payload, int worker) {
    bench *b = payload;
    km_products_time *sum = &b->times[worker];
    *sum = (km_products_time){0};
    for (int i = 0; i < b->passes; i++) {
        km_products_time once;
        km_products_run(b->products[worker], &once);
        sum->whole += once.whole;
        sum->done += once.done;
        sum->attention += once.attention;
    }
}

static void measure_products(bench *b, measured_step *m) {
    if (!b->bare) {
        return;
    }
    const km_product_shape *s = &b->shape;
    km_comm *comm = b->run.comm;
    const double whole = b->passes * km_product_flops(s, s->B, s->M, KM_COUNT_BARE_WHOLE);
    const double done = b->passes * km_product_flops(s, s->B, s->M, KM_COUNT_BARE);
    const double attention = b->passes * km_product_attention_flops(s, s->B);
    double rates[4] = {0};
    km_comm_barrier(comm);
    km_pool_run(b->run.trainer->pool, run_products, b);
    for (int i = 0; i < km_pool_workers(b->run.trainer->pool); i++) {
        const km_products_time *t = &b->times[i];
        rates[0] += whole / t->whole;
        rates[1] += done / t->done;
        rates[2] += (whole - attention) / (t->whole - t->attention);
        rates[3] += attention / t->attention;
    }
    for (size_t i = 0; i < KM_COUNT(rates); i++) {
        rates[i] = sum_over_ranks(comm, rates[i] * 1e-9) * 1e9;
    }
    m->whole = rates[0];
    m->done = rates[1];
    m->dense = rates[2];
    m->attention = rates[3];
}

static km_status run_steps(bench *b) {
    km_comm *comm = b->run.comm;
    measured_step unused;
    for (int i = 0; i < WARM_UP; i++) {
        KM_TRY(run_step(b, &unused));
    }
    double peak = (double)peak_bytes(); /* taken before the operands of the bare products are allocated */
    km_comm_max(comm, &peak, 1);
    b->peak = (int64_t)peak;
    KM_TRY(km_comm_agree(comm, make_products(b)));
    measure_products(b, &unused);
    km_progress *progress = km_progress_create("bench", 0, (uint64_t)b->repeat);
    km_status status = KM_OK;
    for (int i = 0; i < b->repeat && status == KM_OK; i++) {
        measure_step_begin();
        status = run_step(b, &b->steps[i]);
        measure_step_end(b);
        if (status == KM_OK) {
            measure_products(b, &b->steps[i]);
            km_progress_update(progress, (uint64_t)i + 1, "%.3f s a step", b->steps[i].seconds);
        }
    }
    km_progress_destroy(progress);
    return status;
}

/* ---- The result ------------------------------------------------------------------------------------------- */

typedef double step_value(const bench *b, const measured_step *m);

/* What a step computes is known; the rest of its last layer follows from the shapes. */
static double step_flops(const bench *b, bool whole) {
    const double views = km_reader_views(b->run.reader), labelled = (double)b->masked;
    const double rest = km_product_flops(&b->shape, views, labelled, KM_COUNT_WHOLE) -
                        km_product_flops(&b->shape, views, labelled, KM_COUNT_DONE);
    return b->flops + (whole ? rest : 0);
}

static double value_seconds(const bench *b, const measured_step *m) {
    (void)b;
    return m->seconds;
}
static double value_exposed(const bench *b, const measured_step *m) {
    (void)b;
    return m->exposed / m->seconds;
}
static double value_tokens(const bench *b, const measured_step *m) {
    return (double)b->tokens / m->seconds;
}
static double value_rate_done(const bench *b, const measured_step *m) {
    return step_flops(b, false) / m->seconds * 1e-9;
}
static double value_rate_whole(const bench *b, const measured_step *m) {
    return step_flops(b, true) / m->seconds * 1e-9;
}
static double value_gemm_whole(const bench *b, const measured_step *m) {
    (void)b;
    return m->whole * 1e-9;
}
static double value_gemm_done(const bench *b, const measured_step *m) {
    (void)b;
    return m->done * 1e-9;
}
static double value_gemm_dense(const bench *b, const measured_step *m) {
    (void)b;
    return m->dense * 1e-9;
}
static double value_gemm_attention(const bench *b, const measured_step *m) {
    (void)b;
    return m->attention * 1e-9;
}
static double value_share_whole(const bench *b, const measured_step *m) {
    return value_rate_whole(b, m) / value_gemm_whole(b, m);
}
static double value_share_done(const bench *b, const measured_step *m) {
    return value_rate_done(b, m) / value_gemm_done(b, m);
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The least, the median and the largest value of the steps. */
static void spread(double out[3], const bench *b, step_value *value) {
    double *values = km_new((size_t)b->repeat, sizeof *values);
    for (int i = 0; i < b->repeat; i++) {
        values[i] = value(b, &b->steps[i]);
    }
    qsort(values, (size_t)b->repeat, sizeof *values, ascending);
    out[0] = values[0];
    out[1] = (values[(b->repeat - 1) / 2] + values[b->repeat / 2]) / 2;
    out[2] = values[b->repeat - 1];
    free(values);
}

static double median(const bench *b, step_value *value) {
    double three[3];
    spread(three, b, value);
    return three[1];
}

static void set_spread(km_json *object, const char *key, const bench *b, step_value *value) {
    double three[3];
    km_json *list = km_json_array();
    spread(three, b, value);
    for (int i = 0; i < 3; i++) {
        km_json_push_number(list, three[i]);
    }
    km_json_set(object, key, list);
}

static void add_shapes(km_json *out, const bench *b) {
    const km_config *c = &b->run.config;
    const km_product_stack *s = &b->shape.stacks[KM_ENCODER], *d = &b->shape.stacks[KM_DECODER];
    const km_trainer *t = b->run.trainer;
    km_json_set_string(out, "preset", c->model.preset);
    km_json_set_string(out, "type", c->model.type);
    km_json_set_number(out, "layers", s->L);
    km_json_set_number(out, "hidden_size", s->C);
    km_json_set_number(out, "heads", s->H);
    km_json_set_number(out, "intermediate_size", s->I);
    if (b->shape.count > 1) {
        km_json_set_number(out, "decoder_layers", d->L);
        km_json_set_number(out, "decoder_heads", d->H);
        km_json_set_number(out, "decoder_intermediate_size", d->I);
        km_json_set_number(out, "decoder_length", d->T);
    }
    km_json_set_number(out, "vocab_size", b->shape.V);
    km_json_set_number(out, "parameters", (double)t->parameters->table->elements);
    km_json_set_number(out, "length", s->T);
    km_json_set_number(out, "views", km_reader_views(b->run.reader));
    km_json_set_number(out, "splits", (double)c->mask.splits);
    km_json_set_number(out, "micro_batch", b->shape.B);
    km_json_set_number(out, "masked", (double)b->masked);
    km_json_set_string(out, "precision", c->train.precision);
    km_json_set_boolean(out, "recompute", c->train.recompute);
    km_json_set_number(out, "ranks", km_comm_size(b->run.comm));
    km_json_set_number(out, "threads", km_pool_workers(t->pool));
    km_json_set_number(out, "steps", b->repeat);
}

static void add_machine(km_json *out, const km_config *config) {
    cpu_set_t cores;
    const char *better = km_kernel_better_core();
    const km_gemm_name gemm = km_gemm_named(&config->train, &config->parallel);
    km_json_set_string(out, "blas", gemm.library);
    km_json_set_string(out, "blas_kernel", gemm.kernel);
    km_json_set_string(out, "better_blas_kernel", better != NULL ? better : "");
    km_json_set_string(out, "cpu_class", km_kernel_vector());
    km_json_set_number(out, "cores_of_rank",
                       sched_getaffinity(0, sizeof cores, &cores) == 0 ? CPU_COUNT(&cores) : 0);
}

/* Shares of the time of all threads, which add up to 1; seconds are those of a thread in a step, on average. */
static void add_operations(km_json *out, const bench *b) {
    double total = 0;
    const double threads = (double)km_comm_size(b->run.comm) * km_pool_workers(b->run.trainer->pool);
    km_json *table = km_json_object();
    for (int op = 0; op < KM_OPS; op++) {
        total += b->ops[op];
    }
    for (int i = 0; i < KM_OPS; i++) {
        const int op = (i + 1) % KM_OPS; /* KM_OP_REST, which is 0, comes last */
        km_json *row = km_json_object();
        km_json_set_number(row, "seconds", b->ops[op] / threads / b->repeat);
        km_json_set_number(row, "share", total > 0 ? b->ops[op] / total : 0);
        km_json_set(table, km_op_name((km_op)op), row);
    }
    km_json_set(out, "by_operation", table);
}

static void add_memory(km_json *out, const bench *b) {
    const km_memory *m = &b->memory;
    char *text = km_memory_print(m);
    km_json_set_number(out, "peak_memory_bytes", (double)b->peak);
    km_json_set_number(out, "planned_memory_bytes", (double)m->total);
    km_json_set_number(out, "activation_bytes_per_token", (double)m->activations / (double)m->tokens);
    km_json_set_string(out, "memory", text);
    free(text);
}

static km_json *report(const bench *b) {
    char hash[33];
    km_json *out = km_json_object();
    add_shapes(out, b);
    add_machine(out, &b->run.config);
    km_json_set_number(out, "step_seconds", median(b, value_seconds));
    km_json_set_number(out, "tokens_per_s", median(b, value_tokens));
    km_json_set_number(out, "gflops", median(b, value_rate_done));
    km_json_set_number(out, "gflops_whole", median(b, value_rate_whole));
    if (b->bare) {
        km_json_set_number(out, "gemm_gflops", median(b, value_gemm_whole));
        km_json_set_number(out, "gemm_gflops_done", median(b, value_gemm_done));
        km_json_set_number(out, "gemm_gflops_dense", median(b, value_gemm_dense));
        km_json_set_number(out, "gemm_gflops_attention", median(b, value_gemm_attention));
        km_json_set_number(out, "gemm_share", median(b, value_share_whole));
        km_json_set_number(out, "gemm_share_done", median(b, value_share_done));
        set_spread(out, "gemm_share_spread", b, value_share_whole);
    }
    set_spread(out, "step_seconds_spread", b, value_seconds);
    km_json_set_number(out, "exposed_share", median(b, value_exposed));
    add_memory(out, b);
    add_operations(out, b);
    km_hash_text(hash, km_table_hash(b->run.trainer->parameters->table, b->run.trainer->parameters->weights));
    km_json_set_string(out, "weights_hash", hash);
    return out;
}

km_status km_bench(km_comm *comm, const km_config *config, int repeat, bool bare, km_json **out) {
    bench b = {.repeat = repeat, .bare = bare, .steps = km_new((size_t)repeat, sizeof(measured_step))};
    *out = NULL;
    km_status status = set_up(&b, comm, config);
    if (status == KM_OK) {
        status = run_steps(&b);
    }
    if (status == KM_OK && km_comm_rank(comm) == 0) {
        *out = report(&b);
    }
    tear_down(&b);
    return status;
}
