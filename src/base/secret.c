/* secret: random bytes, a keyed hash that proves that somebody knows a key, and SHA-256 (libsodium underneath). XXH3 (hash.c) is a
 * checksum: it finds damage, but whoever wants to can make bytes with a given XXH3. */
#include "kmask/base.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(KM_SECRET == crypto_auth_KEYBYTES && KM_PROOF == crypto_auth_BYTES, "sizes of HMAC-SHA-512-256");

/* libsodium chooses its code for this CPU and opens the system's source of random numbers; once a process. */
static void start(void) {
    if (sodium_init() < 0) {
        fputs("kmask: libsodium cannot start on this machine: it has no source of random numbers.\n", stderr);
        _Exit(KM_FAILED);
    }
}

void km_random_bytes(void *out, size_t count) {
    start();
    randombytes_buf(out, count);
}

void km_prove(unsigned char out[KM_PROOF], const void *bytes, size_t count, const unsigned char secret[KM_SECRET]) {
    start();
    crypto_auth(out, bytes, count, secret);
}

bool km_proves(const unsigned char proof[KM_PROOF], const void *bytes, size_t count,
               const unsigned char secret[KM_SECRET]) {
    start();
    return crypto_auth_verify(proof, bytes, count, secret) == 0;
}

void km_sha256_base64(char out[KM_SHA256_TEXT], const void *bytes, size_t count) {
    unsigned char hash[crypto_hash_sha256_BYTES];
    start();
    crypto_hash_sha256(hash, bytes, count);
    sodium_bin2base64(out, KM_SHA256_TEXT, hash, sizeof hash, sodium_base64_VARIANT_ORIGINAL);
}

bool km_same_bytes(const void *a, const void *b, size_t count) {
    start();
    return sodium_memcmp(a, b, count) == 0;
}
