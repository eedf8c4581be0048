/* doctor_rank: what one rank finds out: facts about itself and its host, its speed, and which other hosts it reaches. All of it
 * goes to rank 0 as texts. */
#include "doctor.h"

#include "kmask/kernel.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LARGE_TIMES = 8, SMALL_TIMES = 200 };

/* ---- Facts ---- */

char *km_facts_print(km_json *facts) {
    char *text = km_json_print(facts, false);
    km_json_destroy(facts);
    return text;
}

km_json *km_facts_parse(const char *text) {
    km_json *facts = NULL;
    if (text == NULL || km_json_parse(&facts, text, strlen(text), "a rank's facts") != KM_OK) {
        return NULL;
    }
    return facts;
}

static void set_owned(km_json *object, const char *key, char *text) {
    if (text != NULL) {
        km_json_set_string(object, key, text);
    }
    free(text);
}

/* The library that multiplies in bf16, and its instructions; the caller frees. */
static char *bf16_fact(void) {
    switch (km_bf16_supported()) {
    case KM_BF16_NOT_BUILT:
        return km_strdup(KM_BF16_FACT_NOT_BUILT);
    case KM_BF16_NO_CPU:
        return km_strdup(KM_BF16_FACT_NO_CPU);
    case KM_BF16_SLOW:
        return km_format("%s %s%s", km_kernel_onednn(), km_kernel_isa(), KM_BF16_FACT_SLOW);
    default:
        return km_format("%s %s", km_kernel_onednn(), km_kernel_isa());
    }
}

char *km_rank_describe(const km_connection_server *server) {
    km_process self = km_process_self();
    km_cpus cpus, cores;
    km_cpus_allowed(&cpus);
    km_cpus_cores(&cores, &cpus);
    km_json *facts = km_json_object();
    const char *forced = getenv("OPENBLAS_CORETYPE"), *better = km_kernel_better_core();
    km_json_set_string(facts, "host", self.host);
    set_owned(facts, "machine", km_format("%llx", (unsigned long long)self.machine));
    km_json_set_number(facts, "pid", (double)self.pid);
    set_owned(facts, "cpus", km_cpus_print(&cpus));
    set_owned(facts, "cores", km_cpus_print(&cores));
    km_json_set_number(facts, "quota", km_cpu_quota());
    set_owned(facts, "cpu", km_cpu_name());
    km_json_set_string(facts, "blas", km_kernel_blas());
    km_json_set_string(facts, "kernel", km_kernel_core());
    km_json_set_string(facts, "loops", km_kernel_vector());
    set_owned(facts, "bf16", bf16_fact());
    km_json_set_boolean(facts, "concurrent", km_kernel_concurrent());
    uint64_t room = km_memory_available();
    km_json_set_number(facts, "room", room == UINT64_MAX ? 0 : (double)room);
    set_owned(facts, "fabric", km_fabric_name());
    if (better != NULL) {
        km_json_set_string(facts, "better", better);
    }
    if (forced != NULL) {
        km_json_set_string(facts, "forced", forced);
    }
    set_owned(facts, "server", km_connection_server_print(server));
    return km_facts_print(facts);
}

/* ---- Matrix products, the shared file, and the connection test ---- */

/* Measures the GFLOP/s of one thread for matrix products of a transformer's shapes. A short time at the beginning is not
 * counted. */
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

/* Whether this host sees the file that rank 0 has made; a network file system may take a moment. */
static bool sees(const char *path) {
    const double moment = 3;
    double start = km_seconds();
    while (path[0] != '\0' && !km_file_exists(path)) {
        if (km_seconds() - start > moment) {
            return false;
        }
        km_sleep(0.1);
    }
    return true;
}

static km_json *test_connections(const km_json *list, int self) {
    const km_json *hosts = km_json_get(list, "hosts");
    int count = (int)km_json_size(hosts), i = 0;
    km_connection_result *results = km_new((size_t)count, sizeof *results);
    km_json *connections = km_json_array();
    for (const km_json *host = km_json_first(hosts); host != NULL; host = km_json_next(host), i++) {
        results[i].server = i == self ? "0" : km_json_text(host, "server");
    }
    km_connection_test(results, count, KM_CONNECT_LIMIT);
    for (i = 0; i < count; i++) {
        km_json *one = km_json_object();
        km_json_set_boolean(one, "reached", results[i].reached || i == self);
        km_json_set_string(one, "address", results[i].address);
        km_json_set_number(one, "round_trip", results[i].round_trip);
        km_json_set_number(one, "clock", results[i].clock_offset);
        km_json_push(connections, one);
    }
    free(results);
    return connections;
}

char *km_rank_measure(const km_json *list, int self) {
    km_json *found = km_json_object();
    km_json_set_number(found, "gflops", multiply());
    if (self >= 0) {
        km_json_set_boolean(found, "sees", sees(km_json_text(list, "file")));
        km_json_set(found, "connections", test_connections(list, self));
    }
    return km_facts_print(found);
}

/* ---- MPI messages ---- */

/* The host that `host` is paired with in a round; -1: none. After hosts-1 rounds (hosts, if odd) all pairs have been made: the
 * circle method for round-robin tournaments. */
static int partner(int host, int hosts, int round) {
    int n = hosts + hosts % 2, fixed = n - 1, other;
    if (host == fixed) {
        other = round % (n - 1); /* the host x with 2 x = 2 round, modulo n - 1 */
    } else {
        other = ((2 * round - host) % (n - 1) + (n - 1)) % (n - 1);
        other = other == host ? fixed : other;
    }
    return other < hosts ? other : -1;
}

static km_json *exchange_with(km_rendezvous *rendezvous, int other, int other_rank) {
    km_json *link = km_json_object();
    double small = km_rendezvous_ping(rendezvous, other_rank, 8, SMALL_TIMES, KM_MESSAGE_LIMIT);
    double big = small < 0
                     ? -1
                     : km_rendezvous_ping(rendezvous, other_rank, KM_LARGE_MESSAGE, LARGE_TIMES, KM_MESSAGE_LIMIT);
    km_json_set_number(link, "to", other);
    km_json_set_number(link, "latency", small);
    km_json_set_number(link, "seconds", big);
    return link;
}

static int rank_of(const km_json *list, int host) {
    return (int)km_json_number_or(km_json_at(km_json_get(list, "hosts"), (size_t)host), "rank", 0);
}

/* Exchanges messages: between ranks 0 and 1 where there is one host, otherwise between the lowest ranks of two hosts that are
 * paired. */
static km_json *exchange_messages(km_rendezvous *rendezvous, const km_json *list, int self, int round) {
    int rank = km_rendezvous_rank(rendezvous), hosts = (int)km_json_size(km_json_get(list, "hosts"));
    if (hosts == 1) {
        return rank < 2 ? exchange_with(rendezvous, 0, 1 - rank) : km_json_object();
    }
    int other = self >= 0 ? partner(self, hosts, round) : -1;
    return other >= 0 ? exchange_with(rendezvous, other, rank_of(list, other)) : km_json_object();
}

char *km_rank_exchange_messages(km_rendezvous *rendezvous, const km_json *list, int self, int round) {
    return km_facts_print(exchange_messages(rendezvous, list, self, round));
}
