/* Makes a folder for a fuzz target's files, in memory if possible, because thousands of inputs a second are written there. */
#ifndef KMASK_TESTS_FUZZ_FOLDER_H
#define KMASK_TESTS_FUZZ_FOLDER_H

#include <stdio.h>
#include <stdlib.h>

enum { FUZZ_PATH = 64 };

static inline void fuzz_folder(char path[FUZZ_PATH], const char *target) {
    static const char *const places[] = {"/dev/shm", "/tmp"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        snprintf(path, FUZZ_PATH, "%s/kmask-fuzz-%s-XXXXXX", places[i], target);
        if (mkdtemp(path) != NULL) {
            return;
        }
    }
    perror("a fuzz target's folder");
    abort();
}

#endif
