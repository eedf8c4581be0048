#include "plan_cost.h"

#include <math.h>

static double larger(double a, double b) {
    return a > b ? a : b;
}

/* All owners' parts to all ranks, in a ring. */
static double ring(const km_machine *m, double bytes) {
    double ranks = (double)m->nodes * m->node_ranks, part = bytes / ranks;
    double near = m->node_ranks > 1 ? m->near_latency + part / m->copy : 0;
    double far = m->nodes > 1 ? m->latency + part / m->network : 0;
    return (ranks - 1) * larger(near, far);
}

void km_traffic_of(km_traffic *out, const km_machine *m, size_t size, size_t bucket) {
    const double in_sum = 8, in_weights = 4, in_norm = 8.0 / 4096; /* bytes an element */
    const double reductions = 3; /* of a step: a few numbers each, there and back */
    double elements = (double)size, nodes = m->nodes, locals = m->node_ranks, ranks = nodes * locals;
    double buckets = ceil(elements / (double)bucket);
    *out = (km_traffic){0};
    if (ranks < 2) {
        return;
    }
    out->node_sum =
        in_sum * elements * (locals - 1) / locals / m->core + buckets * (locals - 1) * nodes * m->near_latency;
    out->network_sum = nodes > 1 ? in_sum * elements * (nodes - 1) / nodes / m->network : 0;
    out->last_bucket = nodes > 1 ? out->network_sum / buckets + m->latency : 0;
    double longer = larger(out->node_sum, out->network_sum), shorter = out->node_sum + out->network_sum - longer;
    /* The wire waits for the first bucket's sum in the node; or, where the nodes take longer, the last two buckets, which are summed
     * side by side, are left for the wire. */
    double alone = out->network_sum > out->node_sum ? fmin(1, 1 / buckets) : fmin(1, 2 / buckets);
    out->sum = longer + shorter * alone + (nodes > 1 ? m->latency : 0);
    out->gather = buckets * ring(m, in_weights * elements / buckets) + ring(m, in_norm * elements);
    out->waits =
        reductions * 2 * (ceil(log2(nodes)) * m->latency + (locals > 1 ? ceil(log2(locals)) * m->near_latency : 0));
}
