/* Writes any bytes as a file of kmask's whose checksums are right, as whoever changes a file can: only what the reader checks
 * beside them is left. The bytes are those of a whole file; its user block is made again. */
#ifndef KMASK_TESTS_FUZZ_RESEAL_H
#define KMASK_TESTS_FUZZ_RESEAL_H

#include "folder.h"
#include "kmask/base.h"

#include <stdint.h>
#include <string.h>

static inline void fuzz_reseal(const char *path, const uint8_t *data, size_t size) {
    enum { BLOCK = 4096 };
    const size_t whole = size > BLOCK ? size : BLOCK;
    uint8_t *file = km_new(whole, 1);
    const uint64_t length = whole;
    if (size > 0) {
        memcpy(file, data, size);
    }
    memset(file, 0, BLOCK);
    memcpy(file, "KMASKH5\n", 8);
    file[8] = size > 8 && data[8] == 2 ? 2 : 1; /* the version */
    memcpy(file + 16, &length, sizeof length);
    km_hash hash = km_hash_bytes(file + BLOCK, whole - BLOCK);
    memcpy(file + 24, &hash.low, 8);
    memcpy(file + 32, &hash.high, 8);
    hash = km_hash_bytes(file, BLOCK - 16);
    memcpy(file + BLOCK - 16, &hash.low, 8);
    memcpy(file + BLOCK - 8, &hash.high, 8);
    FILE *out = fopen(path, "w");
    if (out == NULL || fwrite(file, 1, whole, out) != whole || fclose(out) != 0) {
        abort();
    }
    free(file);
}

#endif
