/* corpus_stream: a temporary file that grows at its end. */
#include "corpus_stream.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <errno.h>

enum { BUFFER = 1 << 18 };

km_status km_stream_open(km_stream *s, const char *path) {
    *s = (km_stream){.path = km_strdup(path), .buffer = km_grow(NULL, BUFFER, 1)};
    s->fd = open(s->path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (s->fd < 0) {
        return km_fail_errno(errno, "%s: cannot create", s->path);
    }
    unlink(s->path);
    return KM_OK;
}

void km_stream_close(km_stream *s) {
    if (s->path != NULL && s->fd >= 0) {
        close(s->fd);
    }
    free(s->path);
    free(s->buffer);
    *s = (km_stream){0};
}

uint64_t km_stream_size(const km_stream *s) {
    return s->flushed + s->used;
}

static km_status flush(km_stream *s) {
    KM_TRY(km_pwrite_all(s->fd, s->buffer, s->used, s->flushed, s->path));
    s->flushed += s->used;
    s->used = 0;
    return KM_OK;
}

km_status km_stream_add(km_stream *s, const void *bytes, size_t count) {
    const char *from = bytes;
    while (count > 0) {
        size_t part = KM_MIN(count, BUFFER - s->used);
        memcpy(s->buffer + s->used, from, part);
        s->used += part;
        from += part;
        count -= part;
        if (s->used == BUFFER) {
            KM_TRY(flush(s));
        }
    }
    return KM_OK;
}

km_status km_stream_read(const km_stream *s, void *to, size_t count, uint64_t offset) {
    size_t stored = offset < s->flushed ? (size_t)KM_MIN((uint64_t)count, s->flushed - offset) : 0;
    KM_TRY(km_pread_all(s->fd, to, stored, offset, s->path));
    if (count > stored) {
        memcpy((char *)to + stored, s->buffer + (offset + stored - s->flushed), count - stored);
    }
    return KM_OK;
}

km_status km_stream_cut(km_stream *s, uint64_t size) {
    if (size >= s->flushed) {
        s->used = (size_t)(size - s->flushed);
        return KM_OK;
    }
    s->used = 0;
    s->flushed = size;
    return ftruncate(s->fd, (off_t)size) == 0 ? KM_OK : km_fail_errno(errno, "%s: cannot cut back", s->path);
}
