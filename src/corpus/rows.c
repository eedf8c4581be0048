/* Rows: an index of where each begins, kept in a file, and reading one. Packing itself: rows_cut.c. */
#include "rows.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { VERSION = 1, BATCH = 4096 };

/* The index file: this, then `count` entries. All that decides the rows is in it, so an index is never taken for
 * another corpus' or other options'. */
typedef struct header {
    char magic[8];
    uint32_t version, reserved;
    uint64_t corpus[2];
    int32_t length, packing, unit, min_units;
    int32_t special[5], padding;
    uint64_t count, left_out;
    uint64_t hash[2]; /* of the entries, then of the header up to here */
} header;
enum { HASHED = offsetof(header, hash) };

struct km_rows {
    const km_corpus *corpus;
    km_specials special;
    char *path; /* of the index, for messages */
    int fd;
    header head;
};

static header expected_head(const km_corpus *corpus, const km_rows_options *options) {
    km_hash hash = km_corpus_hash(corpus);
    km_specials s = km_tokenizer_specials(corpus->tokenizer);
    return (header){.magic = "KMROWS\n",
                    .version = VERSION,
                    .corpus = {hash.low, hash.high},
                    .length = options->length,
                    .packing = (int32_t)options->packing,
                    .unit = (int32_t)options->unit,
                    .min_units = options->min_units,
                    .special = {s.pad, s.unk, s.cls, s.sep, s.mask}};
}

/* ---- The index file ---- */

/* Reads all entries to check them against the header's hash. */
static bool entries_fit(int fd, const header *head, const char *path) {
    km_hasher *hasher = km_hasher_create();
    char *piece = km_new(BATCH, sizeof(km_row_entry));
    km_status status = KM_OK;
    for (uint64_t i = 0; i < head->count && status == KM_OK; i += BATCH) {
        size_t bytes = (size_t)KM_MIN((uint64_t)BATCH, head->count - i) * sizeof(km_row_entry);
        status = km_pread_all(fd, piece, bytes, sizeof *head + i * sizeof(km_row_entry), path);
        km_hasher_add(hasher, piece, bytes);
    }
    km_hasher_add(hasher, head, HASHED);
    free(piece);
    km_hash hash = km_hasher_end(hasher);
    return status == KM_OK && hash.low == head->hash[0] && hash.high == head->hash[1];
}

/* True when the file is there, whole, and of this corpus and these options. */
static bool open_index(km_rows *rows) {
    int fd = open(rows->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a named pipe is refused, not waited for */
    if (fd < 0) {
        return false;
    }
    header head = {0};
    struct stat info;
    bool fits = fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size >= (off_t)sizeof head &&
                km_pread_all(fd, &head, sizeof head, 0, rows->path) == KM_OK &&
                memcmp(&head, &rows->head, offsetof(header, count)) == 0 && head.count > 0 &&
                head.count == ((uint64_t)info.st_size - sizeof head) / sizeof(km_row_entry) &&
                ((uint64_t)info.st_size - sizeof head) % sizeof(km_row_entry) == 0 &&
                entries_fit(fd, &head, rows->path);
    if (!fits) {
        close(fd);
        return false;
    }
    rows->fd = fd;
    rows->head = head;
    return true;
}

typedef struct writing {
    km_rows *rows;
    const char *path;
    km_hasher *hasher;
    size_t pending;
    km_row_entry entries[BATCH];
} writing;

static km_status flush(writing *w) {
    size_t bytes = w->pending * sizeof(km_row_entry);
    uint64_t offset = sizeof(header) + (w->rows->head.count - w->pending) * sizeof(km_row_entry);
    km_hasher_add(w->hasher, w->entries, bytes);
    w->pending = 0;
    return km_pwrite_all(w->rows->fd, w->entries, bytes, offset, w->path);
}

static km_status write_entry(void *payload, const km_row_entry *entry) {
    writing *w = payload;
    w->entries[w->pending++] = *entry;
    w->rows->head.count++;
    return w->pending == BATCH ? flush(w) : KM_OK;
}

static const char *packing_name(km_packing packing) {
    return packing == KM_PACK_STREAM ? "stream" : packing == KM_PACK_DOCUMENTS ? "documents" : "full_sentences";
}

static km_status check_any(const km_rows *rows, const km_rows_options *options) {
    if (rows->head.count > 0) {
        return KM_OK;
    }
    if (options->min_units <= 1 && options->unit != KM_UNIT_SALIENT) {
        return km_fail(
            KM_FAILED,
            "%s: no usable row: not one of %llu tokens can be masked, all are unknown or special. Was the "
            "corpus built with the right tokenizer for its text?",
            rows->corpus->path, (unsigned long long)km_corpus_tokens(rows->corpus));
    }
    return km_fail(
        KM_FAILED,
        "%s: no usable row: %llu documents with %llu tokens give %llu rows of length %d (packing %s), and "
        "each has fewer than %d maskable %s (mask.splits). Use a larger data.length, fewer mask.splits, "
        "packing full_sentences or more text.",
        rows->corpus->path, (unsigned long long)km_corpus_documents(rows->corpus),
        (unsigned long long)km_corpus_tokens(rows->corpus), (unsigned long long)rows->head.left_out,
        options->length, packing_name(options->packing), options->min_units, km_unit_counted(options->unit));
}

/* Fills the empty index file rows->fd. */
static km_status write_index(km_rows *rows, const km_rows_options *options, const char *path) {
    writing *w = km_new(1, sizeof *w);
    w->rows = rows;
    w->path = path;
    w->hasher = km_hasher_create();
    km_status status = km_rows_cut(rows->corpus, options, write_entry, w, &rows->head.left_out);
    if (status == KM_OK) {
        status = flush(w);
    }
    km_hasher_add(w->hasher, &rows->head, HASHED);
    km_hash hash = km_hasher_end(w->hasher);
    free(w);
    KM_TRY(status);
    KM_TRY(check_any(rows, options));
    rows->head.hash[0] = hash.low;
    rows->head.hash[1] = hash.high;
    return km_pwrite_all(rows->fd, &rows->head, sizeof rows->head, 0, path);
}

static km_status make_index(km_rows *rows, const km_rows_options *options) {
    char *temporary = km_format("%s.tmp", rows->path);
    unlink(temporary);
    rows->fd = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    km_status status = rows->fd >= 0 ? write_index(rows, options, temporary)
                                     : km_fail_errno(errno, "%s: cannot create", temporary);
    if (status == KM_OK) {
        status = km_file_commit(temporary, rows->path);
    }
    if (status != KM_OK) {
        unlink(temporary);
    }
    free(temporary);
    return status;
}

static km_status make_unnamed_index(km_rows *rows, const km_rows_options *options) {
    const char *folder = getenv("TMPDIR");
    rows->path = km_format("%s/kmask-rows-XXXXXX", folder != NULL && *folder != '\0' ? folder : "/tmp");
    rows->fd = mkostemp(rows->path, O_CLOEXEC);
    if (rows->fd < 0) {
        return km_fail_kind(km_errno_kind(errno),
                            "%s: cannot create: %s. Set TMPDIR to a folder that can be written.", rows->path,
                            strerror(errno));
    }
    unlink(rows->path);
    return write_index(rows, options, rows->path);
}

/* ---- Opening ---- */

static km_status check_options(const km_corpus *corpus, const km_rows_options *options) {
    km_specials special = km_tokenizer_specials(corpus->tokenizer);
    if (options->length < 3 || options->length > UINT16_MAX) {
        return km_fail(KM_USAGE, "data.length is %d; a row has 3 to 65535 tokens with [CLS] and [SEP]",
                       options->length);
    }
    if (options->unit == KM_UNIT_SALIENT && !km_corpus_has_spans(corpus)) {
        return km_fail(
            KM_USAGE,
            "%s: it holds no names, dates and numbers, which mask.policy salient hides. Build it again with `kmask "
            "corpus build --spans find`, or from JSONL with \"entities\".",
            corpus->path);
    }
    if (km_corpus_documents(corpus) > UINT32_MAX) {
        return km_fail(KM_FAILED, "%s: %llu documents; at most 4294967295 can be packed", corpus->path,
                       (unsigned long long)km_corpus_documents(corpus));
    }
    if (special.cls < 0 || special.sep < 0) {
        return km_fail(KM_FAILED, "%s: its tokenizer has no [CLS] or no [SEP], which rows begin and end with",
                       corpus->path);
    }
    return KM_OK;
}

km_status km_rows_open(km_rows **out, const km_corpus *corpus, const km_rows_options *options, const char *file) {
    *out = NULL;
    KM_TRY(check_options(corpus, options));
    km_rows *rows = km_new(1, sizeof *rows);
    rows->corpus = corpus;
    rows->special = km_tokenizer_specials(corpus->tokenizer);
    rows->fd = -1;
    rows->head = expected_head(corpus, options);
    km_status status = KM_OK;
    if (file == NULL) {
        status = make_unnamed_index(rows, options);
    } else {
        rows->path = km_strdup(file);
        bool there = open_index(rows);
        if (!there && options->read_only) {
            free(rows->path);
            status = make_unnamed_index(rows, options);
        } else if (!there) {
            status = make_index(rows, options);
        }
    }
    if (status != KM_OK) {
        km_rows_close(rows);
        return status;
    }
    *out = rows;
    return KM_OK;
}

void km_rows_close(km_rows *rows) {
    if (rows == NULL) {
        return;
    }
    if (rows->fd >= 0) {
        close(rows->fd);
    }
    free(rows->path);
    free(rows);
}

uint64_t km_rows_count(const km_rows *rows) {
    return rows->head.count;
}

uint64_t km_rows_left_out(const km_rows *rows) {
    return rows->head.left_out;
}

int km_rows_length(const km_rows *rows) {
    return rows->head.length;
}

km_hash km_rows_hash(const km_rows *rows) {
    return (km_hash){.low = rows->head.hash[0], .high = rows->head.hash[1]};
}

/* ---- Reading ---- */

km_row *km_row_create(int max_length) {
    km_row *row = km_new(1, sizeof *row);
    size_t count = (size_t)max_length;
    row->ids = km_new(count, sizeof *row->ids);
    row->starts_word = km_new(count, 1);
    row->maskable = km_new(count, 1);
    row->spans = km_new(count, sizeof *row->spans);
    row->sentences = km_new(count, sizeof *row->sentences);
    row->tags = km_new(count, 1);
    return row;
}

void km_row_destroy(km_row *row) {
    if (row == NULL) {
        return;
    }
    free(row->ids);
    free(row->starts_word);
    free(row->maskable);
    free(row->spans);
    free(row->sentences);
    free(row->tags);
    free(row);
}

static km_status read_entry(const km_rows *rows, uint64_t number, km_row_entry *out) {
    if (number >= rows->head.count) {
        return km_fail(KM_USAGE, "%s: row %llu does not exist; there are %llu rows, from 0", rows->corpus->path,
                       (unsigned long long)number, (unsigned long long)rows->head.count);
    }
    uint64_t offset = sizeof(header) + number * sizeof *out;
    KM_TRY(km_pread_all(rows->fd, out, sizeof *out, offset, rows->path));
    uint64_t total = km_corpus_tokens(rows->corpus);
    if (out->tokens == 0 || (int)out->tokens + out->seps + 2 > rows->head.length || out->start > total ||
        out->tokens > total - out->start) {
        return km_fail(KM_FAILED, "%s: row %llu was overwritten while in use. Remove the file; it is made again.",
                       rows->path, (unsigned long long)number);
    }
    return KM_OK;
}

static void put_special(km_row *row, int at, int32_t id) {
    row->ids[at] = id;
    row->starts_word[at] = 1;
    row->maskable[at] = 0;
    row->tags[at] = 0;
}

/* What begins in positions from..end-1 moves by `gap`. */
static void move_ranges(km_row *row, int from, int end, int gap) {
    for (int i = 0; i < row->span_count; i++) {
        bool moves = row->spans[i].start >= from && row->spans[i].start < end;
        row->spans[i].start += moves ? gap : 0;
        row->spans[i].end += moves ? gap : 0;
    }
    for (int i = 0; i < row->sentence_count; i++) {
        bool moves = row->sentences[i].start >= from && row->sentences[i].start < end;
        row->sentences[i].start += moves ? gap : 0;
        row->sentences[i].end += moves ? gap : 0;
    }
}

/* Tokens stand at 1..tokens; opens a gap for a [SEP] at each inner document end, last one first. */
static km_status insert_seps(const km_rows *rows, const km_row_entry *entry, km_row *row) {
    uint64_t stop = entry->start + entry->tokens; /* of the tokens not yet at their place */
    int gap = entry->seps;
    while (gap > 0) {
        uint64_t end = 0;
        KM_TRY(km_corpus_read_ends(rows->corpus, rows->corpus->document_ends, entry->document + (uint32_t)gap - 1,
                                   1, &end));
        if (end <= entry->start || end >= stop) {
            return km_fail(KM_FAILED, "%s: document ends do not ascend near token %llu", rows->corpus->path,
                           (unsigned long long)entry->start);
        }
        size_t from = (size_t)(end - entry->start) + 1, count = (size_t)(stop - end), to = from + (size_t)gap;
        memmove(row->ids + to, row->ids + from, count * sizeof *row->ids);
        memmove(row->starts_word + to, row->starts_word + from, count);
        memmove(row->tags + to, row->tags + from, count);
        put_special(row, (int)to - 1, rows->special.sep);
        move_ranges(row, (int)from, (int)(from + count), gap);
        stop = end;
        gap--;
    }
    return KM_OK;
}

km_status km_rows_read(const km_rows *rows, uint64_t number, km_row *out) {
    km_row_entry entry = {0};
    KM_TRY(read_entry(rows, number, &entry));
    KM_TRY(km_corpus_read_tokens(rows->corpus, entry.start, entry.tokens, out->ids + 1));
    KM_TRY(km_corpus_read_word_starts(rows->corpus, entry.start, entry.tokens, out->starts_word + 1));
    out->starts_word[1] = 1;
    KM_TRY(km_corpus_read_spans(rows->corpus, entry.start, entry.tokens, out->spans, &out->span_count));
    out->sentence_count = 0;
    if (out->wants_sentences) {
        KM_TRY(km_corpus_read_sentences(rows->corpus, entry.start, entry.tokens, out->sentences,
                                        &out->sentence_count));
    }
    if (out->wants_tags) {
        KM_TRY(km_corpus_read_tags(rows->corpus, entry.start, entry.tokens, out->tags + 1));
    }
    move_ranges(out, 0, entry.tokens, 1); /* behind [CLS] */
    KM_TRY(insert_seps(rows, &entry, out));
    out->number = number;
    out->length = entry.tokens + entry.seps + 2;
    put_special(out, 0, rows->special.cls);
    put_special(out, out->length - 1, rows->special.sep);
    for (int i = 1; i < out->length - 1; i++) {
        out->maskable[i] = km_id_maskable(&rows->special, out->ids[i]);
    }
    return KM_OK;
}
