/* What the tests of a corpus on several ranks share: the folder of rank 0, for all. */
#ifndef TESTS_CORPUS_RANKS_H
#define TESTS_CORPUS_RANKS_H

#include "corpus_help.h"

static km_comm *comm; /* the program opens it */

/* For cmocka's setup and teardown. Collective. */
static inline int enter_together(void **state) {
    (void)state;
    if (km_comm_rank(comm) == 0) {
        enter_folder();
    }
    km_comm_broadcast(comm, help_folder, sizeof help_folder);
    return 0;
}

static inline int leave_together(void **state) {
    (void)state;
    km_comm_barrier(comm);
    if (km_comm_rank(comm) == 0) {
        leave_folder();
    }
    return 0;
}

#endif
