/* corpus_stream: a temporary file that grows at its end and may be cut back there; its last bytes are still in memory. It has no name any
 * more once it is open, so that nothing is left behind, however the process ends. Local. */
#ifndef KMASK_CORPUS_STREAM_H
#define KMASK_CORPUS_STREAM_H

#include "kmask/base.h"

typedef struct km_stream {
    int fd;
    char *path; /* for messages; NULL: not open */
    uint64_t flushed;
    size_t used;
    char *buffer;
} km_stream;

km_status km_stream_open(km_stream *stream, const char *path) KM_NODISCARD;
void km_stream_close(km_stream *stream);
uint64_t km_stream_size(const km_stream *stream);
km_status km_stream_add(km_stream *stream, const void *bytes, size_t count) KM_NODISCARD;
km_status km_stream_read(const km_stream *stream, void *to, size_t count, uint64_t offset) KM_NODISCARD;
km_status km_stream_cut(km_stream *stream, uint64_t size) KM_NODISCARD; /* to its first `size` bytes */

#endif
