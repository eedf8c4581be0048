/* A corpus that needs no file: the functions of corpus, rows and tokenizer that sources and evaluation call, over
 * rows made here. Include it in one file of a program; the library's own are then not linked. */
#ifndef KMASK_TESTS_FAKE_ROWS_H
#define KMASK_TESTS_FAKE_ROWS_H

#include "kmask/data.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { FAKE_LENGTH = 40, FAKE_VOCABULARY = 60, FAKE_MASK = 7 };

struct km_rows {
    uint64_t count;
    bool varied;       /* rows of different lengths */
    uint64_t broken;   /* this row cannot be read; UINT64_MAX: none */
    uint64_t too_high; /* this row holds an id that the vocabulary has not; UINT64_MAX: none */
    atomic_int reads;
};

static inline struct km_rows fake_rows(uint64_t count, bool varied) {
    return (struct km_rows){.count = count, .varied = varied, .broken = UINT64_MAX, .too_high = UINT64_MAX};
}

uint64_t km_rows_count(const km_rows *rows) {
    return rows->count;
}

int km_rows_length(const km_rows *rows) {
    (void)rows;
    return FAKE_LENGTH;
}

km_row *km_row_create(int max_length) {
    km_row *row = km_new(1, sizeof *row);
    row->ids = km_new((size_t)max_length, sizeof *row->ids);
    row->starts_word = km_new((size_t)max_length, 1);
    row->maskable = km_new((size_t)max_length, 1);
    row->spans = km_new((size_t)max_length, sizeof *row->spans);
    row->sentences = km_new((size_t)max_length, sizeof *row->sentences);
    return row;
}

void km_row_destroy(km_row *row) {
    if (row != NULL) {
        free(row->ids);
        free(row->starts_word);
        free(row->maskable);
        free(row->spans);
        free(row->sentences);
        free(row);
    }
}

static inline bool fake_special(int32_t id) {
    return id <= 3 || id == FAKE_MASK;
}

km_status km_rows_read(const km_rows *rows, uint64_t number, km_row *out) {
    atomic_fetch_add(&((km_rows *)(uintptr_t)rows)->reads, 1);
    assert_true(number < rows->count);
    if (number == rows->broken) {
        return km_fail(KM_FAILED, "fake.h5: row %d cannot be read.", (int)number);
    }
    out->number = number;
    out->length = rows->varied ? FAKE_LENGTH - (int)(number * 5 % 17) : FAKE_LENGTH;
    for (int p = 0; p < out->length; p++) {
        int32_t id = (int32_t)(8 + (number * 31 + (uint64_t)p * 7) % (FAKE_VOCABULARY - 8));
        bool special = p == 0 || p == out->length - 1 || (number % 3 == 2 && p == 9);
        out->ids[p] = special ? (p == 0 ? 2 : 3) : id;
        out->starts_word[p] = special || (number + (uint64_t)p) % 3 != 0;
        out->maskable[p] = !special;
    }
    if (number == rows->too_high) {
        out->ids[4] = FAKE_VOCABULARY;
    }
    return KM_OK;
}

const km_tokenizer *km_corpus_tokenizer(const km_corpus *corpus) {
    (void)corpus;
    return NULL;
}

bool km_corpus_has_spans(const km_corpus *corpus) {
    (void)corpus;
    return false;
}

const char *km_corpus_path(const km_corpus *corpus) {
    (void)corpus;
    return "fake.h5";
}

km_specials km_tokenizer_specials(const km_tokenizer *tokenizer) {
    (void)tokenizer;
    return (km_specials){.pad = 0, .unk = 1, .cls = 2, .sep = 3, .mask = FAKE_MASK};
}

int32_t km_tokenizer_size(const km_tokenizer *tokenizer) {
    (void)tokenizer;
    return FAKE_VOCABULARY;
}

#endif
