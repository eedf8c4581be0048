/* secret: random bytes, a keyed hash that proves that somebody knows a key, signatures, and SHA-256 (libsodium underneath). XXH3 (hash.c) is a
 * checksum: it finds damage, but whoever wants to can make bytes with a given XXH3. */
#include "kmask/base.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(KM_PUBLIC_KEY == crypto_sign_PUBLICKEYBYTES && KM_PRIVATE_KEY == crypto_sign_SECRETKEYBYTES &&
                   KM_SIGNATURE == crypto_sign_BYTES,
               "sizes of Ed25519");
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

void km_sign_keys(unsigned char public_key[KM_PUBLIC_KEY], unsigned char private_key[KM_PRIVATE_KEY]) {
    start();
    crypto_sign_keypair(public_key, private_key);
}

void km_sign(unsigned char out[KM_SIGNATURE], const void *bytes, size_t count,
             const unsigned char private_key[KM_PRIVATE_KEY]) {
    start();
    crypto_sign_detached(out, NULL, bytes, count, private_key);
}

bool km_signed(const unsigned char signature[KM_SIGNATURE], const void *bytes, size_t count,
               const unsigned char public_key[KM_PUBLIC_KEY]) {
    start();
    return crypto_sign_verify_detached(signature, bytes, count, public_key) == 0;
}

void km_public_key_print(char out[KM_PUBLIC_KEY_TEXT], const unsigned char public_key[KM_PUBLIC_KEY]) {
    sodium_bin2hex(out, KM_PUBLIC_KEY_TEXT, public_key, KM_PUBLIC_KEY);
}

bool km_public_key_parse(unsigned char out[KM_PUBLIC_KEY], const char *text) {
    size_t count = 0;
    return sodium_hex2bin(out, KM_PUBLIC_KEY, text, strnlen(text, KM_PUBLIC_KEY_TEXT - 1), NULL, &count, NULL) ==
               0 &&
           count == KM_PUBLIC_KEY;
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
