/* save_private: what the two sides of a save share: the main thread (save.c) and rank 0's writer (save_write.c). */
#ifndef KMASK_RUN_SAVE_PRIVATE_H
#define KMASK_RUN_SAVE_PRIVATE_H

#include "checkpoint.h"

#include <pthread.h>

/* One file of a save. */
typedef struct km_save_file {
    km_store *store;   /* being written; NULL where the file was not asked for, or has failed */
    char *path;        /* NULL where the file was not asked for */
    bool weights_only; /* a snapshot */
    km_error error;    /* the first failure */
} km_save_file;

enum { KM_SAVE_SNAPSHOT, KM_SAVE_CHECKPOINT, KM_SAVE_FILES };

/* What a save is waiting for. */
typedef enum km_save_phase {
    KM_SAVE_IDLE,
    KM_SAVE_PIECES, /* for pieces: the main thread hands them over, the writer writes them */
    KM_SAVE_COMMIT, /* for the writer, which has all pieces */
    KM_SAVE_OVER    /* for the main thread, which has not seen the result yet */
} km_save_phase;

/* The writer: a thread of rank 0. */
typedef struct km_writer {
    const km_state *state;
    int ranks;
    const char *dir;
    int64_t keep;
    pthread_t thread;
    bool started;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t wake, news;
    km_save_phase phase;
    bool quit;
    km_piece queue[KM_PIECES_IN_FLIGHT];
    uint64_t given, written; /* pieces of this save */
    /* The main thread's until KM_SAVE_PIECES and from KM_SAVE_OVER on, the writer's in between; no mutex is needed. */
    int64_t step;
    bool best; /* the checkpoint becomes best.h5 */
    km_save_file files[KM_SAVE_FILES];
    bool freed; /* older checkpoints were removed to make room */
} km_writer;

km_status km_writer_start(km_writer *writer) KM_NODISCARD;
void km_writer_stop(km_writer *writer);
/* Hands a piece over. There is room for it in the queue, since no more are under way than km_pieces_release allows. */
void km_writer_give(km_writer *writer, const km_piece *piece);
uint64_t km_writer_written(km_writer *writer); /* how many pieces of this save are on the disk */
void km_writer_set_phase(km_writer *writer, km_save_phase phase);
km_save_phase km_writer_phase(km_writer *writer);
/* Waits until the writer has done something, a millisecond at most. */
void km_writer_wait(km_writer *writer);
/* Proves that the disk takes the checkpoints that are due (km_run_checkpoints_due), each of so many bytes, by writing as many bytes and
 * removing them again. *seconds: what one checkpoint takes. */
km_status km_prove_room(const km_config *config, uint64_t bytes, double *seconds) KM_NODISCARD;
/* Gives the file up because of this thread's failure, unless it has failed before, and removes its .tmp. */
void km_save_fail(km_save_file *file, km_status status);

#endif
