/* What is asked of torn by the environment:
 *
 *   KMASK_TORN_FOLDER=path       only files under it are looked at; without it nothing happens
 *   KMASK_TORN=kind:n:what       at the n-th call of a kind; n+: from then on, n-m: up to the m-th
 *       kind   open (for writing or creating), write, resize, rename, unlink, mkdir, fsync, close,
 *              space (what takes room: creating opens, writes, growing, mkdir), call (all of them)
 *       what   ENOSPC EDQUOT EIO EINTR ... the call fails with it and does nothing
 *              short                       a write does half of its work (at least a byte); other calls are left alone
 *              flip                        a write does its work with one bit wrong, and says nothing; others are left alone
 *              tear                        half of a write, then death by SIGKILL
 *              kill                        death before the call
 *              power                       loss of power before the call: what was not synced is dropped, all ranks die
 *   KMASK_TORN_UNTIL=path        once this file exists nothing fails any more ("the disk was freed")
 *   KMASK_TORN_SEED=n            which of the allowed outcomes of a loss of power (torn_disk.h)
 *   KMASK_TORN_SIGNAL=1          SIGUSR2 is a loss of power at the next call
 *   KMASK_TORN_LOG=file          gathers the calls: "number kind path" a line
 *   KMASK_TORN_RANK=r            the rank it is for (0)
 *
 * Functions for the places of KMASK_FAULT (src/base/fault.c): km_torn_power, km_torn_tear. */
#ifndef TORN_EFFECT_H
#define TORN_EFFECT_H

#include <stdbool.h>

typedef enum torn_kind {
    TORN_OPEN,
    TORN_WRITE,
    TORN_RESIZE,
    TORN_RENAME,
    TORN_UNLINK,
    TORN_MKDIR,
    TORN_FSYNC,
    TORN_CLOSE,
    TORN_KINDS
} torn_kind;

typedef enum torn_effect {
    TORN_NOTHING,
    TORN_FAILS, /* with errno set */
    TORN_SHORT,
    TORN_FLIPS,
    TORN_TEARS
} torn_effect;

/* The folder without a slash at its end; NULL: torn is off. */
const char *torn_folder(void);
/* Counts a call and says what is to happen to it; dies where it is to die. With torn's lock held. */
torn_effect torn_next(torn_kind kind, bool takes_space, const char *path);
/* Kills all ranks of this host that the same mpirun started, this one last. */
void torn_die_with_all(void) __attribute__((noreturn));
void torn_die(void) __attribute__((noreturn));

void km_torn_power(void);
void km_torn_tear(void);

#endif
