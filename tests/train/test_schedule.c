/* The learning rate's schedules. */
#include "schedule.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void near(double a, double b) {
    assert_true(fabs(a - b) < 1e-12);
}

static void schedules_follow_their_formulas(void **state) {
    (void)state;
    near(km_schedule_factor("linear", 1, 4, 20), 0.25);
    near(km_schedule_factor("linear", 4, 4, 20), 1.0);
    near(km_schedule_factor("linear", 5, 4, 20), 1.0);
    near(km_schedule_factor("linear", 13, 4, 20), 0.5);
    near(km_schedule_factor("linear", 20, 4, 20), 1.0 / 16);
    near(km_schedule_factor("linear", 1, 0, 10), 1.0);
    near(km_schedule_factor("cosine", 13, 4, 20), 0.5);
    near(km_schedule_factor("cosine", 9, 4, 20), 0.5 * (1 + cos(acos(-1.0) / 4)));
    near(km_schedule_factor("constant", 19, 4, 20), 1.0);
    near(km_schedule_factor("inverse_sqrt", 16, 4, 20), 0.5);
    near(km_schedule_factor("inverse_sqrt", 4, 0, 20), 0.5);
    near(km_schedule_factor("linear", 5, 10, 10), 0.5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(schedules_follow_their_formulas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
