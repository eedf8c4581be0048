/* lock: one run, one owner. The lock of a run folder dies with its process: fcntl's where the file system has it, else what
 * stands in the file: host, pid and its start, SLURM job and restart, and a beat every few seconds. Called on rank 0. */
#ifndef KMASK_TRAIN_LOCK_H
#define KMASK_TRAIN_LOCK_H

#include "kmask/base.h"

typedef struct km_lock km_lock;

typedef struct km_lock_options {
    double wait;                  /* seconds until a folder that stays taken is refused */
    double beat;                  /* seconds between beats */
    double stale;                 /* seconds without a beat after which another machine's owner is taken for dead */
    bool no_fcntl;                /* for tests: as on a file system without locks */
    bool (*go_on)(void *payload); /* asked while waiting: false gives up; may be NULL */
    void *payload;
    void (*lost)(const char *path); /* called from a thread when another run has taken the folder; may be NULL */
} km_lock_options;
extern const km_lock_options km_lock_standard; /* a minute, 3 s, 20 s */

/* Takes <dir>/lock; makes the folder where it is missing. A live owner is waited for, which is said once, then refused
 * (KM_FAILED). Not refused: an owner whose process is gone, of this SLURM job before it was requeued, or on another machine
 * and without a beat. */
km_status km_lock_take(km_lock **out, const char *dir, const km_lock_options *options) KM_NODISCARD;
/* What km_lock_take would say at once, with nothing made or changed: KM_FAILED where the file cannot be made, or where another
 * run is at work; one on another machine is watched until its beat moves or has gone stale. */
km_status km_lock_look(const char *dir, const km_lock_options *options) KM_NODISCARD;
/* Removes the file, and the folder if it was made by km_lock_take and nothing came into it. NULL is fine. */
void km_lock_release(km_lock *lock);
/* Another run has taken the folder over while this process was stopped or out of reach. */
bool km_lock_lost(const km_lock *lock);

#endif
