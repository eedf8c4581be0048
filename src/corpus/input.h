/* input: text files as a list, cut into pieces of work, read line by line in bounded memory. Everything is
 * local. */
#ifndef KMASK_DATA_INPUT_H
#define KMASK_DATA_INPUT_H

#include "kmask/base.h"

typedef struct km_input {
    char *path;
    uint64_t size; /* bytes of the file */
    bool gzip;     /* by its name: .gz */
    bool jsonl;    /* by its name without .gz: .jsonl, .ndjson, .json */
} km_input;

typedef struct km_inputs {
    km_input *files;
    size_t count, capacity;
} km_inputs;

/* Lists files and folders (recursively, by name, without hidden files). What is one of `outputs` (count) is an
 * error when named, and passed over in a folder. Nothing found is an error. Free with km_inputs_free, also after
 * errors. */
km_status km_inputs_find(km_inputs *out, const char *const *paths, int count, const char *const *outputs,
                         int output_count) KM_NODISCARD;
void km_inputs_add(km_inputs *inputs, const char *path, uint64_t size);
void km_inputs_free(km_inputs *inputs);

/* A piece of work: what begins in bytes begin..end-1 of a file. Compressed files are one piece. */
typedef struct km_input_piece {
    size_t file;
    uint64_t begin, end;
} km_input_piece;
/* All files, cut every `bytes` (0: never); the caller frees. */
km_input_piece *km_inputs_cut(const km_inputs *inputs, uint64_t bytes, size_t *count);

/* A line without its newline, or, of a line longer than the limit, one part after the other. */
typedef struct km_text_line {
    const char *text; /* NULL after the last line; valid until the next call; not terminated */
    size_t count;
    uint64_t offset;  /* of the part in the (uncompressed) text */
    uint64_t number;  /* of the line, from 1 where reading began */
    bool first, last; /* part of the line; both for a line that was not cut */
} km_text_line;

typedef struct km_lines km_lines;
/* Reads from byte `begin` (0 for compressed files). Lines longer than `limit` bytes are cut, at a blank or else
 * between characters. */
km_status km_lines_open(km_lines **out, const km_input *input, uint64_t begin, size_t limit) KM_NODISCARD;
void km_lines_close(km_lines *lines);
km_status km_lines_next(km_lines *lines, km_text_line *out) KM_NODISCARD;
uint64_t km_lines_position(const km_lines *lines); /* bytes of the file read so far, for progress */
uint64_t km_lines_bytes(const km_lines *lines);    /* of text taken so far, from `begin` */

/* How much of `text` (count > limit bytes) to take where a line is cut. */
size_t km_line_cut(const char *text, size_t limit);
/* Length without blanks at the end: space, tab, CR, vertical tab, form feed. 0: a blank line. */
size_t km_line_trim(const char *text, size_t count);
/* Whether the line that ends with the newline at offset-1 is blank (and not longer than `limit`). */
km_status km_input_blank_before(bool *out, const km_input *input, uint64_t offset, size_t limit) KM_NODISCARD;
/* Newlines in bytes 0..end-1, to name a line. */
km_status km_input_newlines(uint64_t *out, const km_input *input, uint64_t end) KM_NODISCARD;

#endif
