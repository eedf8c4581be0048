/* recode: a stream in UTF-8 out of one in another encoding. */
#include <stdlib.h>

#include "bytes.h"
#include "kmask/text.h"

enum { CHUNK = 1 << 16 };

typedef struct recoded {
    km_bytes base;
    km_converter *converter;
    char *chunk; /* (CHUNK); used..filled-1 are not yet converted */
    size_t used, filled;
    bool last;
    char small[64]; /* for a reader with little room */
    size_t small_used, small_filled;
} recoded;

/* Converts until something comes out or the stream has ended. */
static km_status convert(recoded *r, char *to, size_t room, size_t *got) {
    for (;;) {
        if (r->used == r->filled && !r->last) {
            KM_TRY(km_bytes_read(r->base.below, r->chunk, CHUNK, &r->filled));
            r->used = 0;
            r->last = r->filled == 0;
        }
        const char *from = r->chunk + r->used;
        *got = km_converter_run(r->converter, &from, r->chunk + r->filled, r->last, to, room);
        r->used = (size_t)(from - r->chunk);
        r->base.replaced = km_converter_replaced(r->converter);
        if (*got > 0 || (r->last && r->used == r->filled)) {
            return KM_OK;
        }
    }
}

static km_status read_recoded(km_bytes *bytes, void *to, size_t room, size_t *got) {
    recoded *r = (recoded *)bytes;
    char *out = to;
    if (room >= sizeof r->small && r->small_used == r->small_filled) {
        return convert(r, to, room, got);
    }
    if (r->small_used == r->small_filled) {
        r->small_used = 0;
        KM_TRY(convert(r, r->small, sizeof r->small, &r->small_filled));
    }
    for (*got = 0; *got < room && r->small_used < r->small_filled; (*got)++) {
        out[*got] = r->small[r->small_used++];
    }
    return KM_OK;
}

static void close_recoded(km_bytes *bytes) {
    recoded *r = (recoded *)bytes;
    km_converter_destroy(r->converter);
    free(r->chunk);
}

static const km_bytes_type recoded_type = {read_recoded, close_recoded};

km_status km_bytes_recode(km_bytes **out, km_bytes *below, const char *encoding) {
    recoded *r = km_bytes_new(sizeof *r, &recoded_type, below, below->name);
    r->chunk = km_new(CHUNK, 1);
    km_status status = km_converter_create(&r->converter, encoding);
    if (status != KM_OK) {
        km_bytes_close(&r->base);
        *out = NULL;
        return status;
    }
    *out = &r->base;
    return KM_OK;
}
