/* nearest: the word to suggest in "Did you mean ...?", by edit distance over bytes. */
#include "kmask/base.h"

#include <stdlib.h>
#include <string.h>

/* Optimal string alignment: insert, delete, replace, or swap two neighbours. */
static size_t distance(const char *a, const char *b) {
    size_t m = strlen(a), n = strlen(b), width = n + 1;
    size_t *d = km_new((m + 1) * width, sizeof *d);
    for (size_t i = 0; i <= m; i++) {
        for (size_t j = 0; j <= n; j++) {
            if (i == 0 || j == 0) {
                d[i * width + j] = i + j;
                continue;
            }
            size_t best = d[(i - 1) * width + j - 1] + (a[i - 1] != b[j - 1]);
            best = KM_MIN(best, d[(i - 1) * width + j] + 1);
            best = KM_MIN(best, d[i * width + j - 1] + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                best = KM_MIN(best, d[(i - 2) * width + j - 2] + 1);
            }
            d[i * width + j] = best;
        }
    }
    size_t result = d[m * width + n];
    free(d);
    return result;
}

const char *km_nearest(const char *word, const char *const *words) {
    enum { LONGEST = 200 }; /* no suggestion is made for a longer word: it is not a misspelled key */
    size_t length = strlen(word), best = SIZE_MAX;
    const char *nearest = NULL;
    if (length > LONGEST) {
        return NULL;
    }
    for (; *words != NULL; words++) {
        size_t d = distance(word, *words), limit = 1 + KM_MIN(length, strlen(*words)) / 3;
        if (d < best && d <= limit) {
            best = d;
            nearest = *words;
        }
    }
    return nearest;
}
