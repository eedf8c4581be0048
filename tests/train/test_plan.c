/* The model of communication, where it can be said by hand; tools/simulate_sum.sh compares it with simulations. Memory that is planned
 * without ranks is what ranks take. */
#include "plan_cost.h"

#include "kmask/comm.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { BUCKET = 1 << 22 };

static void near(double a, double b) {
    assert_true(fabs(a - b) <= 1e-9 * fabs(b) + 1e-15);
}

static void alone_nothing_is_sent(void **state) {
    (void)state;
    const km_machine m = {.nodes = 1, .node_ranks = 1, .network = 1e9, .latency = 1e-6, .core = 1e9, .copy = 1e9};
    km_traffic t;
    km_traffic_of(&t, &m, 10 * BUCKET, BUCKET);
    near(t.sum + t.gather + t.waits + t.node_sum + t.network_sum, 0);
}

/* Two nodes of one rank: half of the sums goes each way, then half of the weights. */
static void two_nodes_by_hand(void **state) {
    (void)state;
    const km_machine m = {.nodes = 2, .node_ranks = 1, .network = 1e9, .core = 1e9, .copy = 1e9};
    km_traffic t;
    km_traffic_of(&t, &m, 4 * (size_t)BUCKET, BUCKET);
    const double elements = 4.0 * BUCKET;
    near(t.node_sum, 0);
    near(t.network_sum, 8 * elements / 2 / 1e9);
    near(t.last_bucket, t.network_sum / 4);
    near(t.sum, t.network_sum);
    near(t.gather, (4 + 8.0 / 4096) * elements / 2 / 1e9);
}

/* Ranks of one node: nothing on the wire. */
static void one_node_by_hand(void **state) {
    (void)state;
    const km_machine m = {.nodes = 1, .node_ranks = 4, .network = 1, .latency = 1, .core = 2e9, .copy = 4e9};
    km_traffic t;
    km_traffic_of(&t, &m, 4 * (size_t)BUCKET, BUCKET);
    near(t.network_sum, 0);
    near(t.sum, 8 * 4.0 * BUCKET * 3 / 4 / 2e9);
    near(t.gather, (4 + 8.0 / 4096) * 4.0 * BUCKET * 3 / 4 / 4e9);
}

/* A slower wire, more latency or more nodes never make it faster. */
static void worse_is_not_better(void **state) {
    (void)state;
    km_traffic a, b;
    for (int nodes = 1; nodes <= 512; nodes *= 2) {
        km_machine m = {.nodes = nodes,
                        .node_ranks = 16,
                        .network = 1e10,
                        .latency = 3e-6,
                        .core = 5e9,
                        .copy = 5e9,
                        .near_latency = 1e-6};
        km_traffic_of(&a, &m, 27 * (size_t)BUCKET, BUCKET);
        m.network /= 2;
        km_traffic_of(&b, &m, 27 * (size_t)BUCKET, BUCKET);
        assert_true(b.sum >= a.sum && b.gather >= a.gather);
        m.network *= 2;
        m.latency *= 10;
        km_traffic_of(&b, &m, 27 * (size_t)BUCKET, BUCKET);
        assert_true(b.sum >= a.sum && b.gather >= a.gather && b.waits >= a.waits);
        m.latency /= 10;
        m.nodes *= 2;
        km_traffic_of(&b, &m, 27 * (size_t)BUCKET, BUCKET);
        assert_true(b.network_sum >= a.network_sum && b.gather >= a.gather && b.waits >= a.waits);
    }
}

/* All parts together are the table, whatever the number of ranks. */
static void planned_parts_are_the_table(void **state) {
    (void)state;
    static const int ranks[] = {1, 2, 3, 48, 1024, 3000};
    const size_t size = 26 * (size_t)BUCKET + 17 * KM_BLOCK;
    for (size_t i = 0; i < KM_COUNT(ranks); i++) {
        size_t all = 0, most = 0;
        for (int rank = 0; rank < ranks[i]; rank++) {
            size_t owned = 0, bytes = km_exchange_bytes(&owned, size, BUCKET, rank, ranks[i]);
            assert_true(ranks[i] == 1 ? bytes == 0 : bytes >= owned * sizeof(int64_t));
            assert_true(rank == 0 || owned <= most); /* rank 0 has most */
            most = rank == 0 ? owned : most;
            all += owned;
        }
        assert_int_equal(all, size);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alone_nothing_is_sent),
        cmocka_unit_test(two_nodes_by_hand),
        cmocka_unit_test(one_node_by_hand),
        cmocka_unit_test(worse_is_not_better),
        cmocka_unit_test(planned_parts_are_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
