/* How often each different word occurs. */
#include "word_counts.h"

#include <stdlib.h>
#include <string.h>

void km_word_counts_add(km_word_counts *counts, const char *bytes, size_t size) {
    uint32_t number = km_strings_add(&counts->words, bytes, size);
    if (number >= counts->room) {
        uint32_t room = counts->room == 0 ? 1024 : 2 * counts->room;
        counts->counts = km_grow(counts->counts, room, sizeof *counts->counts);
        memset(counts->counts + counts->room, 0, (room - counts->room) * sizeof *counts->counts);
        counts->room = room;
    }
    counts->counts[number]++;
}

void km_word_counts_free(km_word_counts *counts) {
    km_strings_free(&counts->words);
    free(counts->counts);
    *counts = (km_word_counts){0};
}
