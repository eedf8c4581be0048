/* Streams of bytes: peeking, and the stream that everything else stands on, a file or a pipe. */
#include "bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FIRST_HEAD = 1 << 12 };

void *km_bytes_new(size_t size, const km_bytes_type *type, km_bytes *below, const char *name) {
    km_bytes *bytes = km_new(1, size);
    bytes->type = type;
    bytes->below = below;
    bytes->name = km_strdup(name);
    return bytes;
}

void km_bytes_close(km_bytes *bytes) {
    if (bytes == NULL) {
        return;
    }
    if (bytes->type->close != NULL) {
        bytes->type->close(bytes);
    }
    km_bytes_close(bytes->below);
    free(bytes->head);
    free(bytes->name);
    free(bytes);
}

km_status km_bytes_read(km_bytes *bytes, void *to, size_t room, size_t *got) {
    if (bytes->used == bytes->filled) {
        return bytes->type->read(bytes, to, room, got);
    }
    *got = KM_MIN(room, bytes->filled - bytes->used);
    memcpy(to, bytes->head + bytes->used, *got);
    bytes->used += *got;
    return KM_OK;
}

km_status km_bytes_peek(km_bytes *bytes, size_t count, const char **head, size_t *got) {
    if (bytes->used > 0) {
        memmove(bytes->head, bytes->head + bytes->used, bytes->filled - bytes->used);
        bytes->filled -= bytes->used;
        bytes->used = 0;
    }
    if (count > bytes->capacity) {
        bytes->capacity = KM_MAX(count, (size_t)FIRST_HEAD);
        bytes->head = km_grow(bytes->head, bytes->capacity, 1);
    }
    for (size_t more = 1; bytes->filled < count && more > 0;) {
        KM_TRY(bytes->type->read(bytes, bytes->head + bytes->filled, count - bytes->filled, &more));
        bytes->filled += more;
    }
    *head = bytes->head != NULL ? bytes->head : "";
    *got = KM_MIN(count, bytes->filled);
    return KM_OK;
}

const char *km_bytes_name(const km_bytes *bytes) {
    return bytes->name;
}

uint64_t km_bytes_position(const km_bytes *bytes) {
    return bytes->below != NULL ? km_bytes_position(bytes->below) : bytes->position - (bytes->filled - bytes->used);
}

uint64_t km_bytes_replaced(const km_bytes *bytes) {
    return bytes->replaced + (bytes->below != NULL ? km_bytes_replaced(bytes->below) : 0);
}

/* ---- Files and pipes ---- */

typedef struct file_bytes {
    km_bytes base;
    int fd;
    bool seekable;
    uint64_t size;
    km_seen *seen;     /* NULL: nobody wants to know what was read */
    km_hasher *hasher; /* of what was read, while that was in order */
} file_bytes;

/* The end of a file before the end that it had: what is missing is no end of a text. */
static km_status became_shorter(const file_bytes *file) {
    struct stat now;
    const uint64_t left = fstat(file->fd, &now) == 0 ? (uint64_t)now.st_size : file->base.position;
    return km_fail_kind(
        KM_ERROR_DAMAGED,
        "%s: became shorter while it was read: %llu of %llu bytes are there, %llu are missing. Does "
        "another program write to it?",
        file->base.name, (unsigned long long)left, (unsigned long long)file->size,
        (unsigned long long)(file->size - KM_MIN(file->size, left)));
}

/* What a program adds to a file that is read is not read: other ranks may have come by its end before. */
static size_t room_in(const file_bytes *file, size_t room) {
    const uint64_t position = file->base.position;
    return file->size == 0 ? room : (size_t)KM_MIN((uint64_t)room, file->size - KM_MIN(file->size, position));
}

static km_status read_file(km_bytes *bytes, void *to, size_t room, size_t *got) {
    const file_bytes *file = (const file_bytes *)bytes;
    const size_t most = room_in(file, room);
    ssize_t count = 0;
    do {
        count = file->seekable ? pread(file->fd, to, most, (off_t)bytes->position) : read(file->fd, to, room);
    } while (count < 0 && errno == EINTR);
    if (count < 0) {
        return km_fail_errno(errno, "%s: cannot read", bytes->name);
    }
    bytes->position += (uint64_t)count;
    *got = (size_t)count;
    if (file->hasher != NULL) {
        km_hasher_add(file->hasher, to, *got);
    }
    return count > 0 || !file->seekable || bytes->position >= file->size ? KM_OK : became_shorter(file);
}

static void end_hash(file_bytes *file) {
    if (file->hasher != NULL) {
        file->seen->hash = km_hasher_end(file->hasher);
        file->hasher = NULL;
    }
}

static void close_file(km_bytes *bytes) {
    file_bytes *file = (file_bytes *)bytes;
    if (file->seen != NULL) {
        file->seen->end = bytes->position;
        end_hash(file);
    }
    if (file->fd > STDIN_FILENO) {
        close(file->fd);
    }
}

static const km_bytes_type file_type = {read_file, close_file};

km_status km_bytes_open(km_bytes **out, const char *path, uint64_t begin) {
    const bool standard = strcmp(path, "-") == 0;
    *out = NULL;
    const int fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return km_fail_errno(errno, "%s: cannot open", path);
    }
    file_bytes *file = km_bytes_new(sizeof *file, &file_type, NULL, standard ? "standard input" : path);
    struct stat info;
    file->fd = fd;
    file->seekable = !standard && fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
    file->size = file->seekable ? (uint64_t)info.st_size : 0;
    file->base.position = begin;
    *out = &file->base;
    return KM_OK;
}

void km_bytes_expect(km_bytes *bytes, uint64_t size) {
    if (bytes->type == &file_type) {
        file_bytes *file = (file_bytes *)bytes;
        file->size = file->seekable ? KM_MAX(file->size, size) : 0;
    }
}

void km_bytes_watch(km_bytes *bytes, km_seen *seen) {
    if (bytes->type == &file_type && ((file_bytes *)bytes)->seekable) {
        file_bytes *file = (file_bytes *)bytes;
        *seen = (km_seen){.begin = bytes->position, .end = bytes->position, .in_order = true};
        file->seen = seen;
        file->hasher = km_hasher_create();
    }
}

bool km_bytes_seekable(const km_bytes *bytes, uint64_t *size) {
    const file_bytes *file = (const file_bytes *)bytes;
    const bool can = bytes->type == &file_type && file->seekable;
    *size = can ? file->size : 0;
    return can;
}

void km_bytes_seek(km_bytes *bytes, uint64_t position) {
    file_bytes *file = (file_bytes *)bytes;
    if (file->seen != NULL) {
        file->seen->in_order = false;
        end_hash(file);
    }
    bytes->used = bytes->filled = 0;
    bytes->position = position;
}
