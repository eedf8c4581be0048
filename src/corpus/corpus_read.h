/* corpus_read: reads pieces of input files, line by line, into documents of a spill. Everything is local. */
#ifndef KMASK_DATA_CORPUS_READ_H
#define KMASK_DATA_CORPUS_READ_H

#include "corpus_spill.h"
#include "kmask/input.h"
#include "tags.h"

enum { KM_LINE_LIMIT = 1 << 20, KM_RECORD_LIMIT = 1 << 25, KM_FIND_LIMIT = 1 << 20 };

/* What a file has of valid and invalid UTF-8. Only int64_t, because ranks add them up. */
typedef struct km_byte_counts {
    int64_t bytes, invalid, beyond_ascii;
} km_byte_counts;

/* The first invalid UTF-8 that this process met in a file. */
typedef struct km_first_invalid {
    size_t file;
    char *name;           /* of the file, or of the entry of an archive */
    uint64_t begin, line; /* the line, counted from byte `begin`; 0: not known, since the text was converted */
} km_first_invalid;

/* What was read of a piece of a file. */
typedef struct km_seen_piece {
    size_t file;
    km_seen seen;
} km_seen_piece;

typedef struct km_reading {
    const km_inputs *inputs;
    km_input_options input;
    km_document document;
    km_span_source spans;
    const char *field;
    km_spill *spill; /* where documents go; NULL: to `take` */
    km_text_taker take;
    void *context;
    km_progress *progress; /* NULL: none */
    uint64_t read, shown;  /* bytes of files, for progress */

    const char *name;    /* of the text that is being read */
    km_seen now;         /* of the piece that is being read */
    km_seen_piece *seen; /* (seen_count) of those that were read before, in the order of files */
    size_t seen_count, seen_room;
    km_contents *texts; /* the file that is being read, where it is not plain */
    uint64_t bytes, cut_lines, bad_records, bad_spans, skipped_lines, bad_tags; /* counted */
    km_byte_counts *counts;                                                     /* (files) */
    km_first_invalid *invalid; /* (invalid_count) ascending by file */
    size_t invalid_count;
    km_spans given, line_spans; /* of a field; of a line */
    km_tag_names tag_names;     /* those met so far */
    km_spans tags, line_tags;   /* tagged ranges of a field; of a line */
    km_buffer block;            /* lines of a document in which spans are yet to be found */
    km_spans block_tags;        /* their tags */
    km_buffer block_breaks;     /* (size_t) the bytes of the block before which paragraphs end */
    km_spans found, found_tags; /* spans in the block; tags of one of its lines */
    /* The first bad record: what is wrong, the text's name, and the line, counted from where its piece was read. */
    char *bad, *bad_name;
    size_t bad_file;
    uint64_t bad_begin, bad_line;
} km_reading;

/* What the reading of files needs of the options of a corpus. */
km_input_options km_input_options_of(const km_corpus_options *options);
/* Reads the documents that begin in the piece. */
km_status km_reading_piece(km_reading *reading, const km_input_piece *piece) KM_NODISCARD;
/* Keeps reading->now, which is of a piece of that file. */
void km_reading_note_seen(km_reading *reading, size_t file);
void km_reading_free_seen(km_reading *reading);
/* Called when all ranks have read: fails where one of the files no longer holds what this process has read of it. */
km_status km_reading_check_seen(const km_reading *reading) KM_NODISCARD;
/* A record's list of entities, [[start, end, label], ...] in characters of `text` (Unicode code points, as Python counts
 * them), as spans in bytes, ascending and without overlap: of two that overlap the one that begins first stays, or else the
 * longer. Entries that are none, out of range, empty, or overlapping are added to *bad. */
void km_entities_read(const km_json *list, const char *text, km_spans *out, uint64_t *bad);
/* A record's list of tags, [[start, end, tag], ...], by the same rules; the kind of each range is the number of its tag in `names`.
 * An entry without a name of 1 to KM_TAG_BYTES bytes is added to *bad too. More than KM_MOST_TAGS names are KM_FAILED. */
km_status km_tags_read(const km_json *list, const char *text, km_tag_names *names, km_spans *out,
                       uint64_t *bad) KM_NODISCARD;

/* Counts the bytes of a line or field of a piece. *skip: they are to be left out. */
km_status km_reading_count_bytes(km_reading *reading, const km_input_piece *piece, const char *text, size_t count,
                                 uint64_t line, bool *skip) KM_NODISCARD;
/* Counts what a conversion has replaced, when its text has been read. */
km_status km_reading_count_replaced(km_reading *reading, const km_input_piece *piece,
                                    uint64_t replaced) KM_NODISCARD;
/* Judges invalid UTF-8 by the counts of all ranks (files). KM_OK without any; else *file is the one that is to be told of: the first
 * in which there is too much for the options (*refused), or the first that has any. */
bool km_reading_judge(const km_reading *reading, const km_byte_counts *totals, size_t *file, bool *refused);
/* Fails with the sentence about invalid UTF-8 in a file of which this process has seen the first. */
km_status km_reading_tell_invalid(const km_reading *reading, const km_byte_counts *totals, size_t file,
                                  bool refused) KM_NODISCARD;

/* Frees what the reading itself holds. */
void km_reading_end(km_reading *reading);
/* Fails with "file:line: what is wrong" of the first bad record. */
km_status km_reading_complain(const km_reading *reading) KM_NODISCARD;

#endif
