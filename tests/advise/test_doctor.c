/* Ranks with more threads than cores, compared with an exhaustive search; and lists of CPUs. */
#include "doctor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RANKS = 4, CORES = 5 };

static int count_of(unsigned set) {
    return __builtin_popcount(set);
}

/* Hall: each set of ranks has at least as many cores as threads. */
static bool fits(const int *threads, const unsigned *masks) {
    for (unsigned set = 1; set < 1U << RANKS; set++) {
        unsigned united = 0;
        int need = 0;
        for (int r = 0; r < RANKS; r++) {
            if (set >> r & 1) {
                united |= masks[r];
                need += threads[r];
            }
        }
        if (need > count_of(united)) {
            return false;
        }
    }
    return true;
}

static void check(const int *threads, const unsigned *masks) {
    km_cpus cores[RANKS], united;
    bool members[RANKS];
    for (int r = 0; r < RANKS; r++) {
        cores[r] = (km_cpus){.bits = {masks[r]}};
    }
    bool oversubscribed = km_oversubscribed(members, &united, threads, cores, RANKS);
    assert_int_equal(oversubscribed, !fits(threads, masks));
    if (!oversubscribed) {
        return;
    }
    int need = 0;
    unsigned all = 0;
    for (int r = 0; r < RANKS; r++) { /* the set that is reported has more threads than cores */
        need += members[r] ? threads[r] : 0;
        all |= members[r] ? masks[r] : 0;
    }
    assert_true(need > count_of(all));
    assert_int_equal(united.bits[0], all);
}

static void oversubscribed_cores_are_found(void **state) {
    (void)state;
    km_rng rng = km_rng_make(1, KM_RNG_TEST, 0, 0);
    for (int i = 0; i < 3000; i++) {
        int threads[RANKS];
        unsigned masks[RANKS];
        for (int r = 0; r < RANKS; r++) {
            threads[r] = (int)km_rng_below(&rng, 4);
            masks[r] = km_rng_below(&rng, 1U << CORES);
        }
        check(threads, masks);
    }
}

static void cpu_lists_go_there_and_back(void **state) {
    static const char *const good[] = {"", "0", "0-3", "0-3,8", "1,3,5-6,64-127,4095"};
    static const char *const bad[] = {"x", "0,,1", "1-", "0 1"};
    (void)state;
    km_cpus cpus;
    for (size_t i = 0; i < KM_COUNT(good); i++) {
        assert_true(km_cpus_parse(&cpus, good[i]));
        char *text = km_cpus_print(&cpus);
        assert_string_equal(text, good[i]);
        free(text);
    }
    for (size_t i = 0; i < KM_COUNT(bad); i++) {
        assert_false(km_cpus_parse(&cpus, bad[i]));
    }
    km_cpus_allowed(&cpus);
    km_cpus cores;
    km_cpus_cores(&cores, &cpus);
    assert_true(km_cpus_count(&cpus) >= 1);
    assert_in_range(km_cpus_count(&cores), 1, km_cpus_count(&cpus));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(oversubscribed_cores_are_found),
        cmocka_unit_test(cpu_lists_go_there_and_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
