/* doctor_record: rank 0's record of all ranks: which there are, on which hosts, and the results of connections and messages between
 * hosts. */
#include "doctor.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static double number(const km_json *object, const char *key) {
    return km_json_number_or(object, key, 0);
}

const char *km_host_check_name(const km_host_check *check, int host) {
    return km_json_text(check->checked[check->lowest_ranks[host]].facts, "host");
}

void km_host_check_problem(km_host_check *check, const char *cure, const char *format, ...) {
    char text[2048];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    km_json *problem = km_json_object();
    km_json_set_string(problem, "what", text);
    km_json_set_string(problem, "cure", cure);
    km_json_push(check->problems, problem);
}

void km_host_check_note(km_host_check *check, const char *format, ...) {
    char text[2048];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    km_json_push_string(check->notes, text);
}

void km_host_check_open(km_host_check *check, const km_doctor_options *options, int ranks) {
    *check = (km_host_check){.options = options, .ranks = ranks};
    check->checked = km_new((size_t)ranks, sizeof *check->checked);
    check->lowest_ranks = km_new((size_t)ranks, sizeof *check->lowest_ranks);
    check->report = km_json_object();
    check->problems = km_json_array();
    check->notes = km_json_array();
}

void km_host_check_close(km_host_check *check) {
    for (int rank = 0; rank < check->ranks; rank++) {
        km_json_destroy(check->checked[rank].facts);
    }
    free(check->checked);
    free(check->lowest_ranks);
    km_json_destroy(check->report);
}

/* ---- Ranks and hosts ---- */

/* The number of the host that the rank with these facts is on; the next number where no earlier rank is on that host. */
static int host_of(const km_host_check *check, const km_json *facts) {
    for (int host = 0; host < check->hosts; host++) {
        if (strcmp(km_json_text(check->checked[check->lowest_ranks[host]].facts, "machine"),
                   km_json_text(facts, "machine")) == 0) {
            return host;
        }
    }
    return check->hosts;
}

static void report_absent(km_host_check *check) {
    for (int rank = 0; rank < check->ranks; rank++) {
        if (check->checked[rank].absent) {
            km_host_check_problem(
                check, "see its own words on standard error, and the firewall between its host and rank 0's",
                "rank %d: nothing came from it within %g s", rank, KM_TEXT_LIMIT);
        }
    }
}

void km_host_check_add_ranks(km_host_check *check, char **texts) {
    for (int rank = 0; rank < check->ranks; rank++) {
        km_checked_rank *p = &check->checked[rank];
        p->facts = km_facts_parse(texts[rank]);
        p->absent = p->facts == NULL;
        free(texts[rank]);
        if (p->absent) {
            p->host = -1;
            continue;
        }
        p->host = host_of(check, p->facts);
        if (p->host == check->hosts) {
            check->lowest_ranks[check->hosts++] = rank;
        }
        (void)km_cpus_parse(&p->cpus, km_json_text(p->facts, "cpus"));
        (void)km_cpus_parse(&p->cores, km_json_text(p->facts, "cores"));
    }
    free(texts);
    report_absent(check);
}

char *km_host_check_list(const km_host_check *check, const char *file) {
    km_json *list = km_json_object(), *hosts = km_json_array();
    for (int host = 0; host < check->hosts; host++) {
        km_json *entry = km_json_object();
        const km_json *facts = check->checked[check->lowest_ranks[host]].facts;
        km_json_set_number(entry, "rank", check->lowest_ranks[host]);
        km_json_set_string(entry, "host", km_json_text(facts, "host"));
        km_json_set_string(entry, "server", km_json_text(facts, "server"));
        km_json_push(hosts, entry);
    }
    km_json_set(list, "hosts", hosts);
    km_json_set_string(list, "file", file != NULL ? file : "");
    return km_facts_print(list);
}

/* ---- Connections ---- */

/* Records the connection from one host to another. Connections from rank 0's host also show by how much the other clock differs.
 * False where no address answered. */
static bool record_connection(km_host_check *check, km_json *links, int from, int to, const km_json *one) {
    bool reached = false;
    (void)km_json_boolean(&reached, km_json_get(one, "reached"));
    km_json *link = km_json_object();
    km_json_set_string(link, "from", km_host_check_name(check, from));
    km_json_set_string(link, "to", km_host_check_name(check, to));
    km_json_set_boolean(link, "reached", reached);
    km_json_set_string(link, "address", km_json_text(one, "address"));
    km_json_set_number(link, "round_trip_us", 1e6 * number(one, "round_trip"));
    km_json_push(links, link);
    if (from == 0 && reached) {
        km_json_set_number(check->checked[check->lowest_ranks[to]].facts, "clock", number(one, "clock"));
    }
    if (!reached) {
        char *cure =
            km_format("look at the firewall, the cable and the routes between the two, or leave one out: sbatch "
                      "--exclude=%s, mpirun --host",
                      km_host_check_name(check, to));
        km_host_check_problem(check, cure, "%s does not reach %s: none of its addresses answers over TCP",
                              km_host_check_name(check, from), km_host_check_name(check, to));
        free(cure);
    }
    return reached;
}

bool km_host_check_record_connections(km_host_check *check, char **texts) {
    km_json *links = km_json_array();
    bool all = true;
    for (int rank = 0; rank < check->ranks; rank++) {
        km_checked_rank *p = &check->checked[rank];
        /* A rank whose facts never came is on no known host: what it says later is not used. */
        km_json *found = p->absent ? NULL : km_facts_parse(texts[rank]);
        p->gflops = number(found, "gflops");
        bool visible = true;
        if (km_json_boolean(&visible, km_json_get(found, "sees")) && !visible) {
            km_host_check_problem(check, "put run.dir and corpora on a file system that all hosts share",
                                  "%s does not see what %s writes in %s", km_host_check_name(check, p->host),
                                  km_host_check_name(check, 0), check->options->folder);
        }
        int to = 0;
        const km_json *one = km_json_first(km_json_get(found, "connections"));
        for (; one != NULL && to < check->hosts; one = km_json_next(one), to++) {
            if (to != p->host) {
                all = record_connection(check, links, p->host, to, one) && all;
            }
        }
        all = all && !p->absent && found != NULL;
        if (!p->absent && found == NULL) {
            km_host_check_problem(check, "see what its host is at, or leave it out",
                                  "rank %d on %s gave no answer within %g s", rank,
                                  km_host_check_name(check, p->host), KM_TEXT_LIMIT);
        }
        km_json_destroy(found);
        free(texts[rank]);
    }
    free(texts);
    km_json_set(check->report, "links", links);
    return all;
}

/* ---- MPI messages ---- */

static km_json *find_link(const km_host_check *check, int from, int to) {
    const km_json *link = km_json_first(km_json_get(check->report, "links"));
    while (link != NULL && (strcmp(km_json_text(link, "from"), km_host_check_name(check, from)) != 0 ||
                            strcmp(km_json_text(link, "to"), km_host_check_name(check, to)) != 0)) {
        link = km_json_next(link);
    }
    return (km_json *)(uintptr_t)link;
}

/* The number of a host that a text names; -1 where there is no such host. */
static int host_in(const km_host_check *check, const km_json *result, const char *key) {
    const double host = km_json_number_or(result, key, -1);
    return host >= 0 && host < check->hosts ? (int)host : -1;
}

static void record_message(km_host_check *check, int from, const km_json *result) {
    double seconds = number(result, "seconds"), latency = number(result, "latency");
    int to = host_in(check, result, "to");
    if (to < 0) {
        return;
    }
    km_json *link = find_link(check, from, to);
    if (link == NULL) { /* two ranks of one host */
        link = km_json_object();
        km_json_set_string(link, "from", km_host_check_name(check, from));
        km_json_set_string(link, "to", km_host_check_name(check, to));
        km_json_set_boolean(link, "reached", seconds >= 0);
        km_json_push((km_json *)(uintptr_t)km_json_get(check->report, "links"), link);
    }
    if (seconds > 0) {
        km_json_set_number(link, "latency_us", 1e6 * latency);
        km_json_set_number(link, "gbyte_per_s", KM_LARGE_MESSAGE / seconds * 1e-9);
        return;
    }
    char *cure =
        km_format("tell MPI which network to use: mpirun --mca btl_tcp_if_include NETWORK (that of %s), or "
                  "export UCX_NET_DEVICES",
                  km_json_text(link, "address")[0] != '\0' ? km_json_text(link, "address") : "the nodes");
    if (from < to || from == to) {
        km_host_check_problem(check, cure,
                              "%s and %s reach each other over TCP, but no message of MPI's came within %g s",
                              km_host_check_name(check, from), km_host_check_name(check, to), KM_MESSAGE_LIMIT);
    }
    free(cure);
}

bool km_host_check_record_messages(km_host_check *check, char **texts) {
    bool good = true;
    for (int rank = 0; rank < check->ranks; rank++) {
        km_json *result = check->checked[rank].absent ? NULL : km_facts_parse(texts[rank]);
        if (km_json_get(result, "to") != NULL) {
            record_message(check, check->checked[rank].host, result);
            good = good && number(result, "seconds") > 0;
        }
        km_json_destroy(result);
        free(texts[rank]);
    }
    free(texts);
    return good;
}
