/* pulse_watch: who is silent, gone or slow, judged from what was heard and when. No clock, no sockets, no MPI: times are
 * the caller's. */
#ifndef KM_PULSE_WATCH_H
#define KM_PULSE_WATCH_H

#include "kmask/comm.h"

/* What a beat says. */
typedef struct km_beat {
    int64_t step;
    uint64_t ticks; /* grows with every progress */
    double pace;    /* seconds of a micro-batch; 0: unknown */
    int32_t phase;
    int32_t waiting; /* for other ranks, in MPI */
} km_beat;

typedef enum km_link {
    KM_LINK_NONE, /* never heard of: not watched */
    KM_LINK_OPEN,
    KM_LINK_CLOSED, /* by the other side, without leave */
    KM_LINK_LEFT    /* took leave */
} km_link;

typedef struct km_sign {
    km_link link;
    double heard;  /* when */
    double closed; /* when */
    km_beat beat;
    int64_t slow_since; /* the step from which it has been slow; -1: it is not */
    double slow_from;   /* and when that was */
    bool named;         /* as slow */
} km_sign;

typedef struct km_watch {
    int size;
    km_sign *signs; /* (size) */
    double limit;   /* seconds of silence, or without progress, that are too many */
    double grace;   /* seconds in which a closed link may come back */
    bool stalls;    /* judge progress too */
    double progress;
    uint64_t total;   /* of ticks */
    double asked;     /* when judged last */
    double overslept; /* when the judge woke from a sleep for which others have given it up; 0: never */
    double beat;      /* seconds between beats */
    double *scratch;
} km_watch;

typedef enum km_verdict_kind { KM_WELL, KM_SILENT, KM_GONE, KM_STALLED } km_verdict_kind;
typedef struct km_verdict {
    km_verdict_kind kind;
    int rank;       /* of the first that is silent or gone */
    int others;     /* that are too */
    double seconds; /* of silence, or without progress */
} km_verdict;

/* `timeout`: seconds from the last sign of life to the end of all ranks; the limit leaves room for beats and for ending. */
void km_watch_create(km_watch *watch, int size, double timeout, double now);
void km_watch_destroy(km_watch *watch);
void km_watch_heard(km_watch *watch, int rank, double now, const km_beat *beat);
void km_watch_closed(km_watch *watch, int rank, double now);
void km_watch_left(km_watch *watch, int rank);
/* A judge who has himself slept (a stopped job that goes on) does not count that time against the others. */
km_verdict km_watch_judge(km_watch *watch, double now);

typedef enum km_pace_change { KM_PACE_SAME, KM_PACE_SLOW, KM_PACE_WELL } km_pace_change;
/* A rank that has become a straggler, or has ceased to be one: more than 1.5 times the median's seconds of a micro-batch over
 * 20 steps and half a minute, until it is below 1.25. Call until KM_PACE_SAME. */
km_pace_change km_watch_pace(km_watch *watch, int *rank, double *ratio);

#endif
