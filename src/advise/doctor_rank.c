/* doctor: what one rank says of itself, finds out about its host, and hears from others. Rank 0 gets it as text. */
#include "doctor.h"

#include "kmask/kernel.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BIG_TIMES = 8, SMALL_TIMES = 200 };

/* ---- Its words ---- */

char *km_words_print(km_json *words) {
    char *text = km_json_print(words, false);
    km_json_destroy(words);
    return text;
}

km_json *km_words_parse(const char *text) {
    km_json *words = NULL;
    if (text == NULL || km_json_parse(&words, text, strlen(text), "a rank's words") != KM_OK) {
        return NULL;
    }
    return words;
}

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

char *km_patient_describe(const km_door *door) {
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
    set_owned(words, "door", km_door_print(door));
    return km_words_print(words);
}

/* ---- Products, and calls over TCP ---- */

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

static km_json *call_on_hosts(const km_json *book, int self) {
    const km_json *hosts = km_json_get(book, "hosts");
    int count = (int)km_json_size(hosts), i = 0;
    km_visit *visits = km_new((size_t)count, sizeof *visits);
    km_json *calls = km_json_array();
    for (const km_json *host = km_json_first(hosts); host != NULL; host = km_json_next(host), i++) {
        visits[i].door = i == self ? "0" : km_json_text(host, "door");
    }
    km_door_visit(visits, count, KM_CALL_LIMIT);
    for (i = 0; i < count; i++) {
        km_json *call = km_json_object();
        km_json_set_boolean(call, "reached", visits[i].reached || i == self);
        km_json_set_string(call, "address", visits[i].address);
        km_json_set_number(call, "round_trip", visits[i].round_trip);
        km_json_set_number(call, "clock", visits[i].clock_offset);
        km_json_push(calls, call);
    }
    free(visits);
    return calls;
}

char *km_patient_examine(const km_json *book, int self) {
    km_json *found = km_json_object();
    km_json_set_number(found, "gflops", multiply());
    if (self >= 0) {
        km_json_set_boolean(found, "sees", sees(km_json_text(book, "token")));
        km_json_set(found, "calls", call_on_hosts(book, self));
    }
    return km_words_print(found);
}

/* ---- Messages over MPI ---- */

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

static km_json *exchange(km_star *star, int other, int other_rank) {
    km_json *link = km_json_object();
    double small = km_star_ping(star, other_rank, 8, SMALL_TIMES, KM_PING_LIMIT);
    double big = small < 0 ? -1 : km_star_ping(star, other_rank, KM_BIG_PING, BIG_TIMES, KM_PING_LIMIT);
    km_json_set_number(link, "to", other);
    km_json_set_number(link, "latency", small);
    km_json_set_number(link, "seconds", big);
    return link;
}

static int rank_of(const km_json *book, int host) {
    return (int)km_json_number_or(km_json_at(km_json_get(book, "hosts"), (size_t)host), "rank", 0);
}

/* On one host: ranks 0 and 1. Of several: pairs of their lowest ranks. Rank 0 keeps the rounds apart. */
static km_json *meet(km_star *star, const km_json *book, int self, int round) {
    int rank = km_star_rank(star), hosts = (int)km_json_size(km_json_get(book, "hosts"));
    if (hosts == 1) {
        return rank < 2 ? exchange(star, 0, 1 - rank) : km_json_object();
    }
    int other = self >= 0 ? partner(self, hosts, round) : -1;
    return other >= 0 ? exchange(star, other, rank_of(book, other)) : km_json_object();
}

char *km_patient_meet(km_star *star, const km_json *book, int self, int round) {
    return km_words_print(meet(star, book, self, round));
}
