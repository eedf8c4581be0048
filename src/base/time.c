/* time: the monotonic clock, sleeping, and absolute times that lie some seconds ahead. */
#include "kmask/base.h"

#include <errno.h>
#include <math.h>

enum { NANOSECONDS = 1000000000 };

double km_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static struct timespec span_of(double seconds) {
    double whole = floor(seconds);
    return (struct timespec){.tv_sec = (time_t)whole, .tv_nsec = (long)((seconds - whole) * NANOSECONDS)};
}

void km_sleep(double seconds) {
    struct timespec left = span_of(KM_MAX(seconds, 0));
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
}

struct timespec km_clock_after(clockid_t clock, double seconds) {
    struct timespec now, span = span_of(seconds);
    clock_gettime(clock, &now);
    now.tv_sec += span.tv_sec;
    now.tv_nsec += span.tv_nsec;
    if (now.tv_nsec >= NANOSECONDS) {
        now.tv_nsec -= NANOSECONDS;
        now.tv_sec++;
    }
    return now;
}
