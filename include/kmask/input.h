/* input: text as people have it. Files, folders, pipes and archives are listed, recognised by their bytes, unpacked, converted to
 * UTF-8 and read line by line or row by row in bounded memory. What is no text is refused by the name of its format. Everything
 * is local. */
#ifndef KMASK_INPUT_H
#define KMASK_INPUT_H

#include "kmask/base.h"

/* ---- Options ----------------------------------------------------------------------------------------------- */

/* What the lines of a text are. KM_FORM_WIKI is the form of WikiExtractor: <doc id=...> and </doc> around each document. */
typedef enum km_form { KM_FORM_AUTO, KM_FORM_TEXT, KM_FORM_JSONL, KM_FORM_CSV, KM_FORM_TSV, KM_FORM_WIKI } km_form;
/* What happens to bytes that are not UTF-8. KM_INVALID_JUDGE replaces few of them with a warning, and refuses a file in which there
 * are many (km_invalid_is_large); SKIP leaves out the lines or records that hold any. */
typedef enum km_invalid { KM_INVALID_JUDGE, KM_INVALID_REPLACE, KM_INVALID_SKIP, KM_INVALID_REFUSE } km_invalid;

typedef struct km_input_options {
    km_form form;
    const char *encoding; /* NULL: found by byte order marks and NUL bytes, else UTF-8; or a name that ICU knows */
    km_invalid invalid;
    const char
        *field; /* the columns wanted, "text" or "a,b": decides whether a file named .csv or .tsv is a table */
} km_input_options;

/* Whether an encoding of this name is known; the message of the failure says what to try. */
km_status km_input_check_encoding(const char *name) KM_NODISCARD;
/* Whether so many of a text's bytes are invalid that it must be of another encoding, or no text: 1 % of them, or 0.3 % where they
 * outnumber the valid characters beyond ASCII. */
bool km_invalid_is_large(uint64_t invalid, uint64_t beyond_ascii, uint64_t bytes);
/* Counts bytes that are no UTF-8 in *invalid, and valid characters beyond ASCII in *beyond_ascii. */
void km_utf8_count(const char *text, size_t count, uint64_t *invalid, uint64_t *beyond_ascii);

/* ---- A stream of bytes ------------------------------------------------------------------------------------- */

typedef struct km_bytes km_bytes;
/* Opens a file from byte `begin`, or "-", which is standard input. */
km_status km_bytes_open(km_bytes **out, const char *path, uint64_t begin) KM_NODISCARD;
/* Says how many bytes the file had when it was listed: one that has become shorter since is an error when its end is reached. */
void km_bytes_expect(km_bytes *bytes, uint64_t size);
/* Closes the stream and those that it reads from; NULL is fine. */
void km_bytes_close(km_bytes *bytes);
/* Reads between 1 and `room` bytes; *got is 0 at the end. */
km_status km_bytes_read(km_bytes *bytes, void *to, size_t room, size_t *got) KM_NODISCARD;
/* The next `count` bytes, or fewer where the stream ends before, without taking them; valid until the next call. */
km_status km_bytes_peek(km_bytes *bytes, size_t count, const char **head, size_t *got) KM_NODISCARD;
/* What was read of a file, so that it can be looked at once more (km_input_check_seen). */
typedef struct km_seen {
    uint64_t begin, end; /* in bytes of the file */
    km_hash hash;        /* of these bytes */
    bool in_order;       /* else only parts were read, and there is no hash */
} km_seen;
/* Fills in *seen, which must last so long, when the stream of a file is closed; nothing is filled in for a pipe. */
void km_bytes_watch(km_bytes *bytes, km_seen *seen);
const char *
km_bytes_name(const km_bytes *bytes); /* for messages: a path, or path/entry for an entry of an archive */
/* Sequences of bytes that a conversion to UTF-8 had no character for and replaced by U+FFFD so far. */
uint64_t km_bytes_replaced(const km_bytes *bytes);

/* ---- The list of files ------------------------------------------------------------------------------------- */

typedef struct km_contents km_contents;

typedef struct km_input {
    char *path;
    uint64_t size;             /* bytes of the file; 0 for a pipe */
    int64_t changed, modified; /* when its inode and when its content were last changed, in ns; 0 for a pipe */
    bool plain;                /* UTF-8 without a container, in lines: it can be read from any place on */
    bool pipe;                 /* standard input or a pipe: it can be read once, by the process that listed it */
    km_form form;              /* of a plain file: TEXT, JSONL or WIKI */
    km_contents *open;         /* of a pipe, from listing to reading */
} km_input;

typedef struct km_inputs {
    km_input *files;
    size_t count, capacity;
} km_inputs;

/* Lists files, folders (recursively, by name, without hidden files) and pipes ("-" is standard input), and recognises what each
 * holds. What is one of `outputs` (count) is an error when named, and passed over in a folder. A file that is no text is an
 * error that names its format. Free with km_inputs_free, also after errors. */
km_status km_inputs_find(km_inputs *out, const char *const *paths, int count, const char *const *outputs,
                         int output_count, const km_input_options *options) KM_NODISCARD;
/* Adds an input that km_inputs_find has described, in this process or another one (path is copied; `open` is not taken). */
void km_inputs_add(km_inputs *inputs, const km_input *input);
/* Recognises what a file holds, and sets `plain` and `form`. */
km_status km_input_recognise(km_input *input, const km_input_options *options) KM_NODISCARD;
void km_inputs_free(km_inputs *inputs);
/* Called after all was read: fails where a file no longer holds what was read of it. Nothing is read again where the system says that
 * the file was not changed since it was listed. What was only added at its end does not matter. */
km_status km_input_check_seen(const km_input *input, const km_seen *seen) KM_NODISCARD;

/* A piece of work: what begins in bytes begin..end-1 of a file. What is not plain is one piece. */
typedef struct km_input_piece {
    size_t file;
    uint64_t begin, end;
} km_input_piece;
/* All files, cut every `bytes` (0: never); the caller frees. */
km_input_piece *km_inputs_cut(const km_inputs *inputs, uint64_t bytes, size_t *count);

/* ---- The texts of a file ----------------------------------------------------------------------------------- */
/* A file is one text, and an archive one for each of its entries: directories, links and hidden files are passed over. Entries may be
 * compressed, or archives themselves. */

typedef struct km_text_source {
    km_bytes *bytes; /* UTF-8 without a byte order mark; NULL after the last text; closed by the next call */
    km_form form;
} km_text_source;

km_status km_contents_open(km_contents **out, const km_input *input, const km_input_options *options) KM_NODISCARD;
km_status km_contents_next(km_contents *texts, km_text_source *out) KM_NODISCARD;
void km_contents_watch(km_contents *texts, km_seen *seen); /* km_bytes_watch of the file; before the first text */
void km_contents_close(km_contents *texts);                /* NULL is fine */
uint64_t km_contents_position(const km_contents *texts);   /* how much of the file has been read, for progress */

/* The whole text of a file that is one text, with a NUL after it (the caller frees). A text of more than `limit` bytes is
 * KM_FAILED; so is a damaged file. */
km_status km_text_read(char **out, size_t *size, const char *path, size_t limit) KM_NODISCARD;

/* ---- Lines ------------------------------------------------------------------------------------------------- */

/* A line without its newline, or, of a line longer than the limit, one part after the other. */
typedef struct km_text_line {
    const char *text; /* NULL after the last line; valid until the next call; not terminated */
    size_t count;
    uint64_t offset;  /* of the part in the text */
    uint64_t number;  /* of the line, from 1 where reading began */
    bool first, last; /* part of the line; both for a line that was not cut */
} km_text_line;

typedef struct km_lines km_lines;
/* Reads lines from a stream, which the caller closes after the lines; its first byte is byte `begin` of the text. Lines longer
 * than `limit` bytes are cut, at a blank or else between characters. */
km_lines *km_lines_create(km_bytes *bytes, uint64_t begin, size_t limit);
void km_lines_destroy(km_lines *lines);
km_status km_lines_next(km_lines *lines, km_text_line *out) KM_NODISCARD;
uint64_t km_lines_taken(const km_lines *lines); /* bytes of text taken so far, from `begin` */
const char *km_lines_name(const km_lines *lines);
km_bytes *km_lines_stream(const km_lines *lines);

/* How much of `text` (count > limit bytes) to take where a line is cut. */
size_t km_line_cut(const char *text, size_t limit);
/* Length without blanks at the end: space, tab, CR, vertical tab, form feed. 0: a blank line. */
size_t km_line_trim(const char *text, size_t count);
/* Whether the line that ends with the newline at offset-1 of a plain file is blank (and not longer than `limit`). */
km_status km_input_blank_before(bool *out, const km_input *input, uint64_t offset, size_t limit) KM_NODISCARD;
/* Newlines in bytes 0..end-1 of a plain file, to name a line. */
km_status km_input_newlines(uint64_t *out, const km_input *input, uint64_t end) KM_NODISCARD;

/* ---- Tables ------------------------------------------------------------------------------------------------ */
/* CSV as Python's csv module reads it (quotes, doubled quotes, line ends inside quotes), or TSV without quotes. The first row has the
 * names of the columns. */

typedef struct km_table km_table;
/* Reads the header. `columns` is "name" or "a,b"; a column that is not there is an error that names those that are. Rows longer than
 * `limit` bytes are an error. The separator of CSV is the one of comma, semicolon, tab and bar with which the columns are found. */
km_status km_table_open(km_table **out, km_bytes *bytes, km_form form, const char *columns,
                        size_t limit) KM_NODISCARD;
void km_table_close(km_table *table);
/* The next row: *values has the wanted columns in their order, each with a NUL, valid until the next call; NULL after the last row. A
 * row that is too short has NULL where a column is missing. */
km_status km_table_next(km_table *table, const char *const **values) KM_NODISCARD;
int km_table_columns(const km_table *table);    /* wanted */
uint64_t km_table_line(const km_table *table);  /* where the row begins, from 1 */
uint64_t km_table_taken(const km_table *table); /* bytes of text taken so far */

#endif
