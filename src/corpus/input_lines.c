/* Lines of a plain or gzip-compressed file, in a buffer that grows to the limit of a line and no further. */
#include "input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

enum { FIRST_BUFFER = 1 << 18, PACKED = 1 << 16, LOOK_FOR_BLANK = 256 };

struct km_lines {
    const km_input *input;
    int fd;
    uint64_t begin, position; /* in the file */
    size_t limit;

    char *buffer;
    size_t capacity, used, filled; /* bytes used..filled-1 are not yet handed out */
    size_t scanned;                /* of these, without a newline */
    uint64_t offset;               /* of buffer[used] in the text */
    uint64_t number;
    bool inside; /* the next part goes on with a line */
    bool ended;  /* nothing more to read */

    z_stream zip;        /* gzip only */
    bool zipped, member; /* zip is set up; it is inside a member */
    unsigned char *packed;
};

/* ---- Bytes ---- */

static km_status read_some(km_lines *lines, void *to, size_t room, size_t *got) {
    ssize_t count = 0;
    do {
        count = pread(lines->fd, to, room, (off_t)lines->position);
    } while (count < 0 && errno == EINTR);
    if (count < 0) {
        return km_fail_errno(errno, "%s: cannot read", lines->input->path);
    }
    lines->position += (uint64_t)count;
    *got = (size_t)count;
    return KM_OK;
}

static km_status damaged(const km_lines *lines, const char *what) {
    return km_fail_kind(KM_ERROR_DAMAGED,
                        "%s: %s near byte %llu; expected a whole gzip file (test it with `gzip -t`)",
                        lines->input->path, what, (unsigned long long)(lines->position - lines->zip.avail_in));
}

/* After a member: another one, the end, or zeros that fill up a tape block, which gzip(1) ignores too. */
static km_status begin_member(km_lines *lines) {
    if (lines->zip.next_in[0] == 0 && lines->zip.total_in > 0) {
        lines->ended = true;
        return KM_OK;
    }
    lines->member = true;
    return inflateReset(&lines->zip) == Z_OK ? KM_OK : damaged(lines, "cannot begin to decompress");
}

/* Decompresses until `room` has something or the file ends. */
static km_status unpack_some(km_lines *lines, char *to, size_t room, size_t *got) {
    z_stream *zip = &lines->zip;
    *got = 0;
    while (*got == 0 && !lines->ended) {
        if (zip->avail_in == 0) {
            size_t count = 0;
            KM_TRY(read_some(lines, lines->packed, PACKED, &count));
            zip->next_in = lines->packed;
            zip->avail_in = (uInt)count;
            if (count == 0) {
                lines->ended = true;
                return lines->member ? damaged(lines, "the file is cut short") : KM_OK;
            }
        }
        if (!lines->member) {
            KM_TRY(begin_member(lines));
            continue;
        }
        zip->next_out = (unsigned char *)to;
        zip->avail_out = (uInt)room;
        int result = inflate(zip, Z_NO_FLUSH);
        if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) {
            return damaged(lines, zip->msg != NULL ? zip->msg : "damaged data");
        }
        lines->member = result != Z_STREAM_END;
        *got = room - zip->avail_out;
    }
    return KM_OK;
}

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
    char *to = lines->buffer + lines->filled;
    size_t room = lines->capacity - lines->filled;
    if (lines->input->gzip) {
        KM_TRY(unpack_some(lines, to, room, &got));
    } else {
        KM_TRY(read_some(lines, to, room, &got));
        lines->ended = got == 0;
    }
    lines->filled += got;
    return KM_OK;
}

/* ---- Lines ---- */

static km_status open_zip(km_lines *lines) {
    if (!lines->input->gzip) {
        return KM_OK;
    }
    lines->packed = km_new(PACKED, 1);
    if (inflateInit2(&lines->zip, 16 + MAX_WBITS) != Z_OK) {
        return km_fail_kind(KM_ERROR_MEMORY, "%s: no memory to decompress", lines->input->path);
    }
    lines->zipped = true;
    return KM_OK;
}

km_status km_lines_open(km_lines **out, const km_input *input, uint64_t begin, size_t limit) {
    *out = NULL;
    int fd = open(input->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return km_fail_errno(errno, "%s: cannot open", input->path);
    }
    km_lines *lines = km_new(1, sizeof *lines);
    lines->input = input;
    lines->fd = fd;
    lines->begin = lines->position = lines->offset = begin;
    lines->limit = limit;
    lines->capacity = FIRST_BUFFER;
    lines->buffer = km_new(lines->capacity, 1);
    km_status status = open_zip(lines);
    if (status != KM_OK) {
        km_lines_close(lines);
        return status;
    }
    *out = lines;
    return KM_OK;
}

void km_lines_close(km_lines *lines) {
    if (lines == NULL) {
        return;
    }
    if (lines->zipped) {
        inflateEnd(&lines->zip);
    }
    close(lines->fd);
    free(lines->packed);
    free(lines->buffer);
    free(lines);
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

uint64_t km_lines_position(const km_lines *lines) {
    return lines->input->gzip ? lines->position : lines->offset;
}

uint64_t km_lines_bytes(const km_lines *lines) {
    return lines->offset - lines->begin;
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
