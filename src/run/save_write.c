/* save_write: the writer, a thread of rank 0. It writes pieces to their places in the files, commits and verifies them, and
 * removes older checkpoints. It calls neither MPI nor HDF5. */
#include "best.h"
#include "checkpoint_files.h"
#include "save_private.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void km_save_fail(km_save_file *file, km_status status) {
    if (file->error.status == KM_OK) {
        km_error_copy(&file->error, status);
    }
    km_store_abandon(file->store);
    file->store = NULL;
}

/* ---- Pieces ---- */

/* Writes a piece to its places in the file. A rank's array holds the parts of the state one after the other, and a piece may
 * begin and end in the middle of a part. */
static km_status write_piece(const km_writer *w, const km_save_file *file, const km_piece *piece) {
    if (piece->data == NULL) {
        KM_TRY(piece->error != NULL ? km_error_raise(piece->error) : KM_OK);
        return km_fail(KM_FAILED, "rank %d could not send its part", piece->rank);
    }
    km_state_part parts[KM_STATE_PARTS];
    const int count = km_state_parts(parts, w->state, file->weights_only, piece->rank, w->ranks);
    size_t begin = 0; /* where the part begins in the rank's array */
    for (int i = 0; i < count; i++) {
        const size_t end = begin + parts[i].count;
        const size_t from = KM_MAX(begin, piece->first), to = KM_MIN(end, piece->first + piece->count);
        if (from < to) {
            KM_TRY(km_checkpoint_write(file->store, &parts[i], piece->rank, from - begin, to - from,
                                       piece->data + (from - piece->first)));
        }
        begin = end;
    }
    return KM_OK;
}

static void write_to_files(km_writer *w, const km_piece *piece) {
    for (int i = 0; i < KM_SAVE_FILES; i++) {
        km_save_file *file = &w->files[i];
        km_status status = file->store != NULL ? write_piece(w, file, piece) : KM_OK;
        if (status != KM_OK) {
            km_save_fail(file, status);
        }
    }
}

/* ---- Commit ---- */

/* Reads the file from the disk, if the system lets go of the pages that it has in memory. */
static km_status verify(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        close(fd);
    }
    KM_TRY(km_fault("save.verify"));
    return km_store_verify(path);
}

static void commit(km_save_file *file) {
    km_checkpoint_set_damaged_aside(file->path);
    km_status status = km_store_commit(file->store);
    file->store = NULL;
    if (status == KM_OK) {
        status = verify(file->path);
    }
    if (status != KM_OK) {
        km_save_fail(file, status);
    }
}

/* Whether the save could succeed once other files are gone. */
static bool lacked_space(const km_save_file *file) {
    return file->error.kind == KM_ERROR_NO_SPACE || file->error.kind == KM_ERROR_QUOTA;
}

/* All pieces of the save are written. */
static void end_save(km_writer *w) {
    for (int i = 0; i < KM_SAVE_FILES; i++) {
        if (w->files[i].store != NULL) {
            commit(&w->files[i]);
        }
    }
    const km_save_file *checkpoint = &w->files[KM_SAVE_CHECKPOINT];
    if (checkpoint->path != NULL && checkpoint->error.status == KM_OK) {
        if (w->best) {
            km_best_keep(w->dir, w->step);
        }
        (void)km_checkpoint_files_prune(w->dir, w->keep, w->step, w->step);
    }
    w->freed = (lacked_space(checkpoint) || lacked_space(&w->files[KM_SAVE_SNAPSHOT])) &&
               km_checkpoint_files_prune(w->dir, 1, w->step, -1) > 0;
}

/* ---- The thread ---- */

static void *write_in_background(void *payload) {
    km_writer *w = payload;
    pthread_mutex_lock(&w->mutex);
    while (!w->quit) {
        if (w->written < w->given) {
            km_piece piece = w->queue[w->written % KM_PIECES_IN_FLIGHT];
            pthread_mutex_unlock(&w->mutex);
            write_to_files(w, &piece);
            pthread_mutex_lock(&w->mutex);
            w->written++;
            pthread_cond_signal(&w->news);
        } else if (w->phase == KM_SAVE_COMMIT) {
            pthread_mutex_unlock(&w->mutex);
            end_save(w);
            pthread_mutex_lock(&w->mutex);
            w->phase = KM_SAVE_OVER;
            pthread_cond_signal(&w->news);
        } else {
            pthread_cond_wait(&w->wake, &w->mutex);
        }
    }
    pthread_mutex_unlock(&w->mutex);
    return NULL;
}

km_status km_writer_start(km_writer *w) {
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->wake, NULL);
    pthread_condattr_t steady; /* a clock that nobody sets back, so that a wait ends in time */
    pthread_condattr_init(&steady);
    pthread_condattr_setclock(&steady, CLOCK_MONOTONIC);
    pthread_cond_init(&w->news, &steady);
    pthread_condattr_destroy(&steady);
    int failed = km_thread_start(&w->thread, write_in_background, w);
    w->started = failed == 0;
    return failed == 0 ? KM_OK : km_fail_errno(failed, "cannot start the thread that writes");
}

void km_writer_stop(km_writer *w) {
    if (!w->started) {
        return;
    }
    pthread_mutex_lock(&w->mutex);
    w->quit = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->mutex);
    pthread_join(w->thread, NULL);
    pthread_cond_destroy(&w->news);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->mutex);
    w->started = false;
}

void km_writer_give(km_writer *w, const km_piece *piece) {
    pthread_mutex_lock(&w->mutex);
    w->queue[w->given++ % KM_PIECES_IN_FLIGHT] = *piece;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->mutex);
}

uint64_t km_writer_written(km_writer *w) {
    pthread_mutex_lock(&w->mutex);
    uint64_t written = w->written;
    pthread_mutex_unlock(&w->mutex);
    return written;
}

void km_writer_set_phase(km_writer *w, km_save_phase phase) {
    pthread_mutex_lock(&w->mutex);
    w->phase = phase;
    if (phase == KM_SAVE_PIECES) {
        w->given = w->written = 0;
    }
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->mutex);
}

km_save_phase km_writer_phase(km_writer *w) {
    pthread_mutex_lock(&w->mutex);
    km_save_phase phase = w->phase;
    pthread_mutex_unlock(&w->mutex);
    return phase;
}

void km_writer_wait(km_writer *w) {
    const double millisecond = 1e-3;
    struct timespec until = km_clock_after(CLOCK_MONOTONIC, millisecond);
    pthread_mutex_lock(&w->mutex);
    if (w->phase != KM_SAVE_OVER) {
        (void)pthread_cond_timedwait(&w->news, &w->mutex, &until);
    }
    pthread_mutex_unlock(&w->mutex);
}
