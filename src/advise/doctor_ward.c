/* doctor: rank 0's record of all ranks: who is there, on which host, and what came of calls and messages between hosts. */
#include "doctor.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static double number(const km_json *object, const char *key) {
    return km_json_number_or(object, key, 0);
}

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

void km_ward_open(km_ward *ward, const km_doctor_options *options, int ranks) {
    *ward = (km_ward){.options = options, .ranks = ranks};
    ward->patients = km_new((size_t)ranks, sizeof *ward->patients);
    ward->leaders = km_new((size_t)ranks, sizeof *ward->leaders);
    ward->report = km_json_object();
    ward->problems = km_json_array();
    ward->notes = km_json_array();
}

void km_ward_close(km_ward *ward) {
    for (int rank = 0; rank < ward->ranks; rank++) {
        km_json_destroy(ward->patients[rank].words);
    }
    free(ward->patients);
    free(ward->leaders);
    km_json_destroy(ward->report);
}

/* ---- Who is there ---- */

static int host_of(const km_ward *ward, const km_json *words) {
    for (int host = 0; host < ward->hosts; host++) {
        if (strcmp(km_json_text(ward->patients[ward->leaders[host]].words, "machine"),
                   km_json_text(words, "machine")) == 0) {
            return host;
        }
    }
    return ward->hosts;
}

static void tell_absent(km_ward *ward) {
    for (int rank = 0; rank < ward->ranks; rank++) {
        if (ward->patients[rank].absent) {
            km_ward_problem(ward,
                            "see its own words on standard error, and the firewall between its host and rank 0's",
                            "rank %d: nothing came from it within %g s", rank, KM_TEXT_LIMIT);
        }
    }
}

void km_ward_admit(km_ward *ward, char **texts) {
    for (int rank = 0; rank < ward->ranks; rank++) {
        km_patient *p = &ward->patients[rank];
        p->words = km_words_parse(texts[rank]);
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
    tell_absent(ward);
}

char *km_ward_book(const km_ward *ward, const char *token) {
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
    return km_words_print(book);
}

/* ---- What came of calls ---- */

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

bool km_ward_record_calls(km_ward *ward, char **texts) {
    km_json *links = km_json_array();
    bool all = true;
    for (int rank = 0; rank < ward->ranks; rank++) {
        km_patient *p = &ward->patients[rank];
        km_json *found = km_words_parse(texts[rank]);
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
                            KM_TEXT_LIMIT);
        }
        km_json_destroy(found);
        free(texts[rank]);
    }
    free(texts);
    km_json_set(ward->report, "links", links);
    return all;
}

/* ---- What came of messages ---- */

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
        km_json_set_number(link, "gbyte_per_s", KM_BIG_PING / seconds * 1e-9);
        return;
    }
    char *cure =
        km_format("tell MPI which network to use: mpirun --mca btl_tcp_if_include NETWORK (that of %s), or "
                  "export UCX_NET_DEVICES",
                  km_json_text(link, "address")[0] != '\0' ? km_json_text(link, "address") : "the nodes");
    if (from < to || from == to) {
        km_ward_problem(ward, cure, "%s and %s reach each other over TCP, but no message of MPI's came within %g s",
                        km_ward_host(ward, from), km_ward_host(ward, to), KM_PING_LIMIT);
    }
    free(cure);
}

bool km_ward_record_meetings(km_ward *ward, char **texts) {
    bool good = true;
    for (int rank = 0; rank < ward->ranks; rank++) {
        km_json *met = km_words_parse(texts[rank]);
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
