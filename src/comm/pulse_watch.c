#include "pulse_watch.h"

#include <stdlib.h>

/* Beats come about once a second, more often where the timeout is short. */
static double beat_of(double timeout) {
    return KM_MIN(1.0, timeout / 8);
}

void km_watch_create(km_watch *watch, int size, double timeout, double now) {
    const double most = 5; /* seconds for ending */
    *watch = (km_watch){.size = size, .progress = now, .asked = now, .beat = beat_of(timeout)};
    watch->limit = timeout - KM_MIN(most, timeout / 4);
    watch->grace = KM_MIN(1.0, timeout / 4);
    watch->signs = km_new((size_t)size, sizeof *watch->signs);
    watch->scratch = km_new((size_t)size, sizeof *watch->scratch);
    for (int i = 0; i < size; i++) {
        watch->signs[i].slow_since = -1;
    }
}

void km_watch_destroy(km_watch *watch) {
    free(watch->signs);
    free(watch->scratch);
}

void km_watch_heard(km_watch *watch, int rank, double now, const km_beat *beat) {
    km_sign *sign = &watch->signs[rank];
    if (sign->link != KM_LINK_LEFT) {
        sign->link = KM_LINK_OPEN;
        sign->heard = now;
        sign->beat = *beat;
    }
}

void km_watch_closed(km_watch *watch, int rank, double now) {
    km_sign *sign = &watch->signs[rank];
    if (sign->link == KM_LINK_OPEN) {
        sign->link = KM_LINK_CLOSED;
        sign->closed = now;
    }
}

void km_watch_left(km_watch *watch, int rank) {
    watch->signs[rank].link = KM_LINK_LEFT;
}

/* The others' clocks stand still while the judge sleeps. */
static void forgive_own_sleep(km_watch *watch, double now) {
    double slept = now - watch->asked - 3 * watch->beat;
    watch->asked = now;
    if (slept <= 0) {
        return;
    }
    if (slept >= watch->limit - 6 * watch->beat) {
        watch->overslept = now;
    }
    watch->progress += slept;
    for (int i = 0; i < watch->size; i++) {
        watch->signs[i].heard += slept;
        watch->signs[i].closed += slept;
    }
}

static void note_progress(km_watch *watch, double now) {
    uint64_t total = 0;
    for (int i = 0; i < watch->size; i++) {
        total += watch->signs[i].beat.ticks;
    }
    if (total != watch->total) {
        watch->total = total;
        watch->progress = now;
    }
}

km_verdict km_watch_judge(km_watch *watch, double now) {
    forgive_own_sleep(watch, now);
    note_progress(watch, now);
    km_verdict verdict = {.kind = KM_WELL};
    /* Of a host that is cut off the ranks' last beats lie up to two beats apart: they are named together. */
    double longest = 0;
    for (int i = 0; i < watch->size; i++) {
        const km_sign *sign = &watch->signs[i];
        double silence = sign->link == KM_LINK_OPEN ? now - sign->heard : 0;
        if (sign->link == KM_LINK_CLOSED && now - sign->closed >= watch->grace) {
            return (km_verdict){.kind = KM_GONE, .rank = i, .seconds = now - sign->heard};
        }
        if (silence > longest) {
            longest = silence;
            verdict.rank = i;
        }
    }
    if (longest >= watch->limit) {
        verdict.kind = KM_SILENT;
        verdict.seconds = longest;
        for (int i = 0; i < watch->size; i++) {
            const km_sign *sign = &watch->signs[i];
            verdict.others += i != verdict.rank && sign->link == KM_LINK_OPEN &&
                              now - sign->heard >= watch->limit - 3 * watch->beat;
        }
    } else if (watch->stalls && now - watch->progress >= watch->limit) {
        verdict = (km_verdict){.kind = KM_STALLED, .seconds = now - watch->progress};
    }
    return verdict;
}

/* ---- Stragglers ---- */

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The lower median of the known paces; 0 with fewer than two. */
static double median(const km_watch *watch) {
    int count = 0;
    for (int i = 0; i < watch->size; i++) {
        if (watch->signs[i].link == KM_LINK_OPEN && watch->signs[i].beat.pace > 0) {
            watch->scratch[count++] = watch->signs[i].beat.pace;
        }
    }
    qsort(watch->scratch, (size_t)count, sizeof *watch->scratch, ascending);
    return count < 2 ? 0 : watch->scratch[(count - 1) / 2];
}

km_pace_change km_watch_pace(km_watch *watch, int *rank, double *ratio) {
    enum { STEPS = 20 };
    const double slow = 1.5, well = 1.25, seconds = 30;
    double middle = median(watch);
    for (int i = 0; middle > 0 && i < watch->size; i++) {
        km_sign *sign = &watch->signs[i];
        *rank = i;
        *ratio = sign->beat.pace / middle;
        if (sign->link != KM_LINK_OPEN || sign->beat.pace <= 0) {
            continue;
        }
        if (*ratio < well) {
            bool was = sign->named;
            sign->slow_since = -1;
            sign->named = false;
            if (was) {
                return KM_PACE_WELL;
            }
        } else if (*ratio > slow && sign->slow_since < 0) {
            sign->slow_since = sign->beat.step;
            sign->slow_from = sign->heard;
        } else if (*ratio <= slow && !sign->named) {
            sign->slow_since = -1;
        } else if (!sign->named && sign->beat.step - sign->slow_since >= STEPS &&
                   sign->heard - sign->slow_from >= seconds) {
            sign->named = true;
            return KM_PACE_SLOW;
        }
    }
    return KM_PACE_SAME;
}
