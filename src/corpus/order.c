/* The order of rows is a function, not a state: a balanced Feistel network (Luby and Rackoff 1988) over the next
 * even power of two, walked until it lands below n (Black and Rogaway 2002, "cycle walking"). */
#include "kmask/corpus.h"

enum { ROUNDS = 8 };

typedef struct feistel {
    uint32_t key[2];
    uint64_t epoch;
    int half;      /* bits of each half, 1..32 */
    uint32_t mask; /* of one half */
} feistel;

static uint64_t permute(const feistel *net, uint64_t x) {
    uint32_t left = (uint32_t)(x >> net->half) & net->mask;
    uint32_t right = (uint32_t)x & net->mask;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        const uint32_t counter[4] = {right, round, (uint32_t)net->epoch, (uint32_t)(net->epoch >> 32)};
        uint32_t noise[4];
        km_philox(noise, counter, net->key);
        uint32_t next = left ^ (noise[0] & net->mask);
        left = right;
        right = next;
    }
    return (uint64_t)left << net->half | right;
}

uint64_t km_order(uint64_t i, uint64_t n, uint64_t seed, uint64_t epoch) {
    feistel net = {.epoch = epoch, .half = 1};
    while (net.half < 32 && (n - 1) >> (2 * net.half) != 0) {
        net.half++;
    }
    net.mask = (uint32_t)((UINT64_C(1) << net.half) - 1);
    km_rng_key(net.key, seed, KM_RNG_ORDER);
    /* i < n lies on a cycle that comes back to i at the latest, so this ends; on average below four steps. */
    do {
        i = permute(&net, i);
    } while (i >= n);
    return i;
}
