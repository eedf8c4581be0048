/* Pieces to rank 0 while other work goes on: every element once and in order, however slow the taker. */
#include "kmask/comm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static km_comm *comm;
static int rank, size;

static float value(int owner, size_t i) {
    return (float)((size_t)owner * 7 + i % 1000003);
}

/* Takes all pieces on rank 0; `lazy`: releases them as late as it may. Returns how many came without data. */
static int take_all(km_pieces *pieces, const size_t *counts, bool lazy) {
    size_t *seen = km_new((size_t)size, sizeof *seen);
    uint64_t taken = 0, released = 0;
    int failed = 0;
    while (!km_pieces_over(pieces)) {
        km_piece a;
        km_pieces_allow(pieces, 1000);
        km_pieces_poll(pieces);
        if (km_pieces_take(pieces, &a)) {
            assert_int_equal(a.first, seen[a.rank]);
            for (size_t i = 0; a.data != NULL && i < a.count; i += 997) {
                assert_true(a.data[i] == value(a.rank, a.first + i));
            }
            seen[a.rank] += a.count;
            failed += a.data == NULL;
            taken++;
        }
        if (!lazy || taken - released == KM_PIECES_IN_FLIGHT) {
            released = taken;
            km_pieces_release(pieces, released);
        }
    }
    for (int r = 0; r < size; r++) {
        assert_int_equal(seen[r], counts[r]);
    }
    free(seen);
    return failed;
}

static int transfer(km_pieces *pieces, const size_t *counts, const float *own, bool lazy, bool good) {
    int failed = 0;
    assert_true(km_pieces_over(pieces));
    km_pieces_begin(pieces, own, counts, good);
    if (rank == 0) {
        failed = take_all(pieces, counts, lazy);
    } else {
        km_pieces_finish(pieces);
    }
    assert_true(km_pieces_over(pieces));
    return failed;
}

static void check(size_t each) {
    size_t *most = km_new((size_t)size, sizeof *most), *fewer = km_new((size_t)size, sizeof *fewer);
    for (int r = 0; r < size; r++) {
        most[r] = 3 * (each / (size_t)(r + 1)) * (size_t)(r != 2); /* uneven, and one rank with nothing */
        fewer[r] = most[r] / 3;
    }
    float *own = km_new(most[rank] + 1, sizeof *own);
    for (size_t i = 0; i < most[rank]; i++) {
        own[i] = value(rank, i);
    }
    km_pieces *pieces = NULL;
    assert_int_equal(km_pieces_create(&pieces, comm, most), KM_OK);
    assert_int_equal(transfer(pieces, most, own, false, true), 0);
    assert_int_equal(transfer(pieces, fewer, own, true, true), 0);
    int failed = transfer(pieces, most, own, true, rank != size - 1);
    assert_true(rank != 0 || (failed > 0) == (most[size - 1] > 0));
    assert_int_equal(transfer(pieces, most, own, true, true), 0); /* and the next is well again */
    km_pieces_destroy(pieces);
    free(own);
    free(most);
    free(fewer);
}

static void all_pieces_arrive_once_and_in_order(void **state) {
    (void)state;
    check(0);
    check(1);
    check(4096);
    check((size_t)5 << 19); /* several messages */
}

int main(int argc, char **argv) {
    if (km_comm_open(&comm, &argc, &argv) != KM_OK) {
        return 1;
    }
    rank = km_comm_rank(comm);
    size = km_comm_size(comm);
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_pieces_arrive_once_and_in_order)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    km_comm_close(comm);
    return failed;
}
