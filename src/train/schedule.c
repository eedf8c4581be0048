/* schedule: the formulas of the learning rate (schedule.h). */
#include "schedule.h"

#include <math.h>
#include <string.h>

double km_schedule_factor(const char *name, int64_t step, int64_t warmup, int64_t steps) {
    const double pi = 3.141592653589793;
    if (step <= warmup) {
        return (double)step / (double)warmup;
    }
    double done = (double)(step - 1 - warmup) / (double)KM_MAX(steps - warmup, 1);
    done = KM_MIN(KM_MAX(done, 0.0), 1.0);
    if (strcmp(name, "linear") == 0) {
        return 1.0 - done;
    }
    if (strcmp(name, "cosine") == 0) {
        return 0.5 * (1.0 + cos(pi * done));
    }
    if (strcmp(name, "inverse_sqrt") == 0) {
        return sqrt((double)KM_MAX(warmup, 1) / (double)step);
    }
    return 1.0;
}
