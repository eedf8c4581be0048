/* hash: checksums by XXH3-128. */
#include "kmask/base.h"

#include <stdlib.h>
#include <xxhash.h>

static km_hash from_xxh(XXH128_hash_t value) {
    return (km_hash){.low = value.low64, .high = value.high64};
}

km_hash km_hash_bytes(const void *bytes, size_t count) {
    return from_xxh(XXH3_128bits(bytes, count));
}

km_hasher *km_hasher_create(void) {
    XXH3_state_t *state = XXH3_createState();
    if (state == NULL) {
        fputs("kmask: out of memory for a checksum.\n", stderr);
        _Exit(KM_FAILED);
    }
    XXH3_128bits_reset(state);
    return (km_hasher *)state;
}

void km_hasher_add(km_hasher *hasher, const void *bytes, size_t count) {
    XXH3_128bits_update((XXH3_state_t *)hasher, bytes, count);
}

km_hash km_hasher_end(km_hasher *hasher) {
    km_hash hash = from_xxh(XXH3_128bits_digest((XXH3_state_t *)hasher));
    XXH3_freeState((XXH3_state_t *)hasher);
    return hash;
}

void km_hash_text(char out[33], km_hash hash) {
    snprintf(out, 33, "%016llx%016llx", (unsigned long long)hash.high, (unsigned long long)hash.low);
}

bool km_hash_equal(km_hash a, km_hash b) {
    return a.low == b.low && a.high == b.high;
}
