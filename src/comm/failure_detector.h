/* failure_detector: which ranks are silent, gone or slow, judged from what was received from them and when. It uses no clock, no
 * sockets and no MPI: the caller passes all times, in seconds of one clock. */
#ifndef KM_FAILURE_DETECTOR_H
#define KM_FAILURE_DETECTOR_H

#include "kmask/comm.h"

/* The content of a heartbeat: the state of the rank that sends it. */
typedef struct km_beat {
    int64_t step;
    uint64_t progress; /* a counter that grows whenever the rank gets on with its work */
    double pace;       /* seconds of a micro-batch; 0: unknown */
    int32_t phase;     /* a km_phase */
    int32_t waiting;   /* 1 while the rank waits for other ranks in an MPI call */
} km_beat;

/* The TCP connection to a rank. */
typedef enum km_link {
    KM_LINK_NONE, /* nothing has come from this rank yet: it is not watched */
    KM_LINK_OPEN,
    KM_LINK_CLOSED, /* the other side closed it without saying that it leaves */
    KM_LINK_LEFT    /* the other side said that it leaves */
} km_link;

/* What is known of a rank. */
typedef struct km_peer {
    km_link link;
    double heard;            /* when its last heartbeat came */
    double closed;           /* when its connection was closed */
    km_beat beat;            /* its last heartbeat */
    int64_t slow_since_step; /* the first step of the stretch in which it has been slow; -1: it is not slow */
    double slow_since;       /* when that stretch began */
    bool reported;           /* it was reported as a straggler */
} km_peer;

typedef struct km_detector {
    int size;
    km_peer *peers;       /* (size) */
    double limit;         /* seconds of silence, or without progress, after which a failure is reported */
    double grace;         /* seconds in which a closed connection may be opened again */
    double interval;      /* seconds between heartbeats */
    bool judges_progress; /* report also that no rank has made progress */
    uint64_t progress;    /* the sum of all ranks' progress counters */
    double progressed;    /* when that sum last changed */
    double checked;       /* when km_detector_check was called last */
    /* When this process went on after a pause so long that other ranks have reported it; 0: never. */
    double overslept;
    double *scratch; /* (size) */
} km_detector;

typedef enum km_failure_kind {
    KM_FAILURE_NONE,
    KM_FAILURE_SILENT,  /* a rank's connection is open, but it sends nothing */
    KM_FAILURE_GONE,    /* a rank's connection was closed: its process has ended */
    KM_FAILURE_STALLED, /* all ranks send heartbeats, but none makes progress */
} km_failure_kind;
typedef struct km_failure {
    km_failure_kind kind;
    int rank;       /* the rank that is gone, or has been silent longest */
    int others;     /* how many other ranks are silent too */
    double seconds; /* of silence, or without progress */
} km_failure;

/* `timeout`: seconds from a rank's last heartbeat to the end of all ranks. The detector's limit is shorter, since heartbeats
 * come at intervals and ending takes time. */
void km_detector_create(km_detector *detector, int size, double timeout, double now);
void km_detector_destroy(km_detector *detector);
void km_detector_heard(km_detector *detector, int rank, double now, const km_beat *beat); /* a heartbeat came */
void km_detector_closed(km_detector *detector, int rank, double now); /* the connection was closed */
void km_detector_left(km_detector *detector, int rank);               /* the rank said that it leaves */
/* To be called several times an interval. A pause of the calling process itself (a job that was suspended and goes on) shows
 * as a long time since the last call, and is not counted against the other ranks. */
km_failure km_detector_check(km_detector *detector, double now);

typedef enum km_straggler_change {
    KM_STRAGGLER_NONE, /* nothing has changed */
    KM_STRAGGLER_NEW,
    KM_STRAGGLER_OVER /* the rank keeps up again */
} km_straggler_change;
/* Looks for a rank that has become a straggler or has stopped being one; *ratio is its pace divided by the median of all ranks.
 * A rank becomes a straggler when this ratio is above 1.5 for 20 steps and half a minute, and stops being one when it falls
 * below 1.25. To be called until it returns KM_STRAGGLER_NONE. */
km_straggler_change km_detector_straggler(km_detector *detector, int *rank, double *ratio);

#endif
