/* mark: a policy marks all rows of a corpus. The ranks share the rows, in groups that depend on the rows alone, so that the marks have
 * the same bits on any number of ranks and threads. */
#include "kmask/policy.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { GROUP = 16 }; /* rows that a thread computes together */

typedef struct marking {
    const km_policy *policy;
    const km_mark_request *request;
    km_marks_key key;
    km_marks *marks;
    uint64_t first_group, groups; /* this rank's */
    atomic_ullong next;
    km_error *errors; /* (threads) */
} marking;

/* What one thread works with. */
typedef struct worker {
    marking *job;
    km_policy_work *work;
    km_row *rows[GROUP];
    int32_t *starts, *ids;
    void *bytes;
} worker;

/* ---- One group of rows ---- */

static void mark_spans(const worker *w, const km_row *row, const float *logits) {
    const km_policy *policy = w->job->policy;
    const km_span_rule rule = {.allowed = row->maskable,
                               .starts_word = policy->whole_words ? row->starts_word : NULL,
                               .longest = (int)policy->longest};
    (void)km_span_best(w->bytes, w->job->request->kept, logits, &rule, row->length);
}

static void mark_tokens(const worker *w, const km_row *row, const float *logits) {
    int16_t *marks = w->bytes;
    for (int t = 0; t < row->length; t++) {
        marks[t] = row->maskable[t] ? km_mark_of(logits[2 * t + 1] - logits[2 * t]) : 0;
    }
}

/* The number of a row, by its place among those to mark. */
static uint64_t number_of(const worker *w, uint64_t place) {
    const km_marks_key *key = &w->job->key;
    return key->numbers != NULL ? key->numbers[place] : key->first + place;
}

static km_stream read_rows(worker *w, uint64_t first, int count, km_status *status) {
    w->starts[0] = 0;
    for (int i = 0; i < count && *status == KM_OK; i++) {
        const km_row *row = w->rows[i];
        *status = km_rows_read(w->job->request->rows, number_of(w, first + (uint64_t)i), w->rows[i]);
        memcpy(w->ids + w->starts[i], row->ids, *status == KM_OK ? (size_t)row->length * sizeof *w->ids : 0);
        w->starts[i + 1] = w->starts[i] + (*status == KM_OK ? row->length : 0);
    }
    return (km_stream){.tokens = *status == KM_OK ? w->starts[count] : 0, .starts = w->starts, .ids = w->ids};
}

static km_status check_ids(const worker *w, const km_stream *stream) {
    const int V = km_policy_net_shape(w->job->policy->net)->V;
    for (int i = 0; i < stream->tokens; i++) {
        if (stream->ids[i] < 0 || stream->ids[i] >= V) {
            return km_fail(KM_FAILED, "%s: token id %d is not one of the policy's %d",
                           km_corpus_path(w->job->request->corpus), (int)stream->ids[i], V);
        }
    }
    return KM_OK;
}

static km_status mark_group(worker *w, uint64_t group) {
    const marking *job = w->job;
    const uint64_t first = group * GROUP; /* among the rows to mark */
    const int count = (int)KM_MIN((uint64_t)GROUP, job->key.count - first);
    km_status status = KM_OK;
    const km_stream stream = read_rows(w, first, count, &status);
    KM_TRY(status);
    KM_TRY(check_ids(w, &stream));
    const float *logits = km_policy_forward(job->policy->net, job->policy->weights, &stream, count, w->work);
    for (int i = 0; i < count; i++) {
        memset(w->bytes, 0, job->key.stride);
        (job->key.kind == KM_MARKS_SPANS ? mark_spans : mark_tokens)(w, w->rows[i], logits + 2 * stream.starts[i]);
        KM_TRY(km_marks_write(job->marks, w->rows[i]->number, w->bytes));
    }
    return KM_OK;
}

/* ---- Threads ---- */

static km_status prepare(worker *w) {
    const int length = km_rows_length(w->job->request->rows);
    for (int i = 0; i < GROUP; i++) {
        w->rows[i] = km_row_create(length);
    }
    w->starts = km_new(GROUP + 1, sizeof *w->starts);
    w->ids = km_new((size_t)GROUP * (size_t)length, sizeof *w->ids);
    w->bytes = km_new(w->job->key.stride, 1);
    return km_policy_work_create(&w->work, w->job->policy->net, GROUP * length, GROUP);
}

static void release(worker *w) {
    for (int i = 0; i < GROUP; i++) {
        km_row_destroy(w->rows[i]);
    }
    km_policy_work_destroy(w->work);
    free(w->starts);
    free(w->ids);
    free(w->bytes);
}

static void run_worker(void *payload, int number) {
    marking *job = payload;
    worker w = {.job = job};
    km_status status = prepare(&w);
    while (status == KM_OK) {
        const uint64_t group = atomic_fetch_add(&job->next, 1);
        if (group >= job->groups) {
            break;
        }
        status = mark_group(&w, job->first_group + group);
    }
    km_error_copy(&job->errors[number], status);
    release(&w);
}

static km_status mark_share(marking *job, int threads) {
    km_pool *pool = NULL;
    KM_TRY(km_pool_create(&pool, threads));
    job->errors = km_new((size_t)threads, sizeof *job->errors);
    km_pool_run(pool, run_worker, job);
    km_pool_destroy(pool);
    km_status status = KM_OK;
    for (int i = 0; i < threads; i++) {
        status = status == KM_OK ? km_error_raise(&job->errors[i]) : status;
        km_error_clear(&job->errors[i]);
    }
    free(job->errors);
    return status;
}

/* ---- The file ---- */

static int rank_of(km_comm *comm) {
    return comm != NULL ? km_comm_rank(comm) : 0;
}

static km_status agree(km_comm *comm, km_status status) {
    return comm != NULL ? km_comm_agree(comm, status) : status;
}

/* Rank 0 begins the file, which the others then find. */
static km_status begin(marking *job, km_comm *comm, const char *path) {
    const bool root = rank_of(comm) == 0;
    KM_TRY(agree(comm, root ? km_marks_begin(&job->marks, path, &job->key, true) : KM_OK));
    return agree(comm, root ? KM_OK : km_marks_begin(&job->marks, path, &job->key, false));
}

static km_status make(marking *job, km_comm *comm, const char *path) {
    const uint64_t groups = (job->key.count + GROUP - 1) / GROUP;
    const double start = km_seconds();
    KM_TRY(begin(job, comm, path));
    km_share(&job->first_group, &job->groups, groups, rank_of(comm), comm != NULL ? km_comm_size(comm) : 1);
    KM_TRY(agree(comm, mark_share(job, job->request->threads)));
    KM_TRY(agree(comm, rank_of(comm) == 0 ? km_marks_commit(job->marks) : KM_OK));
    km_marks_close(job->marks);
    job->marks = NULL;
    if (job->request->folder != NULL) {
        char duration[32];
        const double seconds = km_seconds() - start;
        km_log("marked %llu rows by %s in %s: %.0f rows a second", (unsigned long long)job->key.count,
               job->request->model, km_duration(duration, seconds), (double)job->key.count / KM_MAX(seconds, 1e-9));
    }
    return KM_OK;
}

/* The name of the file: what it depends on. */
static char *path_of(const marking *job) {
    char hash[33];
    km_hasher *hasher = km_hasher_create();
    km_hasher_add(hasher, &job->key.rows, sizeof job->key.rows);
    km_hasher_add(hasher, &job->key.policy, sizeof job->key.policy);
    km_hasher_add(hasher, &job->key.stride, sizeof job->key.stride);
    km_hash_text(hash, km_hasher_end(hasher));
    return km_format("%s/marks-%.16s.idx", job->request->folder, hash);
}

static km_status open_or_make(marking *job, km_comm *comm, km_marks **out) {
    char *path = path_of(job);
    const bool there = rank_of(comm) == 0 && km_marks_open(out, path, &job->key);
    int64_t found = there;
    km_comm_sum(comm, &found, 1);
    km_status status = found > 0 ? KM_OK : make(job, comm, path);
    if (status == KM_OK && *out == NULL && !km_marks_open(out, path, &job->key)) {
        status = km_fail(KM_FAILED,
                         "%s: was made, but cannot be read by this rank. The run folder must be one that "
                         "all ranks share.",
                         path);
    }
    free(path);
    return km_comm_agree(comm, status);
}

/* ---- Requests ---- */

static km_status check_policy(const km_policy *policy, const km_mark_request *request) {
    const char *kind = km_policy_kind_name(km_policy_net_shape(policy->net)->kind);
    if (policy->tokenizer == NULL) {
        return km_fail(KM_USAGE, "mask.model: %s has no tokenizer, expected a file that `kmask policy train` made",
                       request->model);
    }
    if (strcmp(kind, request->policy) != 0) {
        return km_fail(KM_USAGE, "mask.model: %s is a policy of kind %s, but mask.policy is %s", request->model,
                       kind, request->policy);
    }
    if (!km_hash_equal(km_tokenizer_hash(policy->tokenizer),
                       km_tokenizer_hash(km_corpus_tokenizer(request->corpus)))) {
        return km_fail(KM_USAGE,
                       "mask.model: %s was trained with another tokenizer than that of the corpus %s. Build the "
                       "corpus again with its tokenizer, or train the policy with this one.",
                       request->model, km_corpus_path(request->corpus));
    }
    return KM_OK;
}

/* The policy's part of the key: its weights, and how spans are chosen. */
static km_hash hash_of(const km_policy *policy) {
    km_hasher *hasher = km_hasher_create();
    km_hasher_add(hasher, &policy->weights_hash, sizeof policy->weights_hash);
    km_hasher_add(hasher, &policy->longest, sizeof policy->longest);
    km_hasher_add(hasher, &policy->whole_words, sizeof policy->whole_words);
    return km_hasher_end(hasher);
}

static km_marks_key key_of(const km_policy *policy, const km_mark_request *request) {
    km_marks_key key = {.kind = km_policy_net_shape(policy->net)->kind == KM_POLICY_SUPERVISED ? KM_MARKS_SPANS
                                                                                               : KM_MARKS_TOKENS,
                        .rows = km_rows_hash(request->rows),
                        .policy = hash_of(policy),
                        .first = request->first,
                        .count = request->count,
                        .numbers = request->numbers};
    key.stride = km_marks_stride(key.kind, request->kept, km_rows_length(request->rows));
    return key;
}

static void count_work(const marking *job) {
    const km_mark_request *request = job->request;
    char *path = request->folder != NULL ? path_of(job) : NULL;
    km_marks *found = NULL;
    const bool there = path != NULL && km_marks_open(&found, path, &job->key);
    km_marks_close(found);
    free(path);
    *request->flops =
        there ? 0
              : (double)request->count * (double)km_rows_length(request->rows) * km_policy_flops(job->policy->net);
}

static km_status make_unnamed(marking *job, km_marks **out) {
    KM_TRY(km_marks_begin(&job->marks, NULL, &job->key, true));
    job->groups = (job->key.count + GROUP - 1) / GROUP;
    KM_TRY(mark_share(job, job->request->threads));
    KM_TRY(km_marks_commit(job->marks));
    *out = job->marks;
    job->marks = NULL;
    return KM_OK;
}

km_status km_policy_mark(km_comm *comm, const km_mark_request *request, km_marks **out) {
    km_policy *policy = NULL;
    *out = NULL;
    km_kernel_start();
    km_status status = km_policy_open(&policy, request->model);
    status = status == KM_OK ? check_policy(policy, request) : km_context(KM_USAGE, "mask.model");
    status = agree(comm, status);
    if (status == KM_OK) {
        marking job = {.policy = policy, .request = request, .key = key_of(policy, request)};
        if (request->flops != NULL) {
            count_work(&job);
        }
        if (request->folder == NULL) {
            status = make_unnamed(&job, out);
        } else if (comm != NULL) {
            status = open_or_make(&job, comm, out);
        }
        km_marks_close(job.marks);
    }
    km_policy_close(policy);
    return status;
}
