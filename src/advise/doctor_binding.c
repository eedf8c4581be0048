/* doctor_binding: whether each thread can have a physical core of its own. */
#include "doctor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- A bipartite matching of threads and cores, by augmenting paths (Kuhn's algorithm) ---- */

typedef struct matching {
    const int *threads;
    const km_cpus *cores;
    int ranks;
    int *owner;    /* (KM_CPUS) the rank that a core is given to; -1: none */
    bool *visited; /* (KM_CPUS) whether the current search has visited the core */
} matching;

/* Gives `rank` one more core, for which other ranks are given other cores where that is possible. False where there is no such
 * core. */
static bool augment(matching *m, int rank) {
    for (int core = 0; core < KM_CPUS; core++) {
        if (m->visited[core] || !km_cpus_has(&m->cores[rank], core)) {
            continue;
        }
        m->visited[core] = true;
        if (m->owner[core] < 0 || augment(m, m->owner[core])) {
            m->owner[core] = rank;
            return true;
        }
    }
    return false;
}

static bool within(const km_cpus *part, const km_cpus *whole) {
    for (size_t w = 0; w < KM_COUNT(part->bits); w++) {
        if ((part->bits[w] & ~whole->bits[w]) != 0) {
            return false;
        }
    }
    return true;
}

/* Called after the search for `rank` has failed. The cores that it has visited are all taken, by ranks that may not run on other
 * cores: these ranks become members of the set. */
static void collect(const matching *m, int rank, bool *members, km_cpus *united) {
    *united = m->cores[rank];
    for (int core = 0; core < KM_CPUS; core++) {
        if (m->visited[core]) {
            united->bits[core / 64] |= UINT64_C(1) << (core % 64);
        }
    }
    for (int i = 0; i < m->ranks; i++) {
        members[i] = m->threads[i] > 0 && within(&m->cores[i], united);
    }
}

bool km_oversubscribed(bool *members, km_cpus *united, const int *threads, const km_cpus *cores, int count) {
    matching m = {.threads = threads, .cores = cores, .ranks = count};
    m.owner = km_new(KM_CPUS, sizeof *m.owner);
    m.visited = km_new(KM_CPUS, sizeof *m.visited);
    memset(m.owner, -1, KM_CPUS * sizeof *m.owner);
    bool oversubscribed = false;
    for (int rank = 0; rank < count && !oversubscribed; rank++) {
        for (int i = 0; i < threads[rank] && !oversubscribed; i++) {
            memset(m.visited, 0, KM_CPUS * sizeof *m.visited);
            oversubscribed = !augment(&m, rank);
            if (oversubscribed) {
                collect(&m, rank, members, united);
            }
        }
    }
    free(m.owner);
    free(m.visited);
    return oversubscribed;
}

/* ---- The problem in words ---- */

/* Names the members as "rank 3" or "ranks 0-3, 7"; the caller frees. */
static char *name_ranks(const int *ranks, const bool *members, int count, int *number) {
    km_buffer text = {0};
    *number = 0;
    for (int i = 0; i < count; i++) {
        if (!members[i]) {
            continue;
        }
        int last = i;
        while (last + 1 < count && members[last + 1] && ranks[last + 1] == ranks[last] + 1) {
            last++;
        }
        km_buffer_print(&text, last > i ? "%s%d-%d" : "%s%d", text.size > 0 ? ", " : "", ranks[i], ranks[last]);
        *number += last - i + 1;
        i = last;
    }
    char *out = km_format("%s %s", *number > 1 ? "ranks" : "rank", text.size > 0 ? text.data : "?");
    km_buffer_free(&text);
    return out;
}

static void report_oversubscribed(km_host_check *check, int host, const int *ranks, const bool *members, int count,
                                  const km_cpus *united) {
    int number = 0, cores = km_cpus_count(united), threads = 0;
    for (int i = 0; i < count; i++) {
        threads += members[i] ? check->options->threads : 0;
    }
    char *who = name_ranks(ranks, members, count, &number), *which = km_cpus_print(united), *cure = NULL;
    if (number > 1) {
        cure = km_format("give each rank cores of its own: mpirun --map-by slot:PE=%d --bind-to core, or srun "
                         "--cpus-per-task=%d --cpu-bind=cores; or start at most %d thread(s) on these cores",
                         check->options->threads, check->options->threads, cores);
    } else {
        cure = km_format("parallel.threads = %d, or give the rank more cores: mpirun --map-by slot:PE=%d, srun "
                         "--cpus-per-task=%d",
                         cores, threads, threads);
    }
    km_host_check_problem(check, cure, "%s on %s: %d threads on %d core(s) (%s), %.3gx oversubscribed", who,
                          km_host_check_name(check, host), threads, cores, which,
                          (double)threads / KM_MAX(cores, 1));
    free(cure);
    free(which);
    free(who);
}

/* ---- A host ---- */

static void judge_quota(km_host_check *check, int host, int ranks) {
    double quota = 0;
    (void)km_json_number(&quota, km_json_get(check->checked[check->lowest_ranks[host]].facts, "quota"));
    int threads = ranks * check->options->threads;
    if (quota > 0 && (double)threads > ceil(quota)) {
        km_host_check_problem(check, "ask the scheduler or the container for more CPU, or start fewer threads",
                              "%s: %d threads, but a control group grants the time of %.3g cores",
                              km_host_check_name(check, host), threads, quota);
    }
}

static void judge_host(km_host_check *check, int host) {
    int *ranks = km_new((size_t)check->ranks, sizeof *ranks),
        *threads = km_new((size_t)check->ranks, sizeof *threads);
    bool *members = km_new((size_t)check->ranks, sizeof *members);
    km_cpus *cores = km_new((size_t)check->ranks, sizeof *cores), united;
    int count = 0;
    for (int rank = 0; rank < check->ranks; rank++) {
        if (!check->checked[rank].absent && check->checked[rank].host == host) {
            ranks[count] = rank;
            threads[count] = check->options->threads;
            cores[count++] = check->checked[rank].cores;
        }
    }
    judge_quota(check, host, count);
    while (km_oversubscribed(members, &united, threads, cores, count)) { /* each set is reported, then left out */
        report_oversubscribed(check, host, ranks, members, count, &united);
        for (int i = 0; i < count; i++) {
            threads[i] = members[i] ? 0 : threads[i];
            for (size_t w = 0; w < KM_COUNT(united.bits); w++) {
                cores[i].bits[w] &= ~united.bits[w];
            }
        }
    }
    bool free_to_move = count > 1;
    for (int i = 1; i < count; i++) {
        const km_checked_rank *a = &check->checked[ranks[0]], *b = &check->checked[ranks[i]];
        free_to_move = free_to_move && memcmp(&a->cpus, &b->cpus, sizeof a->cpus) == 0;
    }
    if (free_to_move) {
        km_host_check_note(check,
                           "%s: its ranks are not bound to cores of their own (mpirun --bind-to core, srun "
                           "--cpu-bind=cores)",
                           km_host_check_name(check, host));
    }
    free(cores);
    free(members);
    free(threads);
    free(ranks);
}

void km_judge_binding(km_host_check *check) {
    for (int host = 0; host < check->hosts; host++) {
        judge_host(check, host);
    }
}
