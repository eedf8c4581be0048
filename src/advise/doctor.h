/* doctor: what its files share. Rank 0 makes one report of what all ranks say; judging it needs no other rank. */
#ifndef KMASK_ADVISE_DOCTOR_H
#define KMASK_ADVISE_DOCTOR_H

#include "kmask/advise.h"

/* One rank, as it describes itself. */
typedef struct km_patient {
    int host;            /* which of the hosts */
    bool absent;         /* nothing came from it */
    km_json *words;      /* its description */
    km_cpus cpus, cores; /* hardware threads, physical cores that it may run on */
    double gflops;       /* of its matrix products, all ranks at once; 0: unknown */
} km_patient;

typedef struct km_ward {
    const km_doctor_options *options;
    int ranks, hosts;
    km_patient *patients; /* (ranks) */
    int *leaders;         /* (hosts) the lowest rank of each */
    km_json *report, *problems, *notes;
} km_ward;

/* Seconds: for a text to come; for a call over TCP; for a pair's messages over MPI. Bytes of a pair's large messages. */
#define KM_TEXT_LIMIT 20.0
#define KM_CALL_LIMIT 4.0
#define KM_PING_LIMIT 8.0
enum { KM_BIG_PING = 4 << 20 };

/* What a rank says of bf16 where it is not "oneDNN 2.6.3 avx512_core_bf16"; the last one stands behind such words. */
#define KM_BF16_WORDS_NOT_BUILT "not built"
#define KM_BF16_WORDS_NO_CPU "no AVX-512"
#define KM_BF16_WORDS_SLOW ", slow"

/* doctor_rank.c: what one rank says, as JSON in a text that the caller frees. `book` is what rank 0 told all: {"hosts": [{"rank", "host",
 * "door"}, ...], "token": path}; `self` is the host whose lowest rank this one is, else -1. */
char *km_words_print(km_json *words);      /* takes ownership of words */
km_json *km_words_parse(const char *text); /* NULL where there is none. The caller destroys. */
char *km_patient_describe(const km_door *door);
/* Its rate at matrix products; of a host's lowest rank also whether it sees rank 0's file, and its calls over TCP on all hosts. */
char *km_patient_examine(const km_json *book, int self);
/* Messages over MPI with its partner of that round, if any: {"to": host, "latency", "seconds"}, negative where they did not come. */
char *km_patient_meet(km_star *star, const km_json *book, int self, int round);

/* doctor_ward.c: rank 0's record of all. `texts` (ranks) is one of each rank, NULL where none came; the record frees them. */
void km_ward_open(km_ward *ward, const km_doctor_options *options, int ranks);
void km_ward_close(km_ward *ward);
void km_ward_admit(km_ward *ward, char **texts);            /* of km_patient_describe */
char *km_ward_book(const km_ward *ward, const char *token); /* token NULL: none. The caller frees. */
bool km_ward_record_calls(km_ward *ward, char **texts);     /* of km_patient_examine; whether all hosts reach all */
bool km_ward_record_meetings(km_ward *ward, char **texts);  /* of km_patient_meet; whether all messages came */
const char *km_ward_host(const km_ward *ward, int host);
void km_ward_problem(km_ward *ward, const char *cure, const char *format, ...) KM_PRINTF(3, 4);
void km_ward_note(km_ward *ward, const char *format, ...) KM_PRINTF(2, 3);

/* doctor_binding.c: whether each thread can have a physical core of its own. */
void km_judge_binding(km_ward *ward);
/* A set of ranks whose threads are more than the cores that they may run on together: a matching shows that there is none, or
 * gives one (Hall's theorem). Ranks r: threads[r], cores[r]. members (count) become true for its ranks; *united: their cores. False: each
 * thread has a core. */
bool km_crowded(bool *members, km_cpus *united, const int *threads, const km_cpus *cores, int count);

/* doctor_judge.c */
void km_judge_hosts(km_ward *ward);
bool km_judge_folder(km_ward *ward); /* whether it can be written to */
void km_judge_job(km_ward *ward, bool writable);

#endif
