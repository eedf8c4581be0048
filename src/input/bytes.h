/* bytes: what the kinds of streams share. A stream is a struct that begins with a km_bytes. */
#ifndef KMASK_INPUT_BYTES_H
#define KMASK_INPUT_BYTES_H

#include "kmask/input.h"

typedef struct km_bytes_type {
    km_status (*read)(km_bytes *bytes, void *to, size_t room, size_t *got); /* 0 bytes only at the end */
    void (*close)(km_bytes *bytes); /* frees all but the struct; NULL: nothing to free */
} km_bytes_type;

struct km_bytes {
    const km_bytes_type *type;
    char *name;
    km_bytes *below; /* what it reads from, and closes; NULL for a file */
    char *head;      /* bytes that were peeked at: head[used..filled-1] come first */
    size_t used, filled, capacity;
    uint64_t position; /* of a file: bytes read */
    uint64_t replaced; /* of a conversion */
};

/* A new stream of `size` bytes of struct, above another one, whose name it takes. */
void *km_bytes_new(size_t size, const km_bytes_type *type, km_bytes *below, const char *name);

/* Streams above others. Each takes `below`, also where it fails. */
km_status km_bytes_gunzip(km_bytes **out, km_bytes *below) KM_NODISCARD;
km_status km_bytes_recode(km_bytes **out, km_bytes *below, const char *encoding) KM_NODISCARD;
/* `format` is a name for messages: "zstd", "xz" ... */
km_status km_bytes_unpack(km_bytes **out, km_bytes *below, const char *format) KM_NODISCARD;

/* Entries of a tar or zip archive, one after the other. */
typedef struct km_archive km_archive;
km_status km_archive_open(km_archive **out, km_bytes *below, const char *format) KM_NODISCARD;
void km_archive_close(km_archive *archive);
/* The next entry that is a visible file, to be closed before the next call; NULL after the last one. */
km_status km_archive_next(km_archive *archive, km_bytes **out) KM_NODISCARD;

/* How much of the file or entry underneath has been taken. */
uint64_t km_bytes_position(const km_bytes *bytes);
/* Whether the stream can be read from any place on, and its size. */
bool km_bytes_seekable(const km_bytes *bytes, uint64_t *size);
/* Goes to a place of a seekable stream that nothing has been peeked of since. */
void km_bytes_seek(km_bytes *bytes, uint64_t position);

#endif
