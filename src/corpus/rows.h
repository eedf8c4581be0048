/* rows: what rows.c and rows_cut.c share. */
#ifndef KMASK_DATA_ROWS_H
#define KMASK_DATA_ROWS_H

#include "corpus.h"

/* Where a row is found: 16 bytes, as they stand in the index file. */
typedef struct km_row_entry {
    uint64_t start;    /* its first token of the corpus */
    uint32_t document; /* the one that token is in */
    uint16_t tokens;   /* of the corpus */
    uint16_t seps;     /* [SEP]s inside: one for each document that ends before the row does */
} km_row_entry;

/* Cuts the corpus into rows, front to back, and hands each usable one to `found`. */
typedef km_status km_row_found(void *payload, const km_row_entry *entry);
km_status km_rows_cut(const km_corpus *corpus, const km_rows_options *options, km_row_found *found, void *payload,
                      uint64_t *left_out) KM_NODISCARD;

/* May a mask hide this id? */
static inline bool km_id_maskable(const km_specials *special, int32_t id) {
    return id != special->cls && id != special->sep && id != special->pad && id != special->mask &&
           id != special->unk;
}

#endif
