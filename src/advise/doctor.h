/* doctor: what the files of doctor share. Every rank sends rank 0 the facts about itself and its host; rank 0 keeps them in one
 * record, judges them without asking again, and makes the report. */
#ifndef KMASK_ADVISE_DOCTOR_H
#define KMASK_ADVISE_DOCTOR_H

#include "kmask/advise.h"

/* What rank 0 knows of one rank. */
typedef struct km_checked_rank {
    int host;            /* the number of its host; -1: unknown */
    bool absent;         /* nothing came from it */
    km_json *facts;      /* its km_rank_describe */
    km_cpus cpus, cores; /* the hardware threads and physical cores that it may run on */
    double gflops;       /* of its matrix products, while all ranks multiply at once; 0: unknown */
} km_checked_rank;

typedef struct km_host_check {
    const km_doctor_options *options;
    int ranks, hosts;
    km_checked_rank *checked; /* (ranks) */
    int *lowest_ranks;        /* (hosts) the lowest rank of each, which speaks for its host */
    km_json *report, *problems, *notes;
} km_host_check;

/* Seconds until a text, a TCP connection, or the MPI messages of two hosts must have come. */
#define KM_TEXT_LIMIT 20.0
#define KM_CONNECT_LIMIT 4.0
#define KM_MESSAGE_LIMIT 8.0
enum { KM_LARGE_MESSAGE = 4 << 20 }; /* bytes */

/* A rank's "bf16" fact is "oneDNN 2.6.3 avx512_core_bf16", with KM_BF16_FACT_SLOW behind it on a CPU without bf16 instructions;
 * or one of the other two. */
#define KM_BF16_FACT_NOT_BUILT "not built"
#define KM_BF16_FACT_NO_CPU "no AVX-512"
#define KM_BF16_FACT_SLOW ", slow"

/* ---- doctor_rank.c: what one rank finds out, as JSON in a text that the caller frees ---- */
/* `list` is what rank 0 has told all ranks: {"hosts": [{"rank", "host", "server"}, ...], "file": path}. `self` is the number of
 * the host whose lowest rank this one is; on other ranks -1. */
char *km_facts_print(km_json *facts);      /* takes ownership of facts */
km_json *km_facts_parse(const char *text); /* NULL for NULL and for what is no JSON. The caller destroys. */
char *km_rank_describe(const km_connection_server *server);
/* Measures the rank's rate of matrix products; on the lowest rank of a host also whether the host sees rank 0's file, and which
 * hosts it reaches over TCP. */
char *km_rank_measure(const km_json *list, int self);
/* Exchanges MPI messages with the rank that this one is paired with in the round. Returns {"to": host, "latency", "seconds"}, whose
 * seconds are negative where the messages did not come; {} for a rank that is not paired. */
char *km_rank_exchange_messages(km_rendezvous *rendezvous, const km_json *list, int self, int round);

/* ---- doctor_record.c: rank 0's record of all ranks ---- */
/* `texts` (ranks): one text of each rank, NULL where none came; the record frees them. */
void km_host_check_open(km_host_check *check, const km_doctor_options *options, int ranks);
void km_host_check_close(km_host_check *check);
/* Records the texts of km_rank_describe. */
void km_host_check_add_ranks(km_host_check *check, char **texts);
/* The list of hosts and the path of the shared file, as a text that rank 0 sends to all ranks. file NULL: it could not be made.
 * The caller frees. */
char *km_host_check_list(const km_host_check *check, const char *file);
/* Records the texts of km_rank_measure; true where all hosts reach all others. */
bool km_host_check_record_connections(km_host_check *check, char **texts);
/* Records the texts of km_rank_exchange_messages; true where all messages came. */
bool km_host_check_record_messages(km_host_check *check, char **texts);
const char *km_host_check_name(const km_host_check *check, int host); /* the host's name */
void km_host_check_problem(km_host_check *check, const char *cure, const char *format, ...) KM_PRINTF(3, 4);
void km_host_check_note(km_host_check *check, const char *format, ...) KM_PRINTF(2, 3);

/* ---- doctor_binding.c: whether each thread can have a physical core of its own ---- */
void km_judge_binding(km_host_check *check);
/* Rank r has threads[r] threads, which may run on cores[r]. False where each thread can have a core of its own. Else true, and a
 * set of ranks whose threads are more than the cores that they may run on together: members (count) is true for the ranks of the
 * set, *united is the union of their cores. By Hall's theorem there is such a set whenever a bipartite matching of threads and
 * cores fails. */
bool km_oversubscribed(bool *members, km_cpus *united, const int *threads, const km_cpus *cores, int count);

/* ---- doctor_judge.c: problems of hosts, the run folder and the job ---- */
void km_judge_hosts(km_host_check *check);
bool km_judge_folder(km_host_check *check); /* whether the folder can be written to */
void km_judge_job(km_host_check *check, bool writable);

#endif
