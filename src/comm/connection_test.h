/* connection_test: what goes over a connection. The caller sends KM_CHALLENGE random bytes, the server answers. */
#ifndef KM_CONNECTION_TEST_H
#define KM_CONNECTION_TEST_H

#include "kmask/base.h"

enum { KM_CHALLENGE = 32 };

typedef struct km_answer {
    double clock;                          /* the server's, in seconds since 1970 */
    unsigned char signature[KM_SIGNATURE]; /* of the challenge and the clock */
} km_answer;

void km_connection_answer(km_answer *out, const unsigned char challenge[KM_CHALLENGE],
                          const unsigned char private_key[KM_PRIVATE_KEY]);
bool km_connection_believed(const km_answer *answer, const unsigned char challenge[KM_CHALLENGE],
                            const unsigned char public_key[KM_PUBLIC_KEY]);

#endif
