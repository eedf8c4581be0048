/* doctor: what its files share. Rank 0 makes one report of what all ranks say; judging it needs no other rank. */
#ifndef KMASK_TRAIN_DOCTOR_H
#define KMASK_TRAIN_DOCTOR_H

#include "kmask/train.h"

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

/* What a rank says of bf16 where it is not "oneDNN 2.6.3 avx512_core_bf16"; the last one stands behind such words. */
#define KM_BF16_WORDS_NOT_BUILT "not built"
#define KM_BF16_WORDS_NO_CPU "no AVX-512"
#define KM_BF16_WORDS_SLOW ", slow"

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
