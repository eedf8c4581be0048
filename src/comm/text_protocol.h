/* text_protocol: what the text server and the other ranks send each other. Both prove with a keyed hash that they know the step's
 * secret; what does not prove it is not read further.
 *
 *   server -> client   a nonce
 *   client -> server   a head: its own nonce, what it wants, and the proof of both; for PUT then the text and its proof
 *   server -> client   an answer: length (KM_TEXT_NO: no) and the proof of length and text; for GET then the text */
#ifndef KM_TEXT_PROTOCOL_H
#define KM_TEXT_PROTOCOL_H

#include "kmask/base.h"

enum { KM_TEXT_PUT = 1, KM_TEXT_GET = 2, KM_TEXT_LONGEST = 1 << 24, KM_TEXT_ROUNDS = 1 << 16, KM_TEXT_NONCE = 16 };
#define KM_TEXT_NO UINT64_MAX

typedef struct km_text_head {
    unsigned char nonce[KM_TEXT_NONCE];
    int32_t kind, round, rank, reserved;
    uint64_t length; /* bytes of the text that follows; 0 in a GET */
    unsigned char proof[KM_PROOF];
} km_text_head;

typedef struct km_text_answer {
    uint64_t length;
    unsigned char proof[KM_PROOF];
} km_text_answer;

/* The proofs of one connection: of a head (whose proof is left out), of the text of a PUT, and of an answer. */
void km_text_prove_head(unsigned char out[KM_PROOF], const unsigned char *secret, const unsigned char *nonce,
                        const km_text_head *head);
void km_text_prove_put(unsigned char out[KM_PROOF], const unsigned char *secret, const unsigned char *nonce,
                       const km_text_head *head, const char *text);
void km_text_prove_answer(unsigned char out[KM_PROOF], const unsigned char *secret, const unsigned char *nonce,
                          const km_text_head *head, uint64_t length, const char *text);

#endif
