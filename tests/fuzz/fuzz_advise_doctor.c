/* Any texts as what ranks tell rank 0 of `kmask doctor`: one line a text, for the facts of three ranks, what they found, and the
 * messages that they exchanged. An empty line is a rank that said nothing. */
#include "doctor.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RANKS = 3 };

/* The next lines, one for each rank. */
static char **take(const char **at) {
    char **texts = km_new(RANKS, sizeof *texts);
    for (int rank = 0; rank < RANKS; rank++) {
        const size_t length = strcspn(*at, "\n");
        texts[rank] = length > 0 ? km_format("%.*s", (int)length, *at) : NULL;
        *at += length + ((*at)[length] == '\n');
    }
    return texts;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const km_doctor_options options = {.folder = "/tmp", .threads = 1};
    char *all = km_new(size + 1, 1);
    const char *at = all;
    km_host_check check;
    if (size > 0) {
        memcpy(all, data, size);
    }
    km_host_check_open(&check, &options, RANKS);
    km_host_check_add_ranks(&check, take(&at));
    free(km_host_check_list(&check, NULL));
    (void)km_host_check_record_connections(&check, take(&at));
    (void)km_host_check_record_messages(&check, take(&at));
    if (check.hosts > 0) {
        km_judge_hosts(&check);
        km_judge_binding(&check);
    }
    km_json_destroy(check.problems);
    km_json_destroy(check.notes);
    km_host_check_close(&check);
    free(all);
    return 0;
}
