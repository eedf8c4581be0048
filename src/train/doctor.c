/* doctor: what all ranks say of themselves, and what is found between them, as one report of rank 0's.
 *
 *   1  every rank describes itself           gather   through the launcher: nothing is sent over MPI yet
 *   2  rank 0: which ranks share a host      spread
 *   3  all multiply matrices at once; the lowest rank of each host calls on all other hosts over TCP     gather
 *   4  where all reach all: pairs of hosts exchange messages over MPI, in rounds                         gather
 *   5  rank 0 judges */
#include "doctor.h"

#include "kmask/kernel.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Seconds: for a text to come; for a call over TCP; for a pair's messages over MPI. */
static const double text_limit = 20, call_limit = 4, ping_limit = 8;
enum { MOST_ROUNDS = 31, BIG = 4 << 20, BIG_TIMES = 8, SMALL_TIMES = 200 };

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

static double number(const km_json *object, const char *key) {
    return km_json_number_or(object, key, 0);
}

static char *take_text(km_json *json) {
    char *text = km_json_print(json, false);
    km_json_destroy(json);
    return text;
}

static km_json *parse(const char *text) {
    km_json *json = NULL;
    if (text == NULL || km_json_parse(&json, text, strlen(text), "a rank's words") != KM_OK) {
        return NULL;
    }
    return json;
}

/* ---- 1: a rank's words ---- */

static void set_owned(km_json *object, const char *key, char *text) {
    if (text != NULL) {
        km_json_set_string(object, key, text);
    }
    free(text);
}

/* Who multiplies in bf16, and with which instructions; the caller frees. */
static char *bf16_words(void) {
    switch (km_bf16_supported()) {
    case KM_BF16_NOT_BUILT:
        return km_strdup(KM_BF16_WORDS_NOT_BUILT);
    case KM_BF16_NO_CPU:
        return km_strdup(KM_BF16_WORDS_NO_CPU);
    case KM_BF16_SLOW:
        return km_format("%s %s%s", km_kernel_onednn(), km_kernel_isa(), KM_BF16_WORDS_SLOW);
    default:
        return km_format("%s %s", km_kernel_onednn(), km_kernel_isa());
    }
}

static char *describe(const visit *v) {
    km_process self = km_process_self();
    km_cpus cpus, cores;
    km_cpus_allowed(&cpus);
    km_cpus_cores(&cores, &cpus);
    km_json *words = km_json_object();
    const char *forced = getenv("OPENBLAS_CORETYPE"), *better = km_kernel_better_core();
    km_json_set_string(words, "host", self.host);
    set_owned(words, "machine", km_format("%llx", (unsigned long long)self.machine));
    km_json_set_number(words, "pid", (double)self.pid);
    set_owned(words, "cpus", km_cpus_print(&cpus));
    set_owned(words, "cores", km_cpus_print(&cores));
    km_json_set_number(words, "quota", km_cpu_quota());
    set_owned(words, "cpu", km_cpu_name());
    km_json_set_string(words, "blas", km_kernel_blas());
    km_json_set_string(words, "kernel", km_kernel_core());
    km_json_set_string(words, "loops", km_kernel_vector());
    set_owned(words, "bf16", bf16_words());
    km_json_set_boolean(words, "concurrent", km_kernel_concurrent());
    uint64_t room = km_memory_room();
    km_json_set_number(words, "room", room == UINT64_MAX ? 0 : (double)room);
    set_owned(words, "fabric", km_fabric_name());
    if (better != NULL) {
        km_json_set_string(words, "better", better);
    }
    if (forced != NULL) {
        km_json_set_string(words, "forced", forced);
    }
    set_owned(words, "door", km_door_print(v->door));
    return take_text(words);
}

/* ---- 2: hosts ---- */

static int host_of(const km_ward *ward, const km_json *words) {
    for (int host = 0; host < ward->hosts; host++) {
        if (strcmp(km_json_text(ward->patients[ward->leaders[host]].words, "machine"),
                   km_json_text(words, "machine")) == 0) {
            return host;
        }
    }
    return ward->hosts;
}

/* Rank 0: who is there, and on which host. */
static void admit(km_ward *ward, char **texts) {
    for (int rank = 0; rank < ward->ranks; rank++) {
        km_patient *p = &ward->patients[rank];
        p->words = parse(texts[rank]);
        p->absent = p->words == NULL;
        free(texts[rank]);
        if (p->absent) {
            p->host = -1;
            continue;
        }
        p->host = host_of(ward, p->words);
        if (p->host == ward->hosts) {
            ward->leaders[ward->hosts++] = rank;
        }
        (void)km_cpus_parse(&p->cpus, km_json_text(p->words, "cpus"));
        (void)km_cpus_parse(&p->cores, km_json_text(p->words, "cores"));
    }
    free(texts);
}

static char *write_book(const km_ward *ward, const char *token) {
    km_json *book = km_json_object(), *hosts = km_json_array();
    for (int host = 0; host < ward->hosts; host++) {
        km_json *entry = km_json_object();
        const km_json *words = ward->patients[ward->leaders[host]].words;
        km_json_set_number(entry, "rank", ward->leaders[host]);
        km_json_set_string(entry, "host", km_json_text(words, "host"));
        km_json_set_string(entry, "door", km_json_text(words, "door"));
        km_json_push(hosts, entry);
    }
    km_json_set(book, "hosts", hosts);
    km_json_set_string(book, "token", token != NULL ? token : "");
    return take_text(book);
}

/* ---- 3: products, and calls over TCP ---- */

/* One thread's rate at a transformer's shapes, the first moments not counted. */
static double multiply(void) {
    enum { N = 256, C = 768 };
    const double warm_up = 0.15, long_enough = 0.35;
    float *x = km_new((size_t)N * C, sizeof *x), *w = km_new((size_t)C * C, sizeof *w);
    float *y = km_new((size_t)N * C, sizeof *y);
    for (size_t i = 0; i < (size_t)C * C; i++) {
        w[i] = (float)(i % 7) - 3;
        x[i % ((size_t)N * C)] = (float)(i % 5) - 2;
    }
    double begin = km_seconds(), start = begin, calls = 0;
    while (km_seconds() - start < long_enough) {
        km_linear_forward(y, x, w, NULL, N, C, C);
        if (start == begin && km_seconds() - begin >= warm_up) {
            start = km_seconds();
            calls = -1;
        }
        calls++;
    }
    double took = km_seconds() - start;
    free(x);
    free(w);
    free(y);
    return 2.0 * N * C * C * KM_MAX(calls, 1) / took * 1e-9;
}

/* Files that rank 0 makes must be seen by all hosts; a network file system may take a moment. */
static bool sees(const char *path) {
    const double moment = 3;
    double start = km_seconds();
    while (path[0] != '\0' && !km_file_exists(path)) {
        if (km_seconds() - start > moment) {
            return false;
        }
        usleep(100000);
    }
    return true;
}

static km_json *call_on_hosts(const visit *v) {
    const km_json *hosts = km_json_get(v->book, "hosts");
    int count = (int)km_json_size(hosts), i = 0;
    km_visit *visits = km_new((size_t)count, sizeof *visits);
    km_json *calls = km_json_array();
    for (const km_json *host = km_json_first(hosts); host != NULL; host = km_json_next(host), i++) {
        visits[i].door = i == v->self ? "0" : km_json_text(host, "door");
    }
    km_door_visit(visits, count, call_limit);
    for (i = 0; i < count; i++) {
        km_json *call = km_json_object();
        km_json_set_boolean(call, "reached", visits[i].reached || i == v->self);
        km_json_set_string(call, "address", visits[i].address);
        km_json_set_number(call, "round_trip", visits[i].round_trip);
        km_json_set_number(call, "clock", visits[i].clock_offset);
        km_json_push(calls, call);
    }
    free(visits);
    return calls;
}

static char *examine(const visit *v) {
    km_json *found = km_json_object();
    km_json_set_number(found, "gflops", multiply());
    if (v->self >= 0) {
        km_json_set_boolean(found, "sees", sees(km_json_text(v->book, "token")));
        km_json_set(found, "calls", call_on_hosts(v));
    }
    return take_text(found);
}

/* ---- 4: messages over MPI ---- */

/* Whom `host` is paired with in a round, so that after hosts-1 rounds (hosts, if odd) all pairs have met: the circle method. -1:
 * nobody. */
static int partner(int host, int hosts, int round) {
    int n = hosts + hosts % 2, fixed = n - 1, other;
    if (host == fixed) {
        other = round % (n - 1); /* the one with 2 x = 2 round */
    } else {
        other = ((2 * round - host) % (n - 1) + (n - 1)) % (n - 1);
        other = other == host ? fixed : other;
    }
    return other < hosts ? other : -1;
}

static int rank_of(const visit *v, int host) {
    return (int)number(km_json_at(km_json_get(v->book, "hosts"), (size_t)host), "rank");
}

static km_json *exchange(const visit *v, int other, int other_rank) {
    km_json *link = km_json_object();
    double small = km_star_ping(v->star, other_rank, 8, SMALL_TIMES, ping_limit);
    double big = small < 0 ? -1 : km_star_ping(v->star, other_rank, BIG, BIG_TIMES, ping_limit);
    km_json_set_number(link, "to", other);
    km_json_set_number(link, "latency", small);
    km_json_set_number(link, "seconds", big);
    return link;
}

/* On one host: ranks 0 and 1. Of several: pairs of their lowest ranks. Rank 0 keeps the rounds apart. */
static km_json *meet(const visit *v, int hosts, int round) {
    int rank = km_star_rank(v->star);
    if (hosts == 1) {
        return rank < 2 ? exchange(v, 0, 1 - rank) : km_json_object();
    }
    int other = v->self >= 0 ? partner(v->self, hosts, round) : -1;
    return other >= 0 ? exchange(v, other, rank_of(v, other)) : km_json_object();
}

/* ---- Rank 0's report ---- */

const char *km_ward_host(const km_ward *ward, int host) {
    return km_json_text(ward->patients[ward->leaders[host]].words, "host");
}

void km_ward_problem(km_ward *ward, const char *cure, const char *format, ...) {
    char text[2048];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    km_json *problem = km_json_object();
    km_json_set_string(problem, "what", text);
    km_json_set_string(problem, "cure", cure);
    km_json_push(ward->problems, problem);
}

void km_ward_note(km_ward *ward, const char *format, ...) {
    char text[2048];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    km_json_push_string(ward->notes, text);
}

static void open_ward(km_ward *ward, const km_doctor_options *options, int ranks) {
    *ward = (km_ward){.options = options, .ranks = ranks};
    ward->patients = km_new((size_t)ranks, sizeof *ward->patients);
    ward->leaders = km_new((size_t)ranks, sizeof *ward->leaders);
    ward->report = km_json_object();
    ward->problems = km_json_array();
    ward->notes = km_json_array();
}

static void close_ward(km_ward *ward) {
    for (int rank = 0; rank < ward->ranks; rank++) {
        km_json_destroy(ward->patients[rank].words);
    }
    free(ward->patients);
    free(ward->leaders);
    km_json_destroy(ward->report);
}

/* One direction; rank 0's own calls give the clocks. Returns false where nobody answered. */
static bool record_call(km_ward *ward, km_json *links, int from, int to, const km_json *call) {
    bool reached = false;
    (void)km_json_boolean(&reached, km_json_get(call, "reached"));
    km_json *link = km_json_object();
    km_json_set_string(link, "from", km_ward_host(ward, from));
    km_json_set_string(link, "to", km_ward_host(ward, to));
    km_json_set_boolean(link, "reached", reached);
    km_json_set_string(link, "address", km_json_text(call, "address"));
    km_json_set_number(link, "round_trip_us", 1e6 * number(call, "round_trip"));
    km_json_push(links, link);
    if (from == 0 && reached) {
        km_json_set_number(ward->patients[ward->leaders[to]].words, "clock", number(call, "clock"));
    }
    if (!reached) {
        char *cure =
            km_format("look at the firewall, the cable and the routes between the two, or leave one out: sbatch "
                      "--exclude=%s, mpirun --host",
                      km_ward_host(ward, to));
        km_ward_problem(ward, cure, "%s does not reach %s: none of its addresses answers over TCP",
                        km_ward_host(ward, from), km_ward_host(ward, to));
        free(cure);
    }
    return reached;
}

/* What came of step 3. True where all hosts reach all hosts. */
static bool record(km_ward *ward, char **texts) {
    km_json *links = km_json_array();
    bool all = true;
    for (int rank = 0; rank < ward->ranks; rank++) {
        km_patient *p = &ward->patients[rank];
        km_json *found = parse(texts[rank]);
        p->gflops = number(found, "gflops");
        bool visible = true;
        if (km_json_boolean(&visible, km_json_get(found, "sees")) && !visible) {
            km_ward_problem(ward, "put run.dir and corpora on a file system that all hosts share",
                            "%s does not see what %s writes in %s", km_ward_host(ward, p->host),
                            km_ward_host(ward, 0), ward->options->folder);
        }
        int to = 0;
        const km_json *call = km_json_first(km_json_get(found, "calls"));
        for (; call != NULL; call = km_json_next(call), to++) {
            if (to != p->host) {
                all = record_call(ward, links, p->host, to, call) && all;
            }
        }
        all = all && !p->absent && found != NULL;
        if (!p->absent && found == NULL) {
            km_ward_problem(ward, "see what its host is at, or leave it out",
                            "rank %d on %s gave no answer within %g s", rank, km_ward_host(ward, p->host),
                            text_limit);
        }
        km_json_destroy(found);
        free(texts[rank]);
    }
    free(texts);
    km_json_set(ward->report, "links", links);
    return all;
}

static km_json *find_link(const km_ward *ward, int from, int to) {
    const km_json *link = km_json_first(km_json_get(ward->report, "links"));
    while (link != NULL && (strcmp(km_json_text(link, "from"), km_ward_host(ward, from)) != 0 ||
                            strcmp(km_json_text(link, "to"), km_ward_host(ward, to)) != 0)) {
        link = km_json_next(link);
    }
    return (km_json *)(uintptr_t)link;
}

static void record_meeting(km_ward *ward, int from, const km_json *met) {
    double seconds = number(met, "seconds"), latency = number(met, "latency");
    int to = (int)number(met, "to");
    km_json *link = find_link(ward, from, to);
    if (link == NULL) { /* two ranks of one host */
        link = km_json_object();
        km_json_set_string(link, "from", km_ward_host(ward, from));
        km_json_set_string(link, "to", km_ward_host(ward, to));
        km_json_set_boolean(link, "reached", seconds >= 0);
        km_json_push((km_json *)(uintptr_t)km_json_get(ward->report, "links"), link);
    }
    if (seconds > 0) {
        km_json_set_number(link, "latency_us", 1e6 * latency);
        km_json_set_number(link, "gbyte_per_s", BIG / seconds * 1e-9);
        return;
    }
    char *cure =
        km_format("tell MPI which network to use: mpirun --mca btl_tcp_if_include NETWORK (that of %s), or "
                  "export UCX_NET_DEVICES",
                  km_json_text(link, "address")[0] != '\0' ? km_json_text(link, "address") : "the nodes");
    if (from < to || from == to) {
        km_ward_problem(ward, cure, "%s and %s reach each other over TCP, but no message of MPI's came within %g s",
                        km_ward_host(ward, from), km_ward_host(ward, to), ping_limit);
    }
    free(cure);
}

/* ---- The order of things ---- */

/* Rank 0 speaks for all but this. */
static void complain(const visit *v) {
    km_process self = km_process_self();
    fprintf(stderr, "kmask: rank %d on %s: nothing came from rank 0 within %g s: the two do not reach each other\n",
            km_star_rank(v->star), self.host, text_limit);
}

static bool hear(visit *v, char *text) {
    km_json_destroy(v->book);
    v->book = parse(text);
    v->out_of_reach = text == NULL;
    free(text);
    return v->book != NULL;
}

static int find_self(const visit *v) {
    int host = 0;
    const km_json *entry = km_json_first(km_json_get(v->book, "hosts"));
    for (; entry != NULL; entry = km_json_next(entry), host++) {
        if ((int)number(entry, "rank") == km_star_rank(v->star)) {
            return host;
        }
    }
    return -1;
}

static void tell_absent(km_ward *ward) {
    for (int rank = 0; rank < ward->ranks; rank++) {
        if (ward->patients[rank].absent) {
            km_ward_problem(ward,
                            "see its own words on standard error, and the firewall between its host and rank 0's",
                            "rank %d: nothing came from it within %g s", rank, text_limit);
        }
    }
}

/* Rank 0: the round's results. False where messages did not come: who waits for them cannot be met again. */
static bool take_results(km_ward *ward, char **texts) {
    bool good = true;
    for (int rank = 0; rank < ward->ranks; rank++) {
        km_json *met = parse(texts[rank]);
        if (km_json_get(met, "to") != NULL) {
            record_meeting(ward, ward->patients[rank].host, met);
            good = good && number(met, "seconds") > 0;
        }
        km_json_destroy(met);
        free(texts[rank]);
    }
    free(texts);
    return good;
}

/* Pairs, round by round; every rank takes part in the texts. */
static void hold_meetings(visit *v, int hosts) {
    int rounds = hosts == 1 ? 1 : KM_MIN(hosts - 1 + hosts % 2, MOST_ROUNDS);
    double limit = text_limit + 2 * ping_limit;
    bool good = true;
    for (int round = 0; round < rounds; round++) {
        char *go = km_star_spread(v->star, good ? "go" : "stop", limit);
        v->out_of_reach = go == NULL;
        bool goes = go != NULL && strcmp(go, "go") == 0;
        free(go);
        if (!goes) {
            return;
        }
        char *mine = take_text(meet(v, hosts, round));
        char **texts = km_star_gather(v->star, mine, limit);
        free(mine);
        good = texts == NULL || take_results(&v->ward, texts);
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

static void round_of_all(visit *v) {
    bool root = km_star_rank(v->star) == 0;
    char *words = describe(v), *book = NULL, *token = NULL;
    char **texts = km_star_gather(v->star, words, text_limit);
    free(words);
    if (root) {
        admit(&v->ward, texts);
        tell_absent(&v->ward);
        token = v->ward.hosts > 1 ? leave_token(v->options) : NULL;
        book = write_book(&v->ward, token);
    }
    if (hear(v, km_star_spread(v->star, book, 2 * text_limit))) {
        int hosts = (int)km_json_size(km_json_get(v->book, "hosts"));
        v->self = find_self(v);
        char *found = examine(v);
        texts = km_star_gather(v->star, found, text_limit + call_limit);
        free(found);
        bool whole = root && record(&v->ward, texts);
        char *news = km_star_spread(v->star, root && whole ? "whole" : "parted", 2 * text_limit);
        v->out_of_reach = news == NULL;
        bool meets = news != NULL && strcmp(news, "whole") == 0 && km_star_size(v->star) > 1;
        if (meets && km_star_start_mpi(v->star, v->argc, v->argv) == KM_OK) {
            hold_meetings(v, hosts);
        }
        free(news);
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
    set_owned(ward->report, "transport", km_star_transport());
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
    char *end = km_star_spread(v->star, "end", v->out_of_reach ? 0 : 6 * text_limit);
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
        open_ward(&v.ward, options, km_star_size(v.star));
        round_of_all(&v);
        status = km_star_rank(v.star) == 0 ? judge(&v, show, payload) : KM_OK;
        leave(&v);
        if (v.out_of_reach) {
            complain(&v);
        }
        close_ward(&v.ward);
    }
    km_json_destroy(v.book);
    km_door_close(v.door);
    km_star_close(v.star);
    return status;
}
