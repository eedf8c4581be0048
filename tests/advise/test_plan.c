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

/* The same where they read each other's memory: as many bytes, in one go. */
static void one_node_directly(void **state) {
    (void)state;
    km_machine m = {.nodes = 1, .node_ranks = 16, .direct = true, .core = 2e9, .copy = 4e9, .near_latency = 1e-6};
    const double norm = km_gathering_seconds(KM_GATHER_DOUBLING, &m, 4 * BUCKET * 8.0 / 4096 / 16);
    km_traffic direct, sent;
    km_traffic_of(&direct, &m, 4 * (size_t)BUCKET, BUCKET);
    near(direct.gather, 4 * 4.0 * BUCKET * 15 / 16 / 4e9 + 2 * 4 * 1e-6 + norm);
    m.direct = false;
    km_traffic_of(&sent, &m, 4 * (size_t)BUCKET, BUCKET);
    near(direct.sum, sent.sum); /* that is in `core` */
    assert_true(direct.gather < sent.gather);
}

/* Two nodes of three ranks, one bucket in six parts: a rank adds two mates' shares of two parts, in four turns, and its node's wire
 * carries half of the sums. After the third turn the part of the other node is complete and goes there. */
static void parts_are_sent_one_by_one(void **state) {
    (void)state;
    const double turn = 8.0 * BUCKET / 6 / 1e9;
    const double networks[] = {1e9, 100e9};
    for (int i = 0; i < 2; i++) {
        km_machine m = {
            .nodes = 2, .node_ranks = 3, .direct = true, .network = networks[i], .core = 1e9, .copy = 1e9};
        km_traffic t;
        km_traffic_of(&t, &m, BUCKET, BUCKET);
        const double wire = 8.0 * BUCKET / 2 / m.network;
        near(t.node_sum, 4 * turn);
        near(t.sum,
             i == 0 ? 3 * turn + wire : 4 * turn + wire / 2); /* beyond the last turn: at least the last part */
        m.direct = false;
        km_traffic_of(&t, &m, BUCKET, BUCKET);
        near(t.sum, 4 * turn + wire);
    }
}

/* ---- Gathering, message by message ---- */

/* Who sends how many parts to whom in a turn; false when there is no such turn. */
static bool message(int *to, double *parts, km_gathering way, int turn, int rank, int ranks) {
    switch (way) {
    case KM_GATHER_RING:
        *to = (rank + 1) % ranks;
        *parts = 1;
        return turn < ranks - 1;
    case KM_GATHER_PAIRS:
        *to = (rank + ((rank + turn) % 2 == 0 ? 1 : ranks - 1)) % ranks;
        *parts = turn == 0 ? 1 : 2;
        return turn < ranks / 2;
    default:
        *to = (rank + ranks - (1 << turn) % ranks) % ranks;
        *parts = fmin(1 << turn, ranks - (1 << turn));
        return 1 << turn < ranks;
    }
}

/* A turn ends with its longest message, or when the busiest wire has carried all that its node sends. */
static double turn_by_messages(km_gathering way, int turn, const km_machine *m, double part, bool *there) {
    const int locals = m->node_ranks, ranks = m->nodes * locals;
    double longest = 0, wire[64] = {0};
    for (int rank = 0; rank < ranks; rank++) {
        int to = 0;
        double parts = 0;
        *there = message(&to, &parts, way, turn, rank, ranks);
        if (to / locals == rank / locals) {
            longest = fmax(longest, m->near_latency + parts * part / m->copy);
        } else {
            wire[rank / locals] += parts * part;
            longest = fmax(longest, m->latency + wire[rank / locals] / m->network);
        }
    }
    return *there ? longest : 0;
}

static void gathering_is_its_messages(void **state) {
    (void)state;
    const km_gathering ways[] = {KM_GATHER_RING, KM_GATHER_PAIRS, KM_GATHER_DOUBLING};
    const double copies[] = {1e9, 1e11}; /* memory slower than the wire, and faster */
    for (int nodes = 1; nodes <= 9; nodes++) {
        for (int locals = 1; locals <= 9; locals++) {
            for (int i = 0; i < 6 && nodes * locals > 1; i++) {
                km_machine m = {.nodes = nodes,
                                .node_ranks = locals,
                                .network = 1.25e10,
                                .latency = 3e-6,
                                .copy = copies[i / 3],
                                .near_latency = 1e-6};
                if (ways[i % 3] == KM_GATHER_PAIRS && nodes * locals % 2 != 0) {
                    continue;
                }
                double all = 0;
                bool there = true;
                for (int turn = 0; there; turn++) {
                    all += turn_by_messages(ways[i % 3], turn, &m, 32768, &there);
                }
                near(km_gathering_seconds(ways[i % 3], &m, 32768), all);
            }
        }
    }
}

/* First all parts to rank 0's node, then all of them on, over ten gigabytes a second each time. */
static void gathered_first_by_hand(void **state) {
    (void)state;
    const km_machine m = {.nodes = 4, .node_ranks = 1, .network = 1e10, .latency = 1e-5};
    near(km_gathering_seconds(KM_GATHER_FIRST, &m, 100), 3e-5 + (3 + 2 * 4) * 100 / 1e10);
}

/* Parts of a bucket (16 MiB), and of the norm, as Open MPI gathers them. */
static void gathering_that_is_chosen(void **state) {
    (void)state;
    assert_int_equal(km_gathering_of(2, 8 << 20), KM_GATHER_RING);
    assert_int_equal(km_gathering_of(4, 4 << 20), KM_GATHER_PAIRS);
    assert_int_equal(km_gathering_of(5, 4 << 20), KM_GATHER_RING); /* no pairs */
    assert_int_equal(km_gathering_of(8, 2 << 20), KM_GATHER_DOUBLING);
    assert_int_equal(km_gathering_of(32, 1 << 19), KM_GATHER_RING);
    assert_int_equal(km_gathering_of(64, 1 << 18), KM_GATHER_RING);
    assert_int_equal(km_gathering_of(64, 1024), KM_GATHER_DOUBLING);
    assert_int_equal(km_gathering_of(512, 1 << 15), KM_GATHER_PAIRS);
    assert_int_equal(km_gathering_of(1024, 1 << 14), KM_GATHER_PAIRS);
    assert_int_equal(km_gathering_of(1025, 1 << 14), KM_GATHER_RING);
    assert_int_equal(km_gathering_of(100, 8), KM_GATHER_FIRST);
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
            assert_true(ranks[i] == 1 ? bytes == 0 : bytes >= owned * sizeof(int64_t)); /* alone it needs no copy */
            assert_true(rank == 0 || owned <= most);                                    /* rank 0 has most */
            most = rank == 0 ? owned : most;
            all += owned;
        }
        assert_int_equal(all, size);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alone_nothing_is_sent),     cmocka_unit_test(two_nodes_by_hand),
        cmocka_unit_test(one_node_by_hand),          cmocka_unit_test(one_node_directly),
        cmocka_unit_test(parts_are_sent_one_by_one), cmocka_unit_test(gathering_is_its_messages),
        cmocka_unit_test(gathered_first_by_hand),    cmocka_unit_test(gathering_that_is_chosen),
        cmocka_unit_test(worse_is_not_better),       cmocka_unit_test(planned_parts_are_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
