/* save: the main thread's side of a save, on every rank. It copies what the rank owns, sends the copy to rank 0 while training goes on,
 * and on rank 0 hands the pieces to the writer (save_write.c) and learns how it ended. */
#include "save.h"
#include "checkpoint_files.h"
#include "save_private.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    SHARES = 8, /* steps that the sending of a save is spread over */
    RETRY_FIRST = 10,
    RETRY_MOST = 180 /* seconds until a save that failed is tried again: at first, and at most */
};

struct km_saver {
    km_saver_options options;
    km_metrics *metrics;
    km_pieces *pieces;
    float *copy;         /* the elements that this rank owns, in the order of km_state_parts */
    bool active;         /* this rank still has something to do for the save begun last */
    bool confirming;     /* within km_saver_confirm, whose caller says what a failure leads to */
    int64_t shares_left; /* rank 0: shares of the pieces whose sending has not been allowed yet */
    double begun;        /* by km_seconds */
    /* Rank 0. */
    bool next_is_best; /* see km_saver_keep_best */
    double seconds;    /* see km_saver_seconds */
    km_error failure;  /* of the last save */
    double retry_at;   /* infinite: no checkpoint is missing */
    double retry_wait;
    double waited, tell_at; /* seconds spent waiting for the save before, and how many of them are logged next */
    km_writer writer;
};

static bool is_root(const km_saver *s) {
    return km_comm_rank(s->options.comm) == 0;
}

/* ---- Create, destroy ---- */

size_t km_saver_bytes(const km_state *state, int rank, int ranks) {
    const size_t largest = km_state_elements(state, false, 0, ranks); /* rank 0 owns most */
    return km_state_elements(state, false, rank, ranks) * sizeof(float) + km_pieces_bytes(ranks, rank, largest);
}

/* How many elements each rank has to send; the caller frees. */
static size_t *elements_of_ranks(const km_saver *s, bool weights_only) {
    const int ranks = km_comm_size(s->options.comm);
    size_t *counts = km_new((size_t)ranks, sizeof *counts);
    for (int rank = 0; rank < ranks; rank++) {
        counts[rank] = km_state_elements(&s->options.state, weights_only, rank, ranks);
    }
    return counts;
}

static km_status make_pieces(km_saver *s) {
    size_t *most = elements_of_ranks(s, false);
    km_status status = km_pieces_create(&s->pieces, s->options.comm, most);
    free(most);
    return status;
}

static km_status make_own(km_saver *s) {
    const km_comm *comm = s->options.comm;
    size_t elements = km_state_elements(&s->options.state, false, km_comm_rank(comm), km_comm_size(comm));
    KM_TRY(
        km_allocate((void **)&s->copy, elements * sizeof(float), "the copy that is saved while training goes on"));
    return is_root(s) ? km_writer_start(&s->writer) : KM_OK;
}

km_status km_saver_create(km_saver **out, const km_saver_options *options) {
    km_saver *s = km_new(1, sizeof *s);
    s->options = *options;
    s->retry_at = INFINITY;
    s->writer.state = &s->options.state;
    s->writer.ranks = km_comm_size(options->comm);
    s->writer.dir = options->config->run.dir;
    s->writer.keep = options->config->checkpoint.keep;
    km_status status = make_pieces(s);
    if (status == KM_OK) {
        status = km_comm_agree(options->comm, make_own(s));
    }
    if (status != KM_OK) {
        km_saver_destroy(s);
        s = NULL;
    }
    *out = s;
    return status;
}

void km_saver_set_metrics(km_saver *s, km_metrics *metrics) {
    s->metrics = metrics;
}

void km_saver_destroy(km_saver *s) {
    if (s == NULL) {
        return;
    }
    km_saver_finish(s);
    km_writer_stop(&s->writer);
    km_pieces_destroy(s->pieces);
    km_error_clear(&s->failure);
    free(s->copy);
    free(s);
}

/* ---- Begin ---- */

/* A worker's share of a part: some buckets' weights, or a run of the moments. */
static void copy_part(float *to, const km_state_part *part, int rank, int worker, int workers) {
    const km_parameters *p = part->trained->parameters;
    uint64_t from = 0, number = 0;
    switch (part->group) {
    case KM_WEIGHTS:
        for (int b = worker; b < km_exchange_buckets(p->exchange); b += workers) {
            size_t first = 0, count = 0, local = 0;
            km_exchange_part(p->exchange, b, rank, &first, &count, &local);
            memcpy(to + local, p->weights + first, count * sizeof(float));
        }
        break;
    default:
        km_share(&from, &number, part->count, worker, workers);
        memcpy(to + from, (part->group == KM_FIRST_MOMENTS ? p->m : p->v) + from, number * sizeof(float));
        break;
    }
}

static void copy_job(void *payload, int worker) {
    km_saver *s = payload;
    const km_comm *comm = s->options.comm;
    const int rank = km_comm_rank(comm), workers = km_pool_workers(s->options.pool);
    km_state_part parts[KM_STATE_PARTS];
    const int count = km_state_parts(parts, &s->options.state, false, rank, km_comm_size(comm));
    float *to = s->copy;
    for (int i = 0; i < count; i++) {
        copy_part(to, &parts[i], rank, worker, workers);
        to += parts[i].count;
    }
}

static km_checkpoint_facts facts_of(const km_saver *s, int64_t step, bool weights_only, km_hash hash) {
    return (km_checkpoint_facts){.config = s->options.config,
                                 .state = &s->options.state,
                                 .corpus = s->options.corpus,
                                 .step = step,
                                 .weights_only = weights_only,
                                 .hash = hash};
}

/* Begins one of the two files. ready: whether what comes before it went well; its failure is also the file's. */
static void open_file(km_saver *s, int which, char *path, km_hash hash, km_status ready) {
    km_save_file *file = &s->writer.files[which];
    file->path = path;
    file->weights_only = which == KM_SAVE_SNAPSHOT;
    km_status status = ready != KM_OK ? ready : km_fault("save.open");
    if (status == KM_OK) {
        const km_checkpoint_facts facts = facts_of(s, s->writer.step, file->weights_only, hash);
        status = km_checkpoint_create(&file->store, &facts, path);
    }
    if (status != KM_OK) {
        km_save_fail(file, status);
    }
}

static void open_files(km_saver *s, int64_t step, bool checkpoint, bool snapshot, km_hash hash, km_status ready) {
    const char *dir = s->writer.dir;
    s->writer.step = step;
    s->writer.best = s->next_is_best;
    s->next_is_best = false;
    if (ready == KM_OK) { /* after a crash the log must have a line for every step up to the checkpoint */
        ready = km_metrics_sync(s->metrics);
    }
    if (snapshot) {
        open_file(s, KM_SAVE_SNAPSHOT, km_snapshot_path(dir, step), hash, ready);
    }
    if (checkpoint) {
        open_file(s, KM_SAVE_CHECKPOINT, km_checkpoint_path(dir, step), hash, ready);
    }
    km_writer_set_phase(&s->writer, KM_SAVE_PIECES);
}

/* Where saves are asked for faster than they are written, training waits here. That is logged at first, and then whenever the time spent
 * waiting has doubled. */
static void wait_for_last(km_saver *s, int64_t step) {
    bool waits = s->active;
    int64_t last = s->writer.step;
    double start = km_seconds();
    km_saver_finish(s);
    s->waited += waits ? km_seconds() - start : 0;
    if (waits && is_root(s) && s->waited >= s->tell_at) {
        char text[32];
        km_log(
            "step %lld waited for the save of step %lld: saves come faster than they are written (%s of waiting so "
            "far). A larger checkpoint.every avoids it.",
            (long long)step, (long long)last, km_duration(text, s->waited));
        s->tell_at = 2 * s->waited + 1;
    }
}

static int64_t shares_of(const km_config *config) {
    return KM_MAX(KM_MIN((int64_t)SHARES, config->checkpoint.every / 2), 1);
}

void km_saver_keep_best(km_saver *s) {
    s->next_is_best = true;
}

void km_saver_begin(km_saver *s, int64_t step, bool checkpoint, bool snapshot, km_hash hash) {
    wait_for_last(s, step);
    s->begun = km_seconds();
    km_status status = km_fault("save.snapshot");
    km_pool_run(s->options.pool, copy_job, s);
    if (is_root(s)) {
        open_files(s, step, checkpoint, snapshot, hash, status);
    }
    s->active = true;
    size_t *counts = elements_of_ranks(s, !checkpoint);
    km_pieces_begin(s->pieces, s->copy, counts, status == KM_OK);
    free(counts);
    s->shares_left = shares_of(s->options.config);
    km_saver_after_step(s);
}

/* ---- While training goes on ---- */

static void hand_over(km_saver *s) {
    km_piece piece;
    km_pieces_release(s->pieces, km_writer_written(&s->writer));
    km_pieces_poll(s->pieces);
    while (km_pieces_take(s->pieces, &piece)) {
        km_writer_give(&s->writer, &piece);
    }
    if (km_pieces_over(s->pieces)) {
        km_writer_set_phase(&s->writer, KM_SAVE_COMMIT);
    }
}

void km_saver_poll(void *saver) {
    km_saver *s = saver;
    if (!s->active) {
        return;
    }
    if (!is_root(s)) {
        km_pieces_poll(s->pieces);
        s->active = !km_pieces_over(s->pieces);
    } else if (km_writer_phase(&s->writer) == KM_SAVE_PIECES) {
        hand_over(s);
    }
}

/* ---- The result ---- */

/* *out: the failures of both files in one sentence, of the kind of the first. A failure that both have in common is said once. */
static void join_failures(km_error *out, const km_writer *w) {
    km_buffer text = {0};
    const km_error *said = NULL;
    km_error_clear(out);
    for (int i = 0; i < KM_SAVE_FILES; i++) {
        const km_error *error = &w->files[i].error;
        if (error->status == KM_OK || (said != NULL && strcmp(said->message, error->message) == 0)) {
            continue;
        }
        km_buffer_print(&text, "%sstep %lld: no %s was saved: %s", said != NULL ? "; " : "", (long long)w->step,
                        i == KM_SAVE_SNAPSHOT ? "snapshot" : "checkpoint", error->message);
        said = said != NULL ? said : error;
    }
    if (said != NULL) {
        *out = (km_error){.status = KM_FAILED, .kind = said->kind, .message = text.data};
    }
}

static void plan_retry(km_saver *s, bool failed) {
    s->retry_wait = failed ? KM_MIN(KM_MAX(2 * s->retry_wait, RETRY_FIRST), RETRY_MOST) : 0;
    s->retry_at = !failed ? INFINITY : s->writer.freed ? km_seconds() : km_seconds() + s->retry_wait;
}

static void log_result(const km_saver *s, bool tried, bool retried) {
    const km_writer *w = &s->writer;
    const km_save_file *checkpoint = &w->files[KM_SAVE_CHECKPOINT];
    char wait[32];
    if (s->failure.status != KM_OK) {
        km_warn("%s%s", s->failure.message,
                w->freed ? "; all checkpoints but the newest valid one were removed to make room" : "");
        if (tried && checkpoint->error.status != KM_OK && !s->confirming) {
            km_log("the save is tried again in %s at most", km_duration(wait, w->freed ? 0 : s->retry_wait));
        }
    } else if (tried && retried) {
        km_log("step %lld: saved again: %s", (long long)w->step, checkpoint->path);
    }
}

/* On rank 0, once the writer has ended: logs the result, plans another try, and makes the writer ready for the next save. */
static void take_result(km_saver *s) {
    km_writer *w = &s->writer;
    const bool tried = w->files[KM_SAVE_CHECKPOINT].path != NULL, retried = !isinf(s->retry_at);
    join_failures(&s->failure, w);
    if (tried) {
        plan_retry(s, w->files[KM_SAVE_CHECKPOINT].error.status != KM_OK);
    }
    if (tried && s->failure.status == KM_OK) {
        s->seconds = km_seconds() - s->begun;
    }
    log_result(s, tried, retried);
    for (int i = 0; i < KM_SAVE_FILES; i++) {
        free(w->files[i].path);
        km_error_clear(&w->files[i].error);
        w->files[i] = (km_save_file){0};
    }
    km_writer_set_phase(w, KM_SAVE_IDLE);
    s->active = false;
}

void km_saver_after_step(km_saver *s) {
    if (!s->active) {
        return;
    }
    if (is_root(s) && s->shares_left > 0) {
        size_t all = km_pieces_elements(s->pieces), shares = (size_t)shares_of(s->options.config);
        km_pieces_allow(s->pieces, s->shares_left == 1 ? SIZE_MAX : all / shares + 1);
        s->shares_left--;
    }
    km_saver_poll(s);
    if (is_root(s) && km_writer_phase(&s->writer) == KM_SAVE_OVER) {
        take_result(s);
    }
}

void km_saver_finish(km_saver *s) {
    if (!s->active) {
        return;
    }
    if (!is_root(s)) {
        km_pieces_finish(s->pieces);
        s->active = false;
        return;
    }
    s->shares_left = 0;
    km_pieces_allow(s->pieces, SIZE_MAX);
    while (s->active) {
        km_saver_after_step(s);
        if (s->active) {
            km_writer_wait(&s->writer);
        }
    }
}

km_status km_saver_confirm(km_saver *s) {
    s->confirming = true;
    km_saver_finish(s);
    s->confirming = false;
    return km_comm_agree(s->options.comm, is_root(s) ? km_error_raise(&s->failure) : KM_OK);
}

bool km_saver_wants_retry(const km_saver *s) {
    return is_root(s) && !s->active && km_seconds() >= s->retry_at;
}

double km_saver_seconds(const km_saver *s) {
    return s->seconds;
}

/* ---- Room on the disk ---- */

/* Bytes of one checkpoint: a file is laid out, with the place of every array in it, and removed again. */
static km_status measure_file(const km_saver *s, uint64_t *bytes) {
    char *path = km_format("%s/checkpoints/room", s->writer.dir);
    km_store *store = NULL;
    const km_checkpoint_facts facts = facts_of(s, 0, false, (km_hash){0, 0});
    km_status status = km_checkpoint_create(&store, &facts, path);
    if (status == KM_OK) {
        *bytes = km_store_file_size(store);
        km_store_abandon(store);
    }
    free(path);
    return status;
}

km_status km_saver_prove_room(km_saver *s) {
    uint64_t bytes = 0;
    KM_TRY(measure_file(s, &bytes));
    return km_prove_room(s->options.config, bytes, &s->seconds);
}
