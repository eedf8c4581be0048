/* doctor: the order of the checks, on every rank. Texts go by the rendezvous, so that nothing hangs where hosts do not reach
 * each other.
 *
 *   1  gather      every rank sends rank 0 the facts about itself and its host
 *   2  broadcast   rank 0 finds out which ranks share a host, and sends all ranks the list of hosts
 *   3  gather      all ranks multiply matrices at once; the lowest rank of each host connects to all other hosts over TCP
 *   4  gather      if all hosts reach all others: pairs of hosts exchange MPI messages, in rounds
 *   5              rank 0 judges what it has been told, and shows the report */
#include "doctor.h"

#include "kmask/kernel.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_ROUNDS = 31 };

typedef struct doctor {
    const km_doctor_options *options;
    int *argc; /* for MPI_Init */
    char ***argv;
    km_rendezvous *rendezvous;
    km_connection_server *server;
    km_host_check check; /* used on rank 0 only */
    km_json *list;       /* of hosts, from rank 0 */
    int self;            /* the number of this rank's host, on its lowest rank; else -1 */
    bool out_of_reach;   /* a text from rank 0 did not come in time */
} doctor;

/* Reports on this rank that rank 0 cannot be reached. Everything else is reported by rank 0, which cannot know of this. */
static void report_out_of_reach(const doctor *d) {
    km_process self = km_process_self();
    fprintf(stderr,
            "kmask: rank %d on %s: nothing came from rank 0 within %g s: the two do not reach each other, or "
            "do not share the folder %s, in which rank 0 leaves what ranks under srun know each other by\n",
            km_rendezvous_rank(d->rendezvous), self.host, KM_TEXT_LIMIT, d->options->folder);
}

static bool take_list(doctor *d, char *text) {
    km_json_destroy(d->list);
    d->list = km_facts_parse(text);
    d->out_of_reach = text == NULL;
    free(text);
    return d->list != NULL;
}

static int find_self(const doctor *d) {
    int host = 0;
    const km_json *entry = km_json_first(km_json_get(d->list, "hosts"));
    for (; entry != NULL; entry = km_json_next(entry), host++) {
        if ((int)km_json_number_or(entry, "rank", 0) == km_rendezvous_rank(d->rendezvous)) {
            return host;
        }
    }
    return -1;
}

/* Step 4: pairs of hosts exchange messages, round by round. Every rank takes part in the broadcast and the gather of each round,
 * which separate it from the next. */
static void exchange_messages(doctor *d) {
    int hosts = (int)km_json_size(km_json_get(d->list, "hosts"));
    int rounds = hosts == 1 ? 1 : KM_MIN(hosts - 1 + hosts % 2, MOST_ROUNDS);
    double limit = KM_TEXT_LIMIT + 2 * KM_MESSAGE_LIMIT;
    bool good = true;
    for (int round = 0; round < rounds; round++) {
        char *go = km_rendezvous_broadcast(d->rendezvous, good ? "go" : "stop", limit);
        d->out_of_reach = go == NULL;
        bool goes = go != NULL && strcmp(go, "go") == 0;
        free(go);
        if (!goes) {
            return;
        }
        char *mine = km_rank_exchange_messages(d->rendezvous, d->list, d->self, round);
        char **texts = km_rendezvous_gather(d->rendezvous, mine, limit);
        free(mine);
        good = texts == NULL || km_host_check_record_messages(&d->check, texts);
    }
}

/* Makes a file in rank 0's run folder, for which the other hosts look, to find out whether they have the same folder. Returns
 * its path, which the caller frees; NULL where it cannot be made, which km_judge_folder reports. */
static char *make_file(const km_doctor_options *options) {
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

/* Steps 3 and 4. */
static void test_all(doctor *d) {
    bool root = km_rendezvous_rank(d->rendezvous) == 0;
    d->self = find_self(d);
    char *found = km_rank_measure(d->list, d->self);
    char **texts = km_rendezvous_gather(d->rendezvous, found, KM_TEXT_LIMIT + KM_CONNECT_LIMIT);
    free(found);
    bool all_reached = root && km_host_check_record_connections(&d->check, texts);
    char *news = km_rendezvous_broadcast(d->rendezvous, all_reached ? "reached" : "not reached", 2 * KM_TEXT_LIMIT);
    d->out_of_reach = news == NULL;
    bool goes_on = news != NULL && strcmp(news, "reached") == 0 && km_rendezvous_size(d->rendezvous) > 1;
    if (goes_on && km_rendezvous_start_mpi(d->rendezvous, d->argc, d->argv) == KM_OK) {
        exchange_messages(d);
    }
    free(news);
}

/* Steps 1 to 4. */
static void gather_facts(doctor *d) {
    char *facts = km_rank_describe(d->server), *list = NULL, *file = NULL;
    char **texts = km_rendezvous_gather(d->rendezvous, facts, KM_TEXT_LIMIT);
    free(facts);
    if (km_rendezvous_rank(d->rendezvous) == 0) {
        km_host_check_add_ranks(&d->check, texts);
        file = d->check.hosts > 1 ? make_file(d->options) : NULL;
        list = km_host_check_list(&d->check, file);
    }
    if (take_list(d, km_rendezvous_broadcast(d->rendezvous, list, 2 * KM_TEXT_LIMIT))) {
        test_all(d);
    }
    if (file != NULL) {
        (void)unlink(file);
    }
    free(file);
    free(list);
}

/* Step 5, on rank 0. */
static km_status judge(doctor *d, km_doctor_show *show, void *payload) {
    km_host_check *check = &d->check;
    char *transport = km_comm_transport();
    if (transport != NULL) {
        km_json_set_string(check->report, "transport", transport);
    }
    free(transport);
    km_judge_hosts(check);
    km_judge_binding(check);
    km_judge_job(check, km_judge_folder(check));
    size_t problems = km_json_size(check->problems);
    km_json_set_boolean(check->report, "well", problems == 0);
    km_json_set(check->report, "problems", check->problems);
    km_json_set(check->report, "notes", check->notes);
    show(payload, check->report);
    fflush(stdout);
    return problems == 0 ? KM_OK : km_fail(KM_FAILED, "%zu problem(s) found", problems);
}

/* Lets the ranks end together. No rank ends before rank 0 has shown the report, since a launcher may end the job when the first
 * rank ends. Rank 0 does not end before all other ranks know that they may, since the text server is a thread of its process. */
static void finish(const doctor *d) {
    const double farewell = 3;
    char *end = km_rendezvous_broadcast(d->rendezvous, "end", d->out_of_reach ? 0 : 6 * KM_TEXT_LIMIT);
    char **texts = km_rendezvous_gather(d->rendezvous, "bye", farewell);
    for (int rank = 0; texts != NULL && rank < d->check.ranks; rank++) {
        free(texts[rank]);
    }
    free(texts);
    free(end);
}

km_status km_doctor(int *argc, char ***argv, const km_doctor_options *options, km_doctor_show *show,
                    void *payload) {
    doctor d = {.options = options, .argc = argc, .argv = argv, .self = -1};
    km_kernel_start();
    km_status status = km_rendezvous_open(&d.rendezvous, argc, argv, options->folder);
    if (status == KM_OK) {
        status = km_connection_server_open(&d.server);
    }
    if (status == KM_OK) {
        km_host_check_open(&d.check, options, km_rendezvous_size(d.rendezvous));
        gather_facts(&d);
        status = km_rendezvous_rank(d.rendezvous) == 0 ? judge(&d, show, payload) : KM_OK;
        finish(&d);
        if (d.out_of_reach) {
            report_out_of_reach(&d);
        }
        km_host_check_close(&d.check);
    }
    km_json_destroy(d.list);
    km_connection_server_close(d.server);
    km_rendezvous_close(d.rendezvous);
    return status;
}
