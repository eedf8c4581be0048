/* Ranks: agreement, small collectives, bytes between ranks, shares of work. */
#include "kmask/comm.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static km_comm *comm;
static int rank, size;

/* Ranks 0, 2, ... and 1, 3, ... add up what they have, and a failure stays in its group. */
static void groups_work_side_by_side(void **state) {
    (void)state;
    km_comm *part = km_comm_split(comm, rank % 2);
    assert_int_equal(km_comm_size(part), (size + 1 - rank % 2) / 2);
    assert_int_equal(km_comm_rank(part), rank / 2);
    int64_t sum = rank, expected = 0;
    for (int other = rank % 2; other < size; other += 2) {
        expected += other;
    }
    km_comm_sum(part, &sum, 1);
    assert_int_equal(sum, expected);
    km_status mine = rank == 1 ? km_fail(KM_FAILED, "rank 1 alone") : KM_OK;
    assert_int_equal(km_comm_agree(part, mine), rank % 2 == 1 ? KM_FAILED : KM_OK);
    km_comm_close(part);
    sum = 1;
    km_comm_sum(comm, &sum, 1);
    assert_int_equal(sum, size);
}

static void all_well_is_agreed_on(void **state) {
    (void)state;
    assert_int_equal(km_comm_agree(comm, KM_OK), KM_OK);
}

/* `failing` has a bit for each rank that fails; all must get the lowest one's code and message. */
static void check_agreement(unsigned failing) {
    km_status mine = KM_OK;
    int lowest = 0;
    while (!(failing >> lowest & 1)) {
        lowest++;
    }
    (void)km_fail(KM_FAILED, "an old message");
    if (failing >> rank & 1) {
        mine = km_fail(rank % 2 ? KM_USAGE : KM_STOPPED, "rank %d: %% of file %d is bad", rank, rank);
    }
    char expected[64];
    snprintf(expected, sizeof expected, "rank %d: %% of file %d is bad", lowest, lowest);
    assert_int_equal(km_comm_agree(comm, mine), lowest % 2 ? KM_USAGE : KM_STOPPED);
    assert_string_equal(km_message(), expected);
    assert_int_equal(km_message_kind(), lowest % 2 ? KM_ERROR_USAGE : KM_ERROR_STOPPED);
}

static void lowest_failing_rank_speaks_for_all(void **state) {
    (void)state;
    for (unsigned failing = 1; failing < 1U << size; failing++) {
        check_agreement(failing);
    }
}

static void all_ranks_get_the_kind(void **state) {
    (void)state;
    km_status mine = rank == size - 1 ? km_fail_errno(ENOSPC, "a.h5: cannot write") : KM_OK;
    assert_int_equal(km_comm_agree(comm, mine), KM_FAILED);
    assert_int_equal(km_message_kind(), KM_ERROR_NO_SPACE);
    mine = rank == 0 ? km_fail_kind(KM_ERROR_DAMAGED, "b.h5: cut short") : KM_OK;
    assert_int_equal(km_comm_agree(comm, mine), KM_FAILED);
    assert_int_equal(km_message_kind(), KM_ERROR_DAMAGED);
}

static void long_messages_arrive_whole(void **state) {
    (void)state;
    char text[3001];
    memset(text, 'x', 3000);
    text[3000] = 0;
    km_status mine = rank == size - 1 ? km_fail(KM_FAILED, "%s", text) : KM_OK;
    assert_int_equal(km_comm_agree(comm, mine), KM_FAILED);
    assert_string_equal(km_message(), text);
}

static void sums_and_maxima(void **state) {
    (void)state;
    int64_t sums[3] = {rank + 1, INT64_C(1) << (40 + rank), -7};
    km_comm_sum(comm, sums, 3);
    assert_int_equal(sums[0], size * (size + 1) / 2);
    assert_true(sums[1] == ((INT64_C(1) << size) - 1) << 40);
    assert_int_equal(sums[2], -7 * size);
    double maxima[2] = {rank, -1.5 - rank};
    km_comm_max(comm, maxima, 2);
    assert_true(maxima[0] == size - 1 && maxima[1] == -1.5);
}

static void scan_is_exclusive(void **state) {
    (void)state;
    uint64_t values[2] = {(uint64_t)rank + 1, UINT64_C(1) << 40};
    km_comm_scan(comm, values, 2);
    assert_int_equal(values[0], rank * (rank + 1) / 2);
    assert_true(values[1] == (uint64_t)rank << 40);
}

static unsigned char byte_of(size_t i, int from) {
    return (unsigned char)(i * 131 + (size_t)from * 17 + 5);
}

static unsigned char *filled(size_t count, int from) {
    unsigned char *bytes = malloc(count + 1);
    assert_non_null(bytes);
    for (size_t i = 0; i <= count; i++) {
        bytes[i] = byte_of(i, from);
    }
    return bytes;
}

static const size_t sizes[] = {0, 1, 7, 4096, 1000003};

static void broadcast_reaches_all(void **state) {
    (void)state;
    for (size_t k = 0; k < KM_COUNT(sizes); k++) {
        unsigned char *bytes = filled(sizes[k], rank), *expected = filled(sizes[k], 0);
        km_comm_broadcast(comm, bytes, sizes[k]);
        assert_memory_equal(bytes, expected, sizes[k]);
        assert_int_equal(bytes[sizes[k]], byte_of(sizes[k], rank)); /* and nothing behind */
        free(bytes);
        free(expected);
    }
}

static void bytes_go_round_the_ring(void **state) {
    (void)state;
    if (size == 1) {
        return;
    }
    int before = (rank + size - 1) % size;
    for (size_t k = 0; k < KM_COUNT(sizes); k++) {
        unsigned char *mine = filled(sizes[k], rank), *got = filled(sizes[k], 99);
        unsigned char *expected = filled(sizes[k], before);
        if (rank == 0) {
            km_comm_send(comm, mine, sizes[k], 1);
        }
        km_comm_receive(comm, got, sizes[k], before);
        if (rank != 0) {
            km_comm_send(comm, mine, sizes[k], (rank + 1) % size);
        }
        assert_memory_equal(got, expected, sizes[k]);
        assert_int_equal(got[sizes[k]], byte_of(sizes[k], 99));
        free(mine);
        free(got);
        free(expected);
    }
}

static void nothing_is_a_valid_amount(void **state) {
    (void)state;
    km_comm_sum(comm, NULL, 0);
    km_comm_max(comm, NULL, 0);
    km_comm_scan(comm, NULL, 0);
    km_comm_broadcast(comm, NULL, 0);
    km_comm_barrier(comm);
}

static void shares_cover_the_work(void **state) {
    (void)state;
    for (int ranks = 1; ranks <= 70; ranks += 3) {
        for (uint64_t count = 0; count < 200; count += 7) {
            uint64_t next = 0;
            for (int r = 0; r < ranks; r++) {
                uint64_t first, number;
                km_share(&first, &number, count, r, ranks);
                assert_int_equal(first, next);
                assert_true(number == count / (uint64_t)ranks || number == count / (uint64_t)ranks + 1);
                next += number;
            }
            assert_int_equal(next, count);
        }
    }
    uint64_t first, number, huge = UINT64_C(1) << 62;
    km_share(&first, &number, huge + 1, 63, 64);
    assert_true(first + number == huge + 1);
}

static void only_rank_0_talks(void **state) {
    (void)state;
    assert_int_equal(km_log_muted(), rank != 0);
}

int main(int argc, char **argv) {
    setenv("CMOCKA_TEST_ABORT", "1", 1); /* a rank that fails ends all: the others may be waiting for it */
    if (km_comm_open(&comm, &argc, &argv) != KM_OK) {
        return 1;
    }
    rank = km_comm_rank(comm);
    size = km_comm_size(comm);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_well_is_agreed_on),
        cmocka_unit_test(groups_work_side_by_side),
        cmocka_unit_test(lowest_failing_rank_speaks_for_all),
        cmocka_unit_test(all_ranks_get_the_kind),
        cmocka_unit_test(sums_and_maxima),
        cmocka_unit_test(long_messages_arrive_whole),
        cmocka_unit_test(scan_is_exclusive),
        cmocka_unit_test(broadcast_reaches_all),
        cmocka_unit_test(bytes_go_round_the_ring),
        cmocka_unit_test(nothing_is_a_valid_amount),
        cmocka_unit_test(shares_cover_the_work),
        cmocka_unit_test(only_rank_0_talks),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    km_comm_close(comm);
    return failed;
}
