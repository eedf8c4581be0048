/* plan_cost: the formulas for the time of communication, which plan_cost.h explains. */
#include "plan_cost.h"

#include <math.h>

static double larger(double a, double b) {
    return a > b ? a : b;
}

/* ---- How MPI gathers ---- */

/* What Open MPI chooses (the fixed decisions of coll/tuned, which are the same in 4.1 and 5.0, and in SimGrid's selector
 * `ompi`): the first line with more ranks and more bytes a part. With two ranks each sends the other one message, which is a
 * ring. */
static const struct {
    double ranks, bytes;
    km_gathering way;
} choices[] = {{3, INFINITY, KM_GATHER_RING},

               {8, 256, KM_GATHER_FIRST},
               {8, 4096, KM_GATHER_PAIRS},
               {8, 8192, KM_GATHER_RING},
               {8, 16384, KM_GATHER_PAIRS},
               {8, 262144, KM_GATHER_DOUBLING},
               {8, INFINITY, KM_GATHER_PAIRS},

               {16, 1024, KM_GATHER_FIRST},
               {16, INFINITY, KM_GATHER_DOUBLING},

               {32, 128, KM_GATHER_FIRST},
               {32, 262144, KM_GATHER_DOUBLING},
               {32, INFINITY, KM_GATHER_RING},

               {64, 256, KM_GATHER_FIRST},
               {64, 8192, KM_GATHER_DOUBLING},
               {64, INFINITY, KM_GATHER_RING},

               {128, 256, KM_GATHER_FIRST},
               {128, 4096, KM_GATHER_DOUBLING},
               {128, INFINITY, KM_GATHER_RING},

               {256, 1024, KM_GATHER_DOUBLING},
               {256, 65536, KM_GATHER_PAIRS},
               {256, INFINITY, KM_GATHER_RING},

               {512, 1024, KM_GATHER_DOUBLING},
               {512, INFINITY, KM_GATHER_RING},

               {1024, 512, KM_GATHER_DOUBLING},
               {1024, 1024, KM_GATHER_FIRST},
               {1024, 4096, KM_GATHER_DOUBLING},
               {1024, 1048576, KM_GATHER_PAIRS},
               {1024, INFINITY, KM_GATHER_RING},

               {INFINITY, 4096, KM_GATHER_DOUBLING},
               {INFINITY, INFINITY, KM_GATHER_PAIRS}};

km_gathering km_gathering_of(int ranks, double bytes) {
    int i = 0;
    while (ranks >= choices[i].ranks || bytes >= choices[i].bytes) {
        i++;
    }
    const bool odd = ranks % 2 != 0;
    return choices[i].way == KM_GATHER_PAIRS && odd ? KM_GATHER_RING : choices[i].way;
}

/* Seconds of a message between ranks of a node; 0 where a node has one rank. */
static double near(const km_machine *m, double bytes) {
    return m->node_ranks > 1 ? m->near_latency + bytes / m->copy : 0;
}
/* Seconds of what a node sends to other nodes at the same time; 0 where there is one node. */
static double far(const km_machine *m, double bytes) {
    return m->nodes > 1 ? m->latency + bytes / m->network : 0;
}

static double gather_first(const km_machine *m, double part) {
    const double ranks = (double)m->nodes * m->node_ranks, all = ranks * part;
    const double to_root = larger(near(m, (m->node_ranks - 1) * part), far(m, (ranks - m->node_ranks) * part));
    return to_root + ceil(log2(m->nodes)) * far(m, all) + ceil(log2(m->node_ranks)) * near(m, all);
}

/* In each turn a rank sends to the rank that is `apart` places before it, where the last rank comes before rank 0. That rank is
 * on the same node only where it is few places away. */
static double doubling(const km_machine *m, double part) {
    const int locals = m->node_ranks, ranks = m->nodes * locals;
    double all = 0;
    for (int apart = 1; apart < ranks; apart *= 2) {
        const double bytes = part * fmin(apart, ranks - apart);
        const double near_ranks = fmax(locals - apart, 0) + fmax(locals - (ranks - apart), 0);
        all += m->nodes == 1 ? near(m, bytes)
                             : larger(near_ranks > 0 ? near(m, bytes) : 0, far(m, bytes * (locals - near_ranks)));
    }
    return all;
}

static double ring(const km_machine *m, double part) {
    return ((double)m->nodes * m->node_ranks - 1) * larger(near(m, part), far(m, part));
}

/* Ranks 2i and 2i+1 exchange their own parts, then ranks 2i-1 and 2i the last two parts that they got, and so on. With an even
 * number of ranks in a node, all partners are ranks of the same node in every other turn; in the turns between, the first and
 * the last rank of each node exchange with other nodes. */
static double pairs(const km_machine *m, double part) {
    const double turns = (double)m->nodes * m->node_ranks / 2, between = floor(turns / 2);
    if (m->nodes == 1) {
        return near(m, part) + (turns - 1) * near(m, 2 * part);
    }
    if (m->node_ranks % 2 != 0) {
        return larger(near(m, part), far(m, part)) + (turns - 1) * larger(near(m, 2 * part), far(m, 2 * part));
    }
    const double inside = near(m, 2 * part);
    return near(m, part) + (turns - 1 - between) * inside +
           between * larger(m->node_ranks > 2 ? inside : 0, far(m, 4 * part));
}

double km_gathering_seconds(km_gathering way, const km_machine *m, double bytes) {
    double (*const seconds[])(const km_machine *, double) = {[KM_GATHER_FIRST] = gather_first,
                                                             [KM_GATHER_DOUBLING] = doubling,
                                                             [KM_GATHER_RING] = ring,
                                                             [KM_GATHER_PAIRS] = pairs};
    return seconds[way](m, bytes);
}

/* Seconds until every rank has so many bytes, of which each has an equal part at first. */
static double gathered(const km_machine *m, double bytes) {
    const int ranks = m->nodes * m->node_ranks;
    const double part = bytes / ranks;
    return km_gathering_seconds(km_gathering_of(ranks, part), m, part);
}

/* ---- A step ---- */

/* Seconds of a small message from one rank to all: by nodes, and within them. */
static double turns(const km_machine *m) {
    return ceil(log2(m->nodes)) * m->latency + ceil(log2(m->node_ranks)) * m->near_latency;
}

/* Both sums work on buckets one after the other, so the shorter one adds only what cannot overlap: the first bucket within the
 * node, before the network has work, or the last bucket on the network. It is two buckets where shares come in messages, since
 * two buckets are then summed at the same time. Where ranks read each other's memory, the parts of a bucket are complete one by
 * one while the shares of the last rank are added, and are sent meanwhile; the part that stays in the node is the last. */
static double summed(const km_traffic *t, const km_machine *m, double buckets) {
    const double nodes = m->nodes, others = m->node_ranks - 1;
    const double longer = larger(t->node_sum, t->network_sum), shorter = fmin(t->node_sum, t->network_sum);
    if (nodes < 2 || others < 1) {
        return longer + (nodes > 1 ? m->latency : 0);
    }
    if (!m->direct) {
        return longer + shorter * fmin(1, 2 / buckets) + m->latency;
    }
    const double alone = shorter / buckets, meanwhile = t->node_sum / buckets / others * (nodes - 1) / nodes;
    return longer + larger(alone - meanwhile, alone / nodes) + m->latency;
}

void km_traffic_of(km_traffic *out, const km_machine *m, size_t size, size_t bucket) {
    const double in_sum = 8, in_weights = 4, in_norm = 8.0 / 4096; /* bytes an element */
    const double reductions = 3; /* of a step; a few numbers each, to one rank and back */
    double elements = (double)size, nodes = m->nodes, locals = m->node_ranks, ranks = nodes * locals;
    double buckets = ceil(elements / (double)bucket);
    *out = (km_traffic){0};
    if (ranks < 2) {
        return;
    }
    const double messages = buckets * (locals - 1) * (m->direct ? 1 : nodes);
    out->node_sum = in_sum * elements * (locals - 1) / locals / m->core + messages * m->near_latency;
    out->network_sum = nodes > 1 ? in_sum * elements * (nodes - 1) / nodes / m->network : 0;
    out->last_bucket = nodes > 1 ? out->network_sum / buckets + m->latency : 0;
    out->sum = summed(out, m, buckets);
    if (nodes == 1 && m->direct) { /* all ranks wait for each other before they read, and after */
        out->gather = in_weights * elements * (locals - 1) / locals / m->copy + 2 * turns(m);
    } else {
        out->gather = buckets * gathered(m, in_weights * elements / buckets);
    }
    out->gather += gathered(m, in_norm * elements);
    out->waits = reductions * 2 * turns(m);
}
