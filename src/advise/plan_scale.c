/* plan_scale: predicts the time of a step on a number of nodes, the hours of the run, and the resources to ask for in a job. */
#include "plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A step on some nodes, in seconds. */
typedef struct step_time {
    int nodes, locals, threads; /* ranks of a node, threads of a rank */
    double arithmetic;          /* if every core had the same share of it */
    double uneven;              /* how much longer the cores with most micro-batches take */
    double update, node_sum, network_sum, gather, waits;
    double all;
    double rank_bytes;
} step_time;

/* Seconds of work that moves so many bytes on each core of a node at the same time: limited by a core alone, or by the node's
 * memory. */
static double limited(const km_scaling *s, double alone, double bytes, int cores) {
    return fmax(alone, bytes * cores / s->options->memory);
}

/* Norm and update of a rank's own elements move 44 bytes an element. The sum is not cleared, since the first gradient is written
 * over it. */
static double update_of(const km_scaling *s, const step_time *t, double owned) {
    const double updated = 8 + 8 + 7 * 4;
    return limited(s, owned * s->core.update / t->threads, updated * owned, t->locals);
}

/* Bytes a second of one rank while all ranks of the node do the same; each byte moves `moved` bytes of the node's memory. */
static double rate_of_each(const km_scaling *s, const step_time *t, double alone, double moved) {
    return fmin(alone, s->options->memory / (moved * t->locals));
}

static void predict(step_time *t, const km_scaling *s) {
    const double size = (double)km_model_table(s->run->model)->size;
    const double backward = 2.0 / 3;
    /* Bytes of memory that move for a byte that is added: it is read there, and read and written here; a message is also written
     * and read in between. */
    const bool direct = s->core.direct;
    const double added = direct ? 3 : 5, copied = direct ? 2 : 4;
    int ranks = t->nodes * t->locals, batches = km_reader_micro_batches(s->run->reader);
    int of_rank = (batches + ranks - 1) / ranks, rounds = (of_rank + t->threads - 1) / t->threads;
    t->arithmetic = s->core.micro_batch * batches / ((double)ranks * t->threads);
    t->uneven = s->core.micro_batch * rounds - t->arithmetic;
    t->update = update_of(s, t, size / ranks);
    km_machine machine = {.nodes = t->nodes,
                          .node_ranks = t->locals,
                          .direct = direct,
                          .network = s->options->network,
                          .latency = s->options->latency,
                          .core = rate_of_each(s, t, s->core.add, added),
                          .copy = rate_of_each(s, t, s->core.copy, copied),
                          .near_latency = 1e-6};
    km_traffic traffic;
    km_traffic_of(&traffic, &machine, (size_t)size, KM_BUCKET);
    /* The backward pass of the last micro-batch hides what goes over the network, apart from the bucket that it finishes last. */
    double hidden = backward * s->core.micro_batch;
    t->node_sum = traffic.node_sum;
    t->network_sum = fmax(traffic.network_sum - hidden, traffic.last_bucket);
    t->gather = traffic.gather;
    t->waits = traffic.waits;
    t->all = t->arithmetic + t->uneven + t->update + t->node_sum + t->network_sum + t->gather + t->waits;
    km_memory memory;
    km_run_memory(&memory, s->run, 0, ranks);
    t->rank_bytes = (double)memory.total + s->spare;
}

/* What takes most, apart from the arithmetic. */
static const char *bottleneck(const step_time *t) {
    const struct {
        double seconds;
        const char *name;
    } parts[] = {{t->uneven, "micro-batches that do not come out even"},
                 {t->update, "memory: AdamW"},
                 {t->node_sum, "adding up inside a node: fewer ranks with more threads"},
                 {t->network_sum, "network: sums"},
                 {t->gather, "network: gathering the weights"},
                 {t->waits, "network: latency"}};
    size_t most = 0;
    double rest = 0;
    for (size_t i = 0; i < KM_COUNT(parts); i++) {
        most = parts[i].seconds > parts[most].seconds ? i : most;
        rest += parts[i].seconds;
    }
    return rest < 0.1 * t->all ? "none: arithmetic" : parts[most].name;
}

/* The hours of the steps that are left, with evaluations: before the first step, every so many steps, and after the last. */
static double hours_of(const km_scaling *s, const step_time *t) {
    const km_config *config = &s->run->config;
    int64_t from = KM_MAX(s->run->resume_step, 0), to = config->train.steps;
    double rate = s->core.flops / s->core.micro_batch * t->nodes * t->locals * t->threads;
    int64_t evaluations = config->eval.every > 0 ? to / config->eval.every - from / config->eval.every : 0;
    evaluations += from == 0;
    evaluations += config->eval.every == 0 || to % config->eval.every != 0;
    const double once = s->run->mark_flops; /* rows are marked before the first step */
    return ((double)(to - from) * t->all + ((double)evaluations * s->eval_flops + once) / rate) / 3600;
}

static double efficiency(const step_time *t) {
    return t->arithmetic / t->all;
}

static km_json *row(const km_scaling *s, const step_time *t) {
    km_json *out = km_json_object();
    double tokens = (double)km_reader_views(s->run->reader) * (double)s->run->config.data.length;
    const struct {
        const char *key;
        double value;
    } numbers[] = {{"nodes", t->nodes},
                   {"ranks", t->nodes * t->locals},
                   {"threads", t->threads},
                   {"step_seconds", t->all},
                   {"hours", hours_of(s, t)},
                   {"efficiency", efficiency(t)},
                   {"tokens_per_s", tokens / t->all},
                   {"rank_bytes", t->rank_bytes},
                   {"node_bytes", t->rank_bytes * t->locals},
                   {"arithmetic", t->arithmetic},
                   {"uneven", t->uneven},
                   {"update", t->update},
                   {"node_sum", t->node_sum},
                   {"network_sum", t->network_sum},
                   {"gather", t->gather},
                   {"waits", t->waits}};
    for (size_t i = 0; i < KM_COUNT(numbers); i++) {
        km_json_set_number(out, numbers[i].key, numbers[i].value);
    }
    km_json_set_string(out, "bottleneck", bottleneck(t));
    return out;
}

/* A job of a day at most; longer runs go on in the next job. Some time and memory are added, for reading files and saving
 * models. */
static km_json *job(const km_scaling *s, const step_time *t) {
    const double day = 24 * 60, spare = 1.2, start = 15, mib = 1024.0 * 1024.0, memory = 1.1;
    double minutes = hours_of(s, t) * 60 * spare + start, jobs = ceil(minutes / day);
    minutes = ceil(fmin(minutes, day) / 5) * 5;
    km_json *out = km_json_object();
    char time[32];
    snprintf(time, sizeof time, "%02d:%02d:00", (int)minutes / 60, (int)minutes % 60);
    km_json_set_number(out, "nodes", t->nodes);
    km_json_set_number(out, "ntasks_per_node", t->locals);
    km_json_set_number(out, "cpus_per_task", t->threads);
    km_json_set_number(out, "mem_mib", ceil(t->rank_bytes * t->locals * memory / mib));
    km_json_set_string(out, "time", time);
    km_json_set_number(out, "jobs", jobs);
    return out;
}

/* ---- What shortens a run of more than a month ---- */

static void add_sentence(km_json *list, char *text) {
    km_json_push_string(list, text);
    free(text);
}

/* The first of the table's rows that has more nodes and is done within a month. */
static const km_json *enough_nodes(const km_json *rows, const step_time *t, double month) {
    const km_json *found = NULL;
    for (const km_json *row = km_json_first(rows); row != NULL && found == NULL; row = km_json_next(row)) {
        const bool more = km_json_number_or(row, "nodes", 0) > t->nodes;
        found = more && km_json_number_or(row, "hours", 0) <= month ? row : NULL;
    }
    return found;
}

static void add_shorter(const km_scaling *s, const step_time *t, const km_json *rows, km_json *out) {
    const double day = 24, month = 30 * day, hours = hours_of(s, t);
    const km_config *config = &s->run->config;
    if (hours <= month) {
        return;
    }
    km_json *list = km_json_array();
    const km_json *nodes = enough_nodes(rows, t, month);
    if (nodes != NULL) {
        add_sentence(list, km_format("more nodes: on %.0f it takes %.1f days", km_json_number_or(nodes, "nodes", 0),
                                     km_json_number_or(nodes, "hours", 0) / day));
    } else {
        add_sentence(list, km_format("more nodes, where a step has micro-batches for them (--nodes N)"));
    }
    if (!km_is_bf16(&config->train)) {
        add_sentence(list,
                     km_format("bf16: train.precision=bf16 takes about half, on CPUs with AVX512_BF16 or AMX"));
    }
    if (km_reader_views(s->run->reader) > config->train.sequences) {
        add_sentence(list,
                     km_format("fewer views: with mask.splits=1 a step computes %lld instead of %d, each row once",
                               (long long)config->train.sequences, km_reader_views(s->run->reader)));
    }
    add_sentence(list,
                 km_format("fewer train.steps, or a smaller model%s",
                           config->model.init[0] != '\0' ? "" : ", or to go on from a published one (model.init)"));
    km_json_set_number(out, "days", hours / day);
    km_json_set(out, "shorter", list);
}

/* ---- The table ---- */

static step_time layout(const km_scaling *s, int nodes) {
    int threads = (int)s->run->config.parallel.threads;
    int locals = (int)KM_MAX(s->options->cores / threads, 1);
    return (step_time){.nodes = nodes, .locals = locals, .threads = threads};
}

/* What the user asked for. With --ranks the ranks are spread over the fewest nodes that hold them, evenly. */
static step_time asked(const km_scaling *s) {
    step_time t = layout(s, (int)KM_MAX(s->options->nodes, 1));
    int64_t ranks = s->options->ranks;
    if (ranks > 0) {
        if (s->options->nodes == 0) {
            t.nodes = (int)((ranks + t.locals - 1) / t.locals);
        }
        t.locals = (int)((ranks + t.nodes - 1) / t.nodes);
    }
    return t;
}

void km_scale(const km_scaling *s, km_json *out) {
    const double good = 0.8, poor = 0.25;
    const int batches = km_reader_micro_batches(s->run->reader);
    km_json *rows = km_json_array();
    bool told = s->options->nodes > 0 || s->options->ranks > 0;
    step_time best = asked(s);
    predict(&best, s);
    bool listed = false;
    for (int nodes = 1; nodes <= 4096; nodes *= 2) {
        step_time t = layout(s, nodes);
        if (told && !listed && best.nodes <= nodes) {
            km_json_push(rows, row(s, &best));
            listed = true;
            if (best.nodes == nodes) {
                continue;
            }
        }
        if (t.nodes * t.locals > batches) {
            break;
        }
        predict(&t, s);
        km_json_push(rows, row(s, &t));
        if (!told && (nodes == 1 || efficiency(&t) >= good)) {
            best = t;
        }
        if (efficiency(&t) < poor) {
            break;
        }
    }
    if (told && !listed) {
        km_json_push(rows, row(s, &best));
    }
    if (!told && best.nodes * best.locals > batches) { /* one node has more ranks than there are micro-batches */
        best.locals = KM_MAX(batches, 1);
        predict(&best, s);
        km_json_push(rows, row(s, &best));
    }
    add_shorter(s, &best, rows, out);
    km_json_set(out, "nodes", rows);
    km_json_set(out, "sbatch", job(s, &best));
}
