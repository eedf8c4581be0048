/* Runs a fuzz target without a fuzzer, so any compiler will do: first on each file of its seed folder, then on as many
 * changed ones as asked for. A change is a function of its number, so a failure can be repeated.
 *   replay FOLDER [CHANGES [ONE]]: with ONE only that change runs. */
#include "kmask/base.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct seed {
    char *bytes;
    size_t size;
} seed;

enum { SEED_BYTES = 1 << 24, MOST_CHANGES = 8 };

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int visible(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

static size_t read_seeds(seed **out, const char *folder) {
    struct dirent **entries = NULL;
    int found = scandir(folder, &entries, visible, by_name);
    size_t count = 0;
    seed *seeds = km_new((size_t)(found > 0 ? found : 1), sizeof *seeds);
    for (int i = 0; i < found; i++) {
        char *path = km_format("%s/%s", folder, entries[i]->d_name);
        if (km_file_read(&seeds[count].bytes, &seeds[count].size, path, SEED_BYTES) == KM_OK) {
            count++;
        }
        free(path);
        free(entries[i]);
    }
    free(entries);
    *out = seeds;
    return count;
}

/* Changes `bytes` in place and returns their new number. There is room for a quarter more than `size`, and for 64 bytes. */
static size_t change(km_rng *rng, uint8_t *bytes, size_t size, const seed *other) {
    size_t at = size > 0 ? km_rng_below(rng, (uint32_t)size) : 0;
    size_t run = 1 + km_rng_below(rng, 16);
    switch (km_rng_below(rng, 6)) {
    case 0: /* cut */
        return at;
    case 1: /* flip a bit */
        if (size > 0) {
            bytes[at] = (uint8_t)(bytes[at] ^ 1U << km_rng_below(rng, 8));
        }
        return size;
    case 2: /* an extreme byte */
        if (size > 0) {
            bytes[at] = (uint8_t) "\x00\xff\x7f\x80\"{[,"[km_rng_below(rng, 8)];
        }
        return size;
    case 3: /* drop a run */
        run = KM_MIN(run, size - at);
        memmove(bytes + at, bytes + at + run, size - at - run);
        return size - run;
    case 4: /* repeat a run */
        run = KM_MIN(run, KM_MIN(size - at, size / 8));
        memmove(bytes + at + run, bytes + at, size - at);
        return size + run;
    default: /* a run of another seed */
        run = KM_MIN(run, KM_MIN(size - at, other->size));
        if (run > 0) {
            memcpy(bytes + at, other->bytes + km_rng_below(rng, (uint32_t)(other->size - run + 1)), run);
        }
        return size;
    }
}

static void run_changed(const seed *seeds, size_t count, uint64_t number) {
    km_rng rng = km_rng_make(number, KM_RNG_TEST, 0, 0);
    const seed *from = &seeds[km_rng_below(&rng, (uint32_t)count)];
    const seed *other = &seeds[km_rng_below(&rng, (uint32_t)count)];
    size_t size = from->size;
    uint8_t *bytes = km_new(2 * size + 64, 1);
    memcpy(bytes, from->bytes, size);
    for (uint32_t i = km_rng_below(&rng, MOST_CHANGES) + 1; i > 0 && size <= from->size + from->size / 2; i--) {
        size = change(&rng, bytes, size, other);
    }
    /* A copy of exactly this size, so that AddressSanitizer sees an access beyond its end. */
    uint8_t *exact = km_new(size > 0 ? size : 1, 1);
    memcpy(exact, bytes, size);
    free(bytes);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
}

int main(int argc, char **argv) {
    seed *seeds = NULL;
    size_t count = argc > 1 ? read_seeds(&seeds, argv[1]) : 0;
    if (count == 0) {
        fprintf(stderr, "replay: no seeds; usage: replay FOLDER [CHANGES [ONE]]\n");
        return 1;
    }
    uint64_t changes = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
    uint64_t first = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
    for (size_t i = 0; i < count && argc <= 3; i++) {
        LLVMFuzzerTestOneInput((const uint8_t *)seeds[i].bytes, seeds[i].size);
    }
    for (uint64_t number = first; number < (argc > 3 ? first + 1 : changes); number++) {
        run_changed(seeds, count, number);
    }
    for (size_t i = 0; i < count; i++) {
        free(seeds[i].bytes);
    }
    free(seeds);
    printf("%zu seeds, %llu changed\n", count, (unsigned long long)changes);
    return 0;
}
