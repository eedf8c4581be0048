/* Tiling a row into spans. Lengths: M. Joshi et al., "SpanBERT: improving pre-training by representing and
 * predicting spans", TACL 2020: geometric, p = 0.2, renormalised to 1..10 words. */
#include "units.h"

#include <assert.h>

enum { LONGEST = 10 };

/* P(l) = 0.2 0.8^(l-1) up to a factor, as the integer 4^(l-1) 5^(10-l): the draw is exact and the same
 * everywhere. */
static uint32_t weight(int length) {
    uint32_t product = 1;
    for (int i = 1; i < LONGEST; i++) {
        product *= i < length ? 4 : 5;
    }
    return product;
}

/* A length in 1..longest; when `biased`, in proportion to weight times length. */
static int draw_length(int longest, bool biased, km_rng *rng) {
    uint32_t total = 0;
    for (int l = 1; l <= longest; l++) {
        total += weight(l) * (biased ? (uint32_t)l : 1);
    }
    uint32_t ticket = km_rng_below(rng, total);
    int length = 1;
    for (;; length++) {
        uint32_t share = weight(length) * (biased ? (uint32_t)length : 1);
        if (ticket < share) {
            return length;
        }
        ticket -= share;
    }
}

void km_units_tile(km_units *spans, const km_units *words, int splits, km_rng *rng) {
    assert(spans->capacity >= words->count);
    spans->count = 0;
    int longest = KM_MAX(1, KM_MIN(LONGEST, words->count / splits));
    /* Words left of the span that covers word 0: entered at a uniform place of a length-biased span. */
    int left = (int)km_rng_below(rng, (uint32_t)draw_length(longest, true, rng)) + 1;
    bool begins = true;
    for (int w = 0; w < words->count; w++) {
        km_range word = words->ranges[w];
        bool cut = w > 0 && words->ranges[w - 1].end != word.begin;
        if (begins || cut) {
            spans->ranges[spans->count++] = word;
        } else {
            spans->ranges[spans->count - 1].end = word.end;
        }
        begins = --left == 0;
        if (begins) {
            left = draw_length(longest, false, rng);
        }
    }
}
