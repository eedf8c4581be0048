/* failure_detector: detects silence, closed connections, missing progress, and stragglers. */
#include "failure_detector.h"

#include <stdlib.h>

/* Seconds between heartbeats: one, less where the timeout is short. */
static double interval_of(double timeout) {
    return KM_MIN(1.0, timeout / 8);
}

void km_detector_create(km_detector *detector, int size, double timeout, double now) {
    const double most = 5; /* seconds for ending all ranks */
    *detector = (km_detector){.size = size, .progressed = now, .checked = now, .interval = interval_of(timeout)};
    detector->limit = timeout - KM_MIN(most, timeout / 4);
    detector->grace = KM_MIN(1.0, timeout / 4);
    detector->peers = km_new((size_t)size, sizeof *detector->peers);
    detector->scratch = km_new((size_t)size, sizeof *detector->scratch);
    for (int i = 0; i < size; i++) {
        detector->peers[i].slow_since_step = -1;
    }
}

void km_detector_destroy(km_detector *detector) {
    free(detector->peers);
    free(detector->scratch);
}

void km_detector_heard(km_detector *detector, int rank, double now, const km_beat *beat) {
    km_peer *peer = &detector->peers[rank];
    if (peer->link != KM_LINK_LEFT) {
        peer->link = KM_LINK_OPEN;
        peer->heard = now;
        peer->beat = *beat;
    }
}

void km_detector_closed(km_detector *detector, int rank, double now) {
    km_peer *peer = &detector->peers[rank];
    if (peer->link == KM_LINK_OPEN) {
        peer->link = KM_LINK_CLOSED;
        peer->closed = now;
    }
}

void km_detector_left(km_detector *detector, int rank) {
    detector->peers[rank].link = KM_LINK_LEFT;
}

/* Moves the times of all ranks on by as long as this process was paused, since nothing could be received meanwhile. */
static void subtract_own_pause(km_detector *detector, double now) {
    double paused = now - detector->checked - 3 * detector->interval;
    detector->checked = now;
    if (paused <= 0) {
        return;
    }
    if (paused >= detector->limit - 6 * detector->interval) {
        detector->overslept = now;
    }
    detector->progressed += paused;
    for (int i = 0; i < detector->size; i++) {
        detector->peers[i].heard += paused;
        detector->peers[i].closed += paused;
    }
}

/* Notes whether any rank has made progress since the last call: then the sum of all ranks' counters has changed. */
static void note_progress(km_detector *detector, double now) {
    uint64_t total = 0;
    for (int i = 0; i < detector->size; i++) {
        total += detector->peers[i].beat.progress;
    }
    if (total != detector->progress) {
        detector->progress = total;
        detector->progressed = now;
    }
}

km_failure km_detector_check(km_detector *detector, double now) {
    subtract_own_pause(detector, now);
    note_progress(detector, now);
    km_failure failure = {.kind = KM_FAILURE_NONE};
    double longest = 0;
    for (int i = 0; i < detector->size; i++) {
        const km_peer *peer = &detector->peers[i];
        double silence = peer->link == KM_LINK_OPEN ? now - peer->heard : 0;
        if (peer->link == KM_LINK_CLOSED && now - peer->closed >= detector->grace) {
            return (km_failure){.kind = KM_FAILURE_GONE, .rank = i, .seconds = now - peer->heard};
        }
        if (silence > longest) {
            longest = silence;
            failure.rank = i;
        }
    }
    if (longest >= detector->limit) {
        failure.kind = KM_FAILURE_SILENT;
        failure.seconds = longest;
        /* The last heartbeats of the ranks of a host that is cut off lie up to two intervals apart: they count as one failure. */
        for (int i = 0; i < detector->size; i++) {
            const km_peer *peer = &detector->peers[i];
            failure.others += i != failure.rank && peer->link == KM_LINK_OPEN &&
                              now - peer->heard >= detector->limit - 3 * detector->interval;
        }
    } else if (detector->judges_progress && now - detector->progressed >= detector->limit) {
        failure = (km_failure){.kind = KM_FAILURE_STALLED, .seconds = now - detector->progressed};
    }
    return failure;
}

/* ---- Stragglers ---- */

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The lower median of the known paces; 0 with fewer than two. */
static double median(const km_detector *detector) {
    int count = 0;
    for (int i = 0; i < detector->size; i++) {
        if (detector->peers[i].link == KM_LINK_OPEN && detector->peers[i].beat.pace > 0) {
            detector->scratch[count++] = detector->peers[i].beat.pace;
        }
    }
    qsort(detector->scratch, (size_t)count, sizeof *detector->scratch, ascending);
    return count < 2 ? 0 : detector->scratch[(count - 1) / 2];
}

km_straggler_change km_detector_straggler(km_detector *detector, int *rank, double *ratio) {
    enum { STEPS = 20 };
    const double slow = 1.5, well = 1.25, seconds = 30;
    double middle = median(detector);
    for (int i = 0; middle > 0 && i < detector->size; i++) {
        km_peer *peer = &detector->peers[i];
        *rank = i;
        *ratio = peer->beat.pace / middle;
        if (peer->link != KM_LINK_OPEN || peer->beat.pace <= 0) {
            continue;
        }
        if (*ratio < well) {
            bool was = peer->reported;
            peer->slow_since_step = -1;
            peer->reported = false;
            if (was) {
                return KM_STRAGGLER_OVER;
            }
        } else if (*ratio > slow && peer->slow_since_step < 0) {
            peer->slow_since_step = peer->beat.step;
            peer->slow_since = peer->heard;
        } else if (*ratio <= slow && !peer->reported) {
            peer->slow_since_step = -1;
        } else if (!peer->reported && peer->beat.step - peer->slow_since_step >= STEPS &&
                   peer->heard - peer->slow_since >= seconds) {
            peer->reported = true;
            return KM_STRAGGLER_NEW;
        }
    }
    return KM_STRAGGLER_NONE;
}
