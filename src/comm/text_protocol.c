/* text_protocol: the proofs. Each is the keyed hash of a word that says what is proved, of both nonces, and of the content. */
#include "text_protocol.h"

#include <string.h>

static void prove(unsigned char out[KM_PROOF], const unsigned char *secret, const unsigned char *nonce, char what,
                  const km_text_head *head, uint64_t length, const char *text) {
    km_buffer all = {0};
    km_text_head plain = *head;
    memset(plain.proof, 0, sizeof plain.proof);
    km_buffer_add(&all, &what, 1);
    km_buffer_add(&all, nonce, KM_TEXT_NONCE);
    km_buffer_add(&all, &plain, sizeof plain);
    km_buffer_add(&all, &length, sizeof length);
    if (text != NULL) {
        km_buffer_add(&all, text, (size_t)length);
    }
    km_prove(out, all.data, all.size, secret);
    km_buffer_free(&all);
}

void km_text_prove_head(unsigned char out[KM_PROOF], const unsigned char *secret, const unsigned char *nonce,
                        const km_text_head *head) {
    prove(out, secret, nonce, 'h', head, 0, NULL);
}

void km_text_prove_put(unsigned char out[KM_PROOF], const unsigned char *secret, const unsigned char *nonce,
                       const km_text_head *head, const char *text) {
    prove(out, secret, nonce, 'p', head, head->length, text);
}

void km_text_prove_answer(unsigned char out[KM_PROOF], const unsigned char *secret, const unsigned char *nonce,
                          const km_text_head *head, uint64_t length, const char *text) {
    prove(out, secret, nonce, 'a', head, length, text);
}
