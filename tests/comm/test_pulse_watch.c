/* Who is silent, gone, stuck or slow, by a clock of our own. */
#include "pulse_watch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { RANKS = 4, TIMEOUT = 60, LIMIT = 55 };

/* All but `silent` beat; `stuck`: without progress. */
static void all_beat(km_watch *watch, double now, int silent, bool stuck) {
    for (int rank = 0; rank < RANKS; rank++) {
        km_beat beat = {.step = 7, .ticks = stuck ? 1 : (uint64_t)(now * 1000), .phase = KM_COMPUTING};
        if (rank != silent) {
            km_watch_heard(watch, rank, now, &beat);
        }
    }
}

static void a_silent_rank_is_found_in_time(void **state) {
    (void)state;
    km_watch watch;
    km_watch_create(&watch, RANKS, TIMEOUT, 0);
    watch.stalls = true;
    all_beat(&watch, 0, -1, false);
    double now = 0;
    for (; now < LIMIT - 1; now += 1) {
        all_beat(&watch, now, now > 0 ? 2 : -1, false);
        assert_int_equal(km_watch_judge(&watch, now).kind, KM_WELL);
    }
    all_beat(&watch, LIMIT, 2, false);
    km_verdict verdict = km_watch_judge(&watch, LIMIT);
    assert_int_equal(verdict.kind, KM_SILENT);
    assert_int_equal(verdict.rank, 2);
    assert_int_equal(verdict.others, 0);
    assert_true(verdict.seconds >= LIMIT && verdict.seconds < TIMEOUT);
    km_watch_destroy(&watch);
}

static void a_host_that_is_cut_off_is_named_as_one(void **state) {
    (void)state;
    km_watch watch;
    km_watch_create(&watch, RANKS, TIMEOUT, 0);
    km_beat beat = {.step = 1};
    for (double now = 0; now <= LIMIT; now += 1) {
        km_watch_heard(&watch, 0, now, &beat);
        km_watch_heard(&watch, 1, now, &beat);
        if (now < 1) {
            km_watch_heard(&watch, 3, now, &beat);
            km_watch_heard(&watch, 2, now + 0.5, &beat);
        }
        km_verdict verdict = km_watch_judge(&watch, now);
        assert_int_equal(verdict.kind, now < LIMIT ? KM_WELL : KM_SILENT);
        if (verdict.kind == KM_SILENT) {
            assert_int_equal(verdict.rank, 3);
            assert_int_equal(verdict.others, 1);
        }
    }
    km_watch_destroy(&watch);
}

static void no_progress_is_a_fault_and_slow_progress_is_none(void **state) {
    (void)state;
    km_watch watch;
    km_watch_create(&watch, RANKS, TIMEOUT, 0);
    watch.stalls = true;
    for (double now = 0; now < LIMIT; now += 1) {
        all_beat(&watch, now, -1, true);
        assert_int_equal(km_watch_judge(&watch, now).kind, KM_WELL);
    }
    km_beat one = {.step = 7, .ticks = 2}; /* one rank, one tick: saved */
    km_watch_heard(&watch, 3, LIMIT - 0.5, &one);
    assert_int_equal(km_watch_judge(&watch, LIMIT - 0.5).kind, KM_WELL);
    double from = LIMIT - 0.5;
    for (double now = LIMIT; now < from + LIMIT; now += 1) {
        for (int rank = 0; rank < 3; rank++) {
            km_beat same = {.step = 7, .ticks = 1};
            km_watch_heard(&watch, rank, now, &same);
        }
        km_watch_heard(&watch, 3, now, &one);
        assert_int_equal(km_watch_judge(&watch, now).kind, KM_WELL);
    }
    for (int rank = 0; rank < RANKS; rank++) {
        km_watch_heard(&watch, rank, from + LIMIT, &(km_beat){.ticks = rank == 3 ? 2 : 1});
    }
    km_verdict verdict = km_watch_judge(&watch, from + LIMIT);
    assert_int_equal(verdict.kind, KM_STALLED);
    km_watch_destroy(&watch);
}

static void a_line_may_come_back_and_leave_may_be_taken(void **state) {
    (void)state;
    km_watch watch;
    km_watch_create(&watch, RANKS, TIMEOUT, 0);
    all_beat(&watch, 0, -1, false);
    km_watch_closed(&watch, 1, 0.1);
    assert_int_equal(km_watch_judge(&watch, 0.2).kind, KM_WELL);
    km_beat beat = {.step = 8};
    km_watch_heard(&watch, 1, 0.3, &beat);
    all_beat(&watch, 1, -1, false);
    assert_int_equal(km_watch_judge(&watch, 1.5).kind, KM_WELL);
    km_watch_left(&watch, 1);
    km_watch_closed(&watch, 1, 1.6);
    km_watch_closed(&watch, 3, 1.6);
    km_verdict verdict = km_watch_judge(&watch, 1.6 + watch.grace);
    assert_int_equal(verdict.kind, KM_GONE);
    assert_int_equal(verdict.rank, 3);
    km_watch_destroy(&watch);
}

/* A job that is suspended as a whole, and goes on an hour later. */
static void own_sleep_does_not_count(void **state) {
    (void)state;
    km_watch watch;
    km_watch_create(&watch, RANKS, TIMEOUT, 0);
    watch.stalls = true;
    all_beat(&watch, 0, -1, false);
    assert_int_equal(km_watch_judge(&watch, 0.5).kind, KM_WELL);
    assert_int_equal(km_watch_judge(&watch, 3600).kind, KM_WELL);
    assert_int_equal(km_watch_judge(&watch, 3601).kind, KM_WELL);
    km_watch_destroy(&watch);
}

static void short_timeouts_leave_time_for_the_end(void **state) {
    (void)state;
    for (double timeout = 0.5; timeout < 1000; timeout *= 2) {
        km_watch watch;
        km_watch_create(&watch, 1, timeout, 0);
        assert_true(watch.limit < timeout && watch.limit >= 0.7 * timeout && watch.beat <= watch.limit / 4);
        km_watch_destroy(&watch);
    }
}

static void with_paces(km_watch *watch, int64_t step, const double *paces) {
    for (int rank = 0; rank < RANKS; rank++) {
        km_beat beat = {.step = step, .pace = paces[rank]};
        km_watch_heard(watch, rank, (double)step, &beat);
    }
}

static void a_straggler_is_named_once(void **state) {
    (void)state;
    km_watch watch;
    km_watch_create(&watch, RANKS, TIMEOUT, 0);
    static const double slow[RANKS] = {1, 1.1, 1.8, 0.9}, well[RANKS] = {1, 1.1, 1.2, 0.9};
    int rank = -1, named = 0;
    double ratio = 0;
    for (int64_t step = 1; step < 100; step++) {
        with_paces(&watch, step, step == 5 ? well : slow); /* once well: counted anew */
        while (km_watch_pace(&watch, &rank, &ratio) == KM_PACE_SLOW) {
            named++;
            assert_int_equal(rank, 2);
            assert_int_equal(step, 36); /* half a minute */
            assert_true(ratio > 1.7 && ratio < 1.9);
        }
    }
    assert_int_equal(named, 1);
    with_paces(&watch, 100, well);
    assert_int_equal(km_watch_pace(&watch, &rank, &ratio), KM_PACE_WELL);
    assert_int_equal(rank, 2);
    assert_int_equal(km_watch_pace(&watch, &rank, &ratio), KM_PACE_SAME);
    km_watch_destroy(&watch);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_silent_rank_is_found_in_time),
        cmocka_unit_test(a_host_that_is_cut_off_is_named_as_one),
        cmocka_unit_test(no_progress_is_a_fault_and_slow_progress_is_none),
        cmocka_unit_test(a_line_may_come_back_and_leave_may_be_taken),
        cmocka_unit_test(own_sleep_does_not_count),
        cmocka_unit_test(short_timeouts_leave_time_for_the_end),
        cmocka_unit_test(a_straggler_is_named_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
