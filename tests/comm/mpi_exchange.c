/* The exact sum, gathering and distribution, for every way to divide the ranks into nodes. */
#include "kmask/comm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static km_comm *comm;
static int rank, size;

/* Table and bucket in blocks: one block, fewer blocks than ranks, odd ends, one bucket for all, an empty table. */
static const struct {
    size_t table, bucket;
} shapes[] = {{1, 1}, {1, 4}, {7, 1}, {7, 2}, {7, 3}, {7, 100}, {40, 9}, {65, 16}, {0, 1}};

static km_exchange *create(size_t shape) {
    km_exchange *exchange;
    /* An odd number of elements is rounded up to blocks. */
    size_t bucket = shapes[shape].bucket * KM_BLOCK - (shape % 2 ? 1 : 0);
    assert_int_equal(km_exchange_create(&exchange, comm, shapes[shape].table * KM_BLOCK, bucket), KM_OK);
    return exchange;
}

typedef void exchange_check(km_exchange *exchange, size_t elements);
static void on_all_shapes(exchange_check *check) {
    for (int way = 0; way < 2 * size; way++) {
        if (!km_comm_set_node(comm, way / 2 + 1)) {
            continue;
        }
        km_comm_set_messages_only(comm,
                                  way % 2 == 1); /* else ranks of a node read each other's memory where they may */
        for (size_t shape = 0; shape < KM_COUNT(shapes); shape++) {
            km_exchange *exchange = create(shape);
            check(exchange, shapes[shape].table * KM_BLOCK);
            km_exchange_destroy(exchange);
        }
    }
}

static void check_tiling(km_exchange *exchange, size_t elements) {
    unsigned char *seen = calloc(elements + 1, 1);
    size_t *next = calloc((size_t)size, sizeof *next);
    size_t end = 0, first, count, local, start, whole;
    for (int bucket = km_exchange_buckets(exchange) - 1; bucket >= 0; bucket--) {
        km_exchange_bucket(exchange, bucket, &start, &whole);
        assert_int_equal(start, end); /* the last bucket is at the start */
        assert_true(whole > 0);
        end = start + whole;
        for (int r = 0; r < size; r++) {
            km_exchange_part(exchange, bucket, r, &first, &count, &local);
            assert_true(first % KM_BLOCK == 0 && count % KM_BLOCK == 0);
            assert_true(first >= start && first + count <= start + whole);
            assert_int_equal(local, next[r]); /* compact, in the table's order, without holes */
            next[r] += count;
            for (size_t i = first; i < first + count; i++) {
                assert_int_equal(seen[i]++, 0);
            }
        }
    }
    assert_int_equal(end, elements);
    assert_true(elements == 0 || memchr(seen, 0, elements) == NULL);
    for (int r = 0; r < size; r++) {
        assert_int_equal(km_exchange_owned(exchange, r), next[r]);
    }
    free(seen);
    free(next);
}

static void parts_tile_the_table(void **state) {
    (void)state;
    on_all_shapes(check_tiling);
}

static int64_t term(size_t element, int r, int step) {
    uint64_t bits = km_mix64(element * 64 + (uint64_t)r * 8 + (uint64_t)step);
    return (int64_t)(bits >> 8) - (INT64_C(1) << 55); /* 56 bits of either sign: rounding anywhere would show */
}

/* One step: begins all buckets, does what `between` says after each, checks the own sums. */
static void check_step(km_exchange *exchange, int64_t *sum, size_t elements, int step) {
    for (size_t i = 0; i < elements; i++) {
        sum[i] = term(i, rank, step);
    }
    for (int bucket = 0; bucket < km_exchange_buckets(exchange); bucket++) {
        km_exchange_begin(exchange, bucket, sum);
        if (rank % 2) {
            km_exchange_poll(exchange);
        }
        if (bucket % 2) {
            assert_int_equal(km_comm_agree(comm, KM_OK), KM_OK); /* other collectives may come between */
        }
    }
    const int64_t *owned = km_exchange_end(exchange);
    for (int bucket = 0; bucket < km_exchange_buckets(exchange); bucket++) {
        size_t first, count, local;
        km_exchange_part(exchange, bucket, rank, &first, &count, &local);
        for (size_t i = 0; i < count; i++) {
            int64_t expected = 0;
            for (int r = 0; r < size; r++) {
                expected += term(first + i, r, step);
            }
            assert_true(owned[local + i] == expected);
        }
    }
}

static void check_sums(km_exchange *exchange, size_t elements) {
    int64_t *sum = malloc((elements + 1) * sizeof *sum);
    for (int step = 0; step < 3; step++) {
        check_step(exchange, sum, elements, step);
    }
    free(sum);
}

static void sums_are_exact(void **state) {
    (void)state;
    on_all_shapes(check_sums);
}

static void check_gather(km_exchange *exchange, size_t elements) {
    float *weights = malloc((elements + 1) * sizeof *weights);
    double *blocks = malloc((elements / KM_BLOCK + 1) * sizeof *blocks);
    for (size_t i = 0; i < elements; i++) {
        weights[i] = -1;
        blocks[i / KM_BLOCK] = -1;
    }
    for (int bucket = 0; bucket < km_exchange_buckets(exchange); bucket++) {
        size_t first, count, local;
        km_exchange_part(exchange, bucket, rank, &first, &count, &local);
        for (size_t i = first; i < first + count; i++) {
            weights[i] = (float)(i % 100003);
            blocks[i / KM_BLOCK] = (double)i;
        }
    }
    km_exchange_gather(exchange, weights);
    km_exchange_gather_blocks(exchange, blocks);
    for (size_t i = 0; i < elements; i++) {
        assert_true(weights[i] == (float)(i % 100003));
        assert_true(blocks[i / KM_BLOCK] == (double)(i / KM_BLOCK * KM_BLOCK + KM_BLOCK - 1));
    }
    free(weights);
    free(blocks);
}

static void gathered_parts_are_the_same_everywhere(void **state) {
    (void)state;
    on_all_shapes(check_gather);
}

typedef struct table {
    int calls_left; /* then fail */
} table;

static km_status give(void *payload, size_t first, size_t count, float *data) {
    table *t = payload;
    if (t->calls_left-- == 0) {
        return km_fail(KM_USAGE, "the file ends at %zu", first);
    }
    for (size_t i = 0; i < count; i++) {
        data[i] = (float)((first + i) % 99991);
    }
    return KM_OK;
}

static void check_distribution(km_exchange *exchange, size_t elements) {
    (void)elements;
    table t = {.calls_left = -1};
    float *owned = malloc((km_exchange_owned(exchange, rank) + 1) * sizeof *owned);
    assert_int_equal(km_exchange_distribute(exchange, owned, give, &t), KM_OK);
    for (int bucket = 0; bucket < km_exchange_buckets(exchange); bucket++) {
        size_t first, count, local;
        km_exchange_part(exchange, bucket, rank, &first, &count, &local);
        for (size_t i = 0; i < count; i++) {
            assert_true(owned[local + i] == (float)((first + i) % 99991));
        }
    }
    free(owned);
}

static void parts_come_from_rank_0(void **state) {
    (void)state;
    on_all_shapes(check_distribution);
}

/* Fails at the first, a middle and a late call; all ranks must get rank 0's failure. */
static void check_failures(km_exchange *exchange, size_t elements) {
    if (elements < 7 * (size_t)KM_BLOCK) {
        return;
    }
    float *owned = calloc(km_exchange_owned(exchange, rank) + 1, sizeof *owned);
    int pieces = 0; /* calls of all parts */
    for (int bucket = 0; bucket < km_exchange_buckets(exchange); bucket++) {
        for (int r = 0; r < size; r++) {
            size_t first, count, local;
            km_exchange_part(exchange, bucket, r, &first, &count, &local);
            pieces += count > 0;
        }
    }
    const int bad[] = {0, pieces / 2, pieces - 1};
    for (size_t k = 0; k < KM_COUNT(bad); k++) {
        table t = {.calls_left = bad[k]};
        assert_int_equal(km_exchange_distribute(exchange, owned, give, &t), KM_USAGE);
        assert_non_null(strstr(km_message(), "the file ends"));
    }
    free(owned);
}

static void a_failing_reader_stops_all_ranks(void **state) {
    (void)state;
    on_all_shapes(check_failures);
}

static void nodes_are_equally_long(void **state) {
    (void)state;
    assert_false(km_comm_set_node(comm, 0));
    assert_false(km_comm_set_node(comm, size + 1));
    assert_true(km_comm_set_node(comm, size));
}

int main(int argc, char **argv) {
    setenv("CMOCKA_TEST_ABORT", "1", 1); /* a rank that fails ends all: the others may be waiting for it */
    if (km_comm_open(&comm, &argc, &argv) != KM_OK) {
        return 1;
    }
    rank = km_comm_rank(comm);
    size = km_comm_size(comm);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_tile_the_table),
        cmocka_unit_test(sums_are_exact),
        cmocka_unit_test(parts_come_from_rank_0),
        cmocka_unit_test(gathered_parts_are_the_same_everywhere),
        cmocka_unit_test(a_failing_reader_stops_all_ranks),
        cmocka_unit_test(nodes_are_equally_long),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    km_comm_close(comm);
    return failed;
}
