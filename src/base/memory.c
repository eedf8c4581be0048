/* memory: small and large allocations, arenas and growing buffers. */
#include "kmask/base.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ALIGNMENT = 64, HUGE_PAGE = 1 << 21 };

static void *or_die(void *pointer, size_t bytes) {
    if (pointer == NULL && bytes > 0) {
        fprintf(stderr, "kmask: out of memory: %zu bytes are not to be had. Ask for more memory a process.\n",
                bytes);
        _Exit(KM_FAILED);
    }
    return pointer;
}

void *km_new(size_t count, size_t size) {
    if (count == 0 || size == 0) {
        count = size = 1;
    }
    return or_die(calloc(count, size), count * size);
}

void *km_grow(void *old, size_t count, size_t size) {
    size_t bytes = 0;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        return or_die(NULL, SIZE_MAX);
    }
    return or_die(realloc(old, bytes > 0 ? bytes : 1), bytes);
}

char *km_strdup(const char *text) {
    size_t bytes = strlen(text) + 1;
    char *copy = km_new(bytes, 1);
    memcpy(copy, text, bytes);
    return copy;
}

char *km_format(const char *format, ...) {
    va_list list;
    va_start(list, format);
    char *text = NULL;
    int length = vasprintf(&text, format, list);
    va_end(list);
    return or_die(length < 0 ? NULL : text, 1);
}

/* Large blocks lie on huge pages where the system offers them. A walk down a column of a matrix touches another page in each
 * row, and the processor's cache of page addresses (TLB) holds too few pages of 4 KiB for that; and ranks read each other's
 * memory twice as fast. */
static void *allocate_block(size_t bytes, bool is_large) {
    void *block = aligned_alloc(is_large ? HUGE_PAGE : ALIGNMENT, bytes);
#ifdef MADV_HUGEPAGE
    if (block != NULL && is_large) {
        (void)madvise(block, bytes, MADV_HUGEPAGE); /* a failure only makes the program slower */
    }
#endif
    return block;
}

km_status km_allocate(void **out, size_t bytes, const char *what) {
    /* Linux grants more memory than it has, and kills processes once they use it. So large blocks are checked against what is
     * free. */
    const size_t large = (size_t)64 << 20;
    const size_t unit = bytes < 2 * HUGE_PAGE ? ALIGNMENT : HUGE_PAGE;
    size_t rounded = (bytes + unit) / unit * unit;
    bool exists = rounded > bytes && (bytes < large || bytes <= km_memory_available());
    *out = exists ? allocate_block(rounded, unit == HUGE_PAGE) : NULL;
    if (*out == NULL) {
        return km_fail_kind(KM_ERROR_MEMORY,
                            "no memory for %s: %.2f GiB are needed. Use fewer threads or ranks on a node, or "
                            "train.recompute.",
                            what, (double)bytes / (1024.0 * 1024.0 * 1024.0));
    }
    memset(*out, 0, rounded);
    return KM_OK;
}

void *km_arena_take(km_arena *arena, size_t count, size_t size) {
    size_t bytes = (count * size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    char *piece = arena->base == NULL || arena->used + bytes > arena->capacity ? NULL : arena->base + arena->used;
    arena->used += bytes;
    return piece;
}

static void make_room(km_buffer *buffer, size_t more) {
    if (buffer->size + more + 1 > buffer->capacity) {
        buffer->capacity = (buffer->size + more + 1) * 2;
        buffer->data = km_grow(buffer->data, buffer->capacity, 1);
    }
}

void km_buffer_add(km_buffer *buffer, const void *bytes, size_t count) {
    make_room(buffer, count);
    if (count > 0) {
        memcpy(buffer->data + buffer->size, bytes, count);
    }
    buffer->size += count;
    buffer->data[buffer->size] = '\0';
}

void km_buffer_print(km_buffer *buffer, const char *format, ...) {
    va_list list;
    va_start(list, format);
    va_list again;
    va_copy(again, list);
    int length = vsnprintf(NULL, 0, format, list);
    va_end(list);
    if (length > 0) {
        make_room(buffer, (size_t)length);
        vsnprintf(buffer->data + buffer->size, (size_t)length + 1, format, again);
        buffer->size += (size_t)length;
    }
    va_end(again);
}

void km_buffer_free(km_buffer *buffer) {
    free(buffer->data);
    *buffer = (km_buffer){0};
}
