/* What the two sides of a save share: the main thread (save.c) and rank 0's writer (save_write.c). */
#ifndef KMASK_RUN_SAVE_PRIVATE_H
#define KMASK_RUN_SAVE_PRIVATE_H

#include "checkpoint.h"

#include <pthread.h>

/* One file of a save. */
typedef struct km_save_file {
    km_store *store; /* NULL: not asked for, or failed */
    char *path;      /* NULL: not asked for */
    bool weights_only;
    km_error error; /* what failed */
} km_save_file;

enum { KM_SAVE_SNAPSHOT, KM_SAVE_CHECKPOINT, KM_SAVE_FILES };

/* Whose turn the writer's work is. */
typedef enum km_save_phase {
    KM_SAVE_IDLE,
    KM_SAVE_PIECES, /* main thread: hands over pieces; writer: writes them */
    KM_SAVE_COMMIT, /* writer: has had all */
    KM_SAVE_OVER    /* main thread: has not yet looked at the result */
} km_save_phase;

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
    /* Main thread's before KM_SAVE_PIECES and after KM_SAVE_OVER, else the writer's. */
    int64_t step;
    km_save_file files[KM_SAVE_FILES];
    bool freed; /* older generations were removed to make room */
} km_writer;

km_status km_writer_start(km_writer *writer) KM_NODISCARD;
void km_writer_stop(km_writer *writer);
void km_writer_give(km_writer *writer, const km_piece *piece); /* there is room for it: see km_pieces_release */
uint64_t km_writer_written(km_writer *writer);
void km_writer_set_phase(km_writer *writer, km_save_phase phase);
km_save_phase km_writer_phase(km_writer *writer);
/* Until there is news from the writer, a millisecond at most. */
void km_writer_wait(km_writer *writer);
/* Writes so many bytes to `path`, and removes them again; `written`: how many went in. */
km_status km_prove_room(const char *path, uint64_t bytes, uint64_t *written) KM_NODISCARD;
/* The file fails with this thread's failure, unless it has failed before; its .tmp goes. */
void km_save_fail(km_save_file *file, km_status status);

#endif
