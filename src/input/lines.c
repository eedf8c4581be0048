/* Lines of a stream, in a buffer that grows to the limit of a line and no further. */
#include "kmask/input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FIRST_BUFFER = 1 << 18, LOOK_FOR_BLANK = 256 };

struct km_lines {
    km_bytes *bytes; /* the caller's */
    uint64_t begin;  /* of the text's first byte that is read */
    size_t limit;

    char *buffer;
    size_t capacity, used, filled; /* bytes used..filled-1 are not yet handed out */
    size_t scanned;                /* of these, without a newline */
    uint64_t offset;               /* of buffer[used] in the text */
    uint64_t number;
    bool inside; /* the next part goes on with a line */
    bool ended;  /* nothing more to read */
};

/* Reads more behind what is not yet handed out. */
static km_status fill(km_lines *lines) {
    if (lines->used > 0) {
        memmove(lines->buffer, lines->buffer + lines->used, lines->filled - lines->used);
        lines->filled -= lines->used;
        lines->used = 0;
    }
    if (lines->filled == lines->capacity) {
        lines->capacity *= 2;
        lines->buffer = km_grow(lines->buffer, lines->capacity, 1);
    }
    size_t got = 0;
    KM_TRY(km_bytes_read(lines->bytes, lines->buffer + lines->filled, lines->capacity - lines->filled, &got));
    lines->ended = got == 0;
    lines->filled += got;
    return KM_OK;
}

km_lines *km_lines_create(km_bytes *bytes, uint64_t begin, size_t limit) {
    km_lines *lines = km_new(1, sizeof *lines);
    lines->bytes = bytes;
    lines->begin = lines->offset = begin;
    lines->limit = limit;
    lines->capacity = FIRST_BUFFER;
    lines->buffer = km_new(lines->capacity, 1);
    return lines;
}

void km_lines_destroy(km_lines *lines) {
    if (lines != NULL) {
        free(lines->buffer);
        free(lines);
    }
}

/* Hands out `count` bytes and swallows `newline` more. */
static void hand_out(km_lines *lines, km_text_line *out, size_t count, size_t newline, bool last) {
    lines->number += !lines->inside;
    *out = (km_text_line){.text = lines->buffer + lines->used,
                          .count = count,
                          .offset = lines->offset,
                          .number = lines->number,
                          .first = !lines->inside,
                          .last = last};
    lines->used += count + newline;
    lines->offset += count + newline;
    lines->scanned = 0;
    lines->inside = !last;
}

km_status km_lines_next(km_lines *lines, km_text_line *out) {
    for (;;) {
        char *text = lines->buffer + lines->used;
        size_t count = lines->filled - lines->used;
        char *newline = memchr(text + lines->scanned, '\n', count - lines->scanned);
        size_t length = newline != NULL ? (size_t)(newline - text) : count;
        lines->scanned = count;
        if (length > lines->limit) {
            hand_out(lines, out, km_line_cut(text, lines->limit), 0, false);
            return KM_OK;
        }
        if (newline != NULL) {
            hand_out(lines, out, length, 1, true);
            return KM_OK;
        }
        if (lines->ended && (count > 0 || lines->inside)) {
            hand_out(lines, out, count, 0, true);
            return KM_OK;
        }
        if (lines->ended) {
            *out = (km_text_line){0};
            return KM_OK;
        }
        KM_TRY(fill(lines));
    }
}

uint64_t km_lines_taken(const km_lines *lines) {
    return lines->offset - lines->begin;
}

const char *km_lines_name(const km_lines *lines) {
    return km_bytes_name(lines->bytes);
}

km_bytes *km_lines_stream(const km_lines *lines) {
    return lines->bytes;
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

size_t km_line_cut(const char *text, size_t limit) {
    for (size_t end = limit; end > 1 && limit - end < LOOK_FOR_BLANK; end--) {
        if (is_blank(text[end - 1])) {
            return end;
        }
    }
    for (size_t end = limit; end > 1 && limit - end < 4; end--) {
        if (((unsigned char)text[end] & 0xC0) != 0x80) { /* not in the middle of a UTF-8 sequence */
            return end;
        }
    }
    return limit;
}

size_t km_line_trim(const char *text, size_t count) {
    while (count > 0 && is_blank(text[count - 1])) {
        count--;
    }
    return count;
}

/* ---- Around a place in a plain file ---- */

static km_status open_plain(const km_input *input, int *fd) {
    *fd = open(input->path, O_RDONLY | O_CLOEXEC);
    return *fd >= 0 ? KM_OK : km_fail_errno(errno, "%s: cannot open", input->path);
}

/* Walks back over `count` bytes: true when they tell whether the line is blank. */
static bool walk_back(bool *blank, const char *piece, size_t count) {
    while (count > 0) {
        char c = piece[--count];
        if (c == '\n' || !is_blank(c)) {
            *blank = c == '\n';
            return true;
        }
    }
    return false;
}

km_status km_input_blank_before(bool *out, const km_input *input, uint64_t offset, size_t limit) {
    int fd = -1;
    KM_TRY(open_plain(input, &fd));
    char piece[4096];
    const uint64_t newline = offset - 1, reach = KM_MIN(newline, (uint64_t)limit + 1);
    uint64_t seen = 0; /* blanks before the newline */
    km_status status = KM_OK;
    bool known = false;
    while (!known && status == KM_OK && seen < reach) {
        size_t count = (size_t)KM_MIN((uint64_t)sizeof piece, reach - seen);
        status = km_pread_all(fd, piece, count, newline - seen - count, input->path);
        known = status == KM_OK && walk_back(out, piece, count);
        seen += count;
    }
    close(fd);
    if (!known) { /* nothing but blanks: to the file's beginning, or longer than what counts as a line */
        *out = newline <= limit;
    }
    return status;
}

km_status km_input_newlines(uint64_t *out, const km_input *input, uint64_t end) {
    int fd = -1;
    *out = 0;
    if (end == 0) {
        return KM_OK;
    }
    KM_TRY(open_plain(input, &fd));
    char *piece = km_new(FIRST_BUFFER, 1);
    km_status status = KM_OK;
    for (uint64_t at = 0; at < end && status == KM_OK; at += FIRST_BUFFER) {
        size_t count = (size_t)KM_MIN((uint64_t)FIRST_BUFFER, end - at);
        status = km_pread_all(fd, piece, count, at, input->path);
        for (size_t i = 0; i < count && status == KM_OK; i++) {
            *out += piece[i] == '\n';
        }
    }
    free(piece);
    close(fd);
    return status;
}
