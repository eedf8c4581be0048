/* corpus_invalid: bytes that are not UTF-8 are counted in each file, and refused or told. */
#include "corpus_read.h"

#include <stdlib.h>

static km_status refuse_invalid(const km_reading *reading, const km_input_piece *piece, uint64_t line) {
    const km_input *input = &reading->inputs->files[piece->file];
    uint64_t before = 0;
    if (input->plain) {
        KM_TRY(km_input_newlines(&before, input, piece->begin > 0 ? piece->begin - 1 : 0));
    }
    return km_fail_kind(KM_ERROR_DAMAGED,
                        "%s:%llu: bytes that are not UTF-8, which --invalid refuse does not allow", reading->name,
                        (unsigned long long)(before + line));
}

static void note_invalid(km_reading *reading, const km_input_piece *piece, uint64_t line) {
    reading->invalid = km_grow(reading->invalid, reading->invalid_count + 1, sizeof *reading->invalid);
    reading->invalid[reading->invalid_count++] =
        (km_first_invalid){.file = piece->file,
                           .name = km_strdup(reading->name),
                           .begin = piece->begin > 0 ? piece->begin - 1 : 0,
                           .line = line};
}

km_status km_reading_count_bytes(km_reading *reading, const km_input_piece *piece, const char *text, size_t count,
                                 uint64_t line, bool *skip) {
    km_byte_counts *counts = &reading->counts[piece->file];
    uint64_t invalid = 0, beyond = 0;
    km_utf8_count(text, count, &invalid, &beyond);
    counts->bytes += (int64_t)count + 1;
    counts->beyond_ascii += (int64_t)beyond;
    *skip = false;
    if (invalid == 0) {
        return KM_OK;
    }
    if (counts->invalid == 0) {
        note_invalid(reading, piece, line);
    }
    counts->invalid += (int64_t)invalid;
    *skip = reading->input.invalid == KM_INVALID_SKIP;
    reading->skipped_lines += *skip;
    return reading->input.invalid == KM_INVALID_REFUSE ? refuse_invalid(reading, piece, line) : KM_OK;
}

km_status km_reading_count_replaced(km_reading *reading, const km_input_piece *piece, uint64_t replaced) {
    km_byte_counts *counts = &reading->counts[piece->file];
    if (replaced == 0) {
        return KM_OK;
    }
    if (counts->invalid == 0) {
        note_invalid(reading, piece, 0);
    }
    counts->invalid += (int64_t)replaced;
    return reading->input.invalid != KM_INVALID_REFUSE
               ? KM_OK
               : km_fail_kind(
                     KM_ERROR_DAMAGED,
                     "%s: %llu sequences of bytes are not of the file's encoding, which --invalid refuse does "
                     "not allow",
                     reading->name, (unsigned long long)replaced);
}

bool km_reading_judge(const km_reading *reading, const km_byte_counts *totals, size_t *file, bool *refused) {
    bool found = false;
    *refused = false;
    for (size_t i = 0; i < reading->inputs->count && !*refused; i++) {
        const km_byte_counts *c = &totals[i];
        *refused = reading->input.invalid == KM_INVALID_JUDGE &&
                   km_invalid_is_large((uint64_t)c->invalid, (uint64_t)c->beyond_ascii, (uint64_t)c->bytes);
        if (*refused || (c->invalid > 0 && !found)) {
            *file = i;
            found = true;
        }
    }
    return found;
}

km_status km_reading_tell_invalid(const km_reading *reading, const km_byte_counts *totals, size_t file,
                                  bool refused) {
    const km_first_invalid *first = reading->invalid;
    while (first->file != file) {
        first++;
    }
    const km_input *input = &reading->inputs->files[file];
    uint64_t before = 0, files = 0;
    if (input->plain) {
        KM_TRY(km_input_newlines(&before, input, first->begin));
    }
    for (size_t i = 0; i < reading->inputs->count; i++) {
        files += totals[i].invalid > 0;
    }
    char *where = first->line > 0 ? km_format(":%llu", (unsigned long long)(before + first->line)) : km_strdup("");
    char *others =
        files > 1 ? km_format(" (and in %llu more files)", (unsigned long long)(files - 1)) : km_strdup("");
    const double share = 100 * (double)totals[file].invalid / (double)KM_MAX(totals[file].bytes, 1);
    const char *end = refused ? ". Name the encoding with --encoding, or read it with --invalid replace or skip."
                      : reading->input.invalid == KM_INVALID_SKIP ? "; lines with such bytes are left out"
                                                                  : "; they are replaced (--invalid, --encoding)";
    km_status status =
        km_fail_kind(KM_ERROR_DAMAGED, "%s%s: here bytes begin that are not UTF-8: %.2g %% of the file%s%s",
                     first->name, where, share, others, end);
    free(where);
    free(others);
    return status;
}
