/* The failure detector: silent, gone, stalled and slow ranks, by a clock that the test sets. */
#include "failure_detector.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { RANKS = 4, TIMEOUT = 60, LIMIT = 55 };

/* All ranks but `silent` send a heartbeat; `stuck`: it shows no progress. */
static void all_beat(km_detector *detector, double now, int silent, bool stuck) {
    for (int rank = 0; rank < RANKS; rank++) {
        km_beat beat = {.step = 7, .progress = stuck ? 1 : (uint64_t)(now * 1000), .phase = KM_COMPUTING};
        if (rank != silent) {
            km_detector_heard(detector, rank, now, &beat);
        }
    }
}

static void a_silent_rank_is_found_in_time(void **state) {
    (void)state;
    km_detector detector;
    km_detector_create(&detector, RANKS, TIMEOUT, 0);
    detector.judges_progress = true;
    all_beat(&detector, 0, -1, false);
    double now = 0;
    for (; now < LIMIT - 1; now += 1) {
        all_beat(&detector, now, now > 0 ? 2 : -1, false);
        assert_int_equal(km_detector_check(&detector, now).kind, KM_FAILURE_NONE);
    }
    all_beat(&detector, LIMIT, 2, false);
    km_failure failure = km_detector_check(&detector, LIMIT);
    assert_int_equal(failure.kind, KM_FAILURE_SILENT);
    assert_int_equal(failure.rank, 2);
    assert_int_equal(failure.others, 0);
    assert_true(failure.seconds >= LIMIT && failure.seconds < TIMEOUT);
    km_detector_destroy(&detector);
}

static void a_host_that_is_cut_off_is_one_failure(void **state) {
    (void)state;
    km_detector detector;
    km_detector_create(&detector, RANKS, TIMEOUT, 0);
    km_beat beat = {.step = 1};
    for (double now = 0; now <= LIMIT; now += 1) {
        km_detector_heard(&detector, 0, now, &beat);
        km_detector_heard(&detector, 1, now, &beat);
        if (now < 1) {
            km_detector_heard(&detector, 3, now, &beat);
            km_detector_heard(&detector, 2, now + 0.5, &beat);
        }
        km_failure failure = km_detector_check(&detector, now);
        assert_int_equal(failure.kind, now < LIMIT ? KM_FAILURE_NONE : KM_FAILURE_SILENT);
        if (failure.kind == KM_FAILURE_SILENT) {
            assert_int_equal(failure.rank, 3);
            assert_int_equal(failure.others, 1);
        }
    }
    km_detector_destroy(&detector);
}

static void no_progress_is_a_failure_and_slow_progress_is_none(void **state) {
    (void)state;
    km_detector detector;
    km_detector_create(&detector, RANKS, TIMEOUT, 0);
    detector.judges_progress = true;
    for (double now = 0; now < LIMIT; now += 1) {
        all_beat(&detector, now, -1, true);
        assert_int_equal(km_detector_check(&detector, now).kind, KM_FAILURE_NONE);
    }
    km_beat one = {.step = 7, .progress = 2}; /* the progress of one rank is enough */
    km_detector_heard(&detector, 3, LIMIT - 0.5, &one);
    assert_int_equal(km_detector_check(&detector, LIMIT - 0.5).kind, KM_FAILURE_NONE);
    double from = LIMIT - 0.5;
    for (double now = LIMIT; now < from + LIMIT; now += 1) {
        for (int rank = 0; rank < 3; rank++) {
            km_beat same = {.step = 7, .progress = 1};
            km_detector_heard(&detector, rank, now, &same);
        }
        km_detector_heard(&detector, 3, now, &one);
        assert_int_equal(km_detector_check(&detector, now).kind, KM_FAILURE_NONE);
    }
    for (int rank = 0; rank < RANKS; rank++) {
        km_detector_heard(&detector, rank, from + LIMIT, &(km_beat){.progress = rank == 3 ? 2 : 1});
    }
    km_failure failure = km_detector_check(&detector, from + LIMIT);
    assert_int_equal(failure.kind, KM_FAILURE_STALLED);
    km_detector_destroy(&detector);
}

static void a_connection_may_come_back_and_ranks_may_leave(void **state) {
    (void)state;
    km_detector detector;
    km_detector_create(&detector, RANKS, TIMEOUT, 0);
    all_beat(&detector, 0, -1, false);
    km_detector_closed(&detector, 1, 0.1);
    assert_int_equal(km_detector_check(&detector, 0.2).kind, KM_FAILURE_NONE);
    km_beat beat = {.step = 8};
    km_detector_heard(&detector, 1, 0.3, &beat);
    all_beat(&detector, 1, -1, false);
    assert_int_equal(km_detector_check(&detector, 1.5).kind, KM_FAILURE_NONE);
    km_detector_left(&detector, 1);
    km_detector_closed(&detector, 1, 1.6);
    km_detector_closed(&detector, 3, 1.6);
    km_failure failure = km_detector_check(&detector, 1.6 + detector.grace);
    assert_int_equal(failure.kind, KM_FAILURE_GONE);
    assert_int_equal(failure.rank, 3);
    km_detector_destroy(&detector);
}

/* The whole job is suspended, and goes on an hour later. */
static void own_pauses_do_not_count(void **state) {
    (void)state;
    km_detector detector;
    km_detector_create(&detector, RANKS, TIMEOUT, 0);
    detector.judges_progress = true;
    all_beat(&detector, 0, -1, false);
    assert_int_equal(km_detector_check(&detector, 0.5).kind, KM_FAILURE_NONE);
    assert_int_equal(km_detector_check(&detector, 3600).kind, KM_FAILURE_NONE);
    assert_int_equal(km_detector_check(&detector, 3601).kind, KM_FAILURE_NONE);
    km_detector_destroy(&detector);
}

static void short_timeouts_leave_time_for_the_end(void **state) {
    (void)state;
    for (double timeout = 0.5; timeout < 1000; timeout *= 2) {
        km_detector detector;
        km_detector_create(&detector, 1, timeout, 0);
        assert_true(detector.limit < timeout && detector.limit >= 0.7 * timeout &&
                    detector.interval <= detector.limit / 4);
        km_detector_destroy(&detector);
    }
}

static void with_paces(km_detector *detector, int64_t step, const double *paces) {
    for (int rank = 0; rank < RANKS; rank++) {
        km_beat beat = {.step = step, .pace = paces[rank]};
        km_detector_heard(detector, rank, (double)step, &beat);
    }
}

static void a_straggler_is_reported_once(void **state) {
    (void)state;
    km_detector detector;
    km_detector_create(&detector, RANKS, TIMEOUT, 0);
    static const double slow[RANKS] = {1, 1.1, 1.8, 0.9}, well[RANKS] = {1, 1.1, 1.2, 0.9};
    int rank = -1, reported = 0;
    double ratio = 0;
    for (int64_t step = 1; step < 100; step++) {
        with_paces(&detector, step,
                   step == 5 ? well : slow); /* as fast as the others once: the count begins again */
        while (km_detector_straggler(&detector, &rank, &ratio) == KM_STRAGGLER_NEW) {
            reported++;
            assert_int_equal(rank, 2);
            assert_int_equal(step, 36); /* half a minute */
            assert_true(ratio > 1.7 && ratio < 1.9);
        }
    }
    assert_int_equal(reported, 1);
    with_paces(&detector, 100, well);
    assert_int_equal(km_detector_straggler(&detector, &rank, &ratio), KM_STRAGGLER_OVER);
    assert_int_equal(rank, 2);
    assert_int_equal(km_detector_straggler(&detector, &rank, &ratio), KM_STRAGGLER_NONE);
    km_detector_destroy(&detector);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_silent_rank_is_found_in_time),
        cmocka_unit_test(a_host_that_is_cut_off_is_one_failure),
        cmocka_unit_test(no_progress_is_a_failure_and_slow_progress_is_none),
        cmocka_unit_test(a_connection_may_come_back_and_ranks_may_leave),
        cmocka_unit_test(own_pauses_do_not_count),
        cmocka_unit_test(short_timeouts_leave_time_for_the_end),
        cmocka_unit_test(a_straggler_is_reported_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
