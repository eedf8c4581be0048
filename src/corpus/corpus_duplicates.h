/* corpus_duplicates: documents and long paragraphs that repeat earlier ones, on all ranks together. */
#ifndef KMASK_CORPUS_DUPLICATES_H
#define KMASK_CORPUS_DUPLICATES_H

#include "corpus_spill.h"
#include "kmask/comm.h"

/* Which documents and long paragraphs of this rank's spill repeat an earlier one, of this or of a lower rank: a bit each. Paragraphs of
 * such documents are not looked at. */
typedef struct km_duplicates {
    uint8_t *documents, *paragraphs;
    uint64_t document_count, paragraph_count; /* of this rank */
} km_duplicates;

/* Finds them by the hashes of their texts. Memory: a bit for each, and hashes in rounds of some `at_once` on each rank. The caller
 * frees, also after errors. Collective. */
km_status km_duplicates_find(km_duplicates *out, km_comm *comm, const km_spill *spill,
                             uint64_t at_once) KM_NODISCARD;
void km_duplicates_free(km_duplicates *duplicates);
/* Removes them from the spill, with documents of which nothing is left. Local. */
km_status km_duplicates_drop(km_spill *spill, const km_duplicates *duplicates) KM_NODISCARD;

static inline bool km_bit(const uint8_t *bits, uint64_t i) {
    return (bits[i / 8] >> (i % 8) & 1) != 0;
}

#endif
