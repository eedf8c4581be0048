/* doctor: what all ranks say of themselves, and what is found between them, as one report of rank 0's.
 *
 *   1  every rank describes itself           gather   through the launcher: nothing is sent over MPI yet
 *   2  rank 0: which ranks share a host      spread
 *   3  all multiply matrices at once; the lowest rank of each host calls on all other hosts over TCP     gather
 *   4  where all reach all: pairs of hosts exchange messages over MPI, in rounds                         gather
 *   5  rank 0 judges */
#include "doctor.h"

#include "kmask/kernel.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_ROUNDS = 31 };

typedef struct visit { /* one rank's part */
    const km_doctor_options *options;
    int *argc; /* for MPI */
    char ***argv;
    km_star *star;
    km_door *door;
    km_ward ward;  /* rank 0 */
    km_json *book; /* what rank 0 told */
    int self;      /* this rank's host, where it is its lowest rank; else -1 */
    bool out_of_reach;
} visit;

/* Rank 0 speaks for all but this. */
static void complain(const visit *v) {
    km_process self = km_process_self();
    fprintf(stderr, "kmask: rank %d on %s: nothing came from rank 0 within %g s: the two do not reach each other\n",
            km_star_rank(v->star), self.host, KM_TEXT_LIMIT);
}

static bool hear(visit *v, char *text) {
    km_json_destroy(v->book);
    v->book = km_words_parse(text);
    v->out_of_reach = text == NULL;
    free(text);
    return v->book != NULL;
}

static int find_self(const visit *v) {
    int host = 0;
    const km_json *entry = km_json_first(km_json_get(v->book, "hosts"));
    for (; entry != NULL; entry = km_json_next(entry), host++) {
        if ((int)km_json_number_or(entry, "rank", 0) == km_star_rank(v->star)) {
            return host;
        }
    }
    return -1;
}

/* Pairs, round by round; every rank takes part in the texts. */
static void hold_meetings(visit *v) {
    int hosts = (int)km_json_size(km_json_get(v->book, "hosts"));
    int rounds = hosts == 1 ? 1 : KM_MIN(hosts - 1 + hosts % 2, MOST_ROUNDS);
    double limit = KM_TEXT_LIMIT + 2 * KM_PING_LIMIT;
    bool good = true;
    for (int round = 0; round < rounds; round++) {
        char *go = km_star_spread(v->star, good ? "go" : "stop", limit);
        v->out_of_reach = go == NULL;
        bool goes = go != NULL && strcmp(go, "go") == 0;
        free(go);
        if (!goes) {
            return;
        }
        char *mine = km_patient_meet(v->star, v->book, v->self, round);
        char **texts = km_star_gather(v->star, mine, limit);
        free(mine);
        good = texts == NULL || km_ward_record_meetings(&v->ward, texts);
    }
}

/* Rank 0's file that the other hosts are to see; NULL: none can be made, which is told elsewhere. The caller frees. */
static char *leave_token(const km_doctor_options *options) {
    km_folder_report report;
    if (km_folder_measure(&report, options->folder, 0.01) != KM_OK) {
        return NULL;
    }
    char *full = realpath(report.path, NULL);
    char *path = km_format("%s/.kmask-doctor-%lld", full != NULL ? full : report.path, (long long)getpid());
    free(full);
    if (km_file_replace(path, "", 0) != KM_OK) {
        free(path);
        return NULL;
    }
    return path;
}

/* Steps 3 and 4, where rank 0's book has come. */
static void examine_all(visit *v) {
    bool root = km_star_rank(v->star) == 0;
    v->self = find_self(v);
    char *found = km_patient_examine(v->book, v->self);
    char **texts = km_star_gather(v->star, found, KM_TEXT_LIMIT + KM_CALL_LIMIT);
    free(found);
    bool whole = root && km_ward_record_calls(&v->ward, texts);
    char *news = km_star_spread(v->star, root && whole ? "whole" : "parted", 2 * KM_TEXT_LIMIT);
    v->out_of_reach = news == NULL;
    bool meets = news != NULL && strcmp(news, "whole") == 0 && km_star_size(v->star) > 1;
    if (meets && km_star_start_mpi(v->star, v->argc, v->argv) == KM_OK) {
        hold_meetings(v);
    }
    free(news);
}

/* Steps 1 to 4. */
static void round_of_all(visit *v) {
    char *words = km_patient_describe(v->door), *book = NULL, *token = NULL;
    char **texts = km_star_gather(v->star, words, KM_TEXT_LIMIT);
    free(words);
    if (km_star_rank(v->star) == 0) {
        km_ward_admit(&v->ward, texts);
        token = v->ward.hosts > 1 ? leave_token(v->options) : NULL;
        book = km_ward_book(&v->ward, token);
    }
    if (hear(v, km_star_spread(v->star, book, 2 * KM_TEXT_LIMIT))) {
        examine_all(v);
    }
    if (token != NULL) {
        (void)unlink(token);
    }
    free(token);
    free(book);
}

/* Rank 0. */
static km_status judge(visit *v, km_doctor_show *show, void *payload) {
    km_ward *ward = &v->ward;
    char *transport = km_star_transport();
    if (transport != NULL) {
        km_json_set_string(ward->report, "transport", transport);
    }
    free(transport);
    km_judge_hosts(ward);
    km_judge_binding(ward);
    km_judge_job(ward, km_judge_folder(ward));
    size_t problems = km_json_size(ward->problems);
    km_json_set_boolean(ward->report, "well", problems == 0);
    km_json_set(ward->report, "problems", ward->problems);
    km_json_set(ward->report, "notes", ward->notes);
    show(payload, ward->report);
    fflush(stdout);
    return problems == 0 ? KM_OK : km_fail(KM_FAILED, "%zu problem(s) found", problems);
}

/* Nobody leaves before rank 0 has said all, nor rank 0 before all have heard it: the texts go by its host. */
static void leave(const visit *v) {
    const double farewell = 3;
    char *end = km_star_spread(v->star, "end", v->out_of_reach ? 0 : 6 * KM_TEXT_LIMIT);
    char **texts = km_star_gather(v->star, "bye", farewell);
    for (int rank = 0; texts != NULL && rank < v->ward.ranks; rank++) {
        free(texts[rank]);
    }
    free(texts);
    free(end);
}

km_status km_doctor(int *argc, char ***argv, const km_doctor_options *options, km_doctor_show *show,
                    void *payload) {
    visit v = {.options = options, .argc = argc, .argv = argv, .self = -1};
    km_kernel_start();
    km_status status = km_star_open(&v.star, argc, argv);
    if (status == KM_OK) {
        status = km_door_open(&v.door);
    }
    if (status == KM_OK) {
        km_ward_open(&v.ward, options, km_star_size(v.star));
        round_of_all(&v);
        status = km_star_rank(v.star) == 0 ? judge(&v, show, payload) : KM_OK;
        leave(&v);
        if (v.out_of_reach) {
            complain(&v);
        }
        km_ward_close(&v.ward);
    }
    km_json_destroy(v.book);
    km_door_close(v.door);
    km_star_close(v.star);
    return status;
}
