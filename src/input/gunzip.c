/* gunzip: a stream out of a gzip file of one or several members, by zlib. */
#include "bytes.h"

#include <stdlib.h>
#include <zlib.h>

enum { PACKED = 1 << 16 };

typedef struct gunzip {
    km_bytes base;
    z_stream zip;
    bool set_up, member, ended; /* zip can be used; it is inside a member; nothing more comes */
    unsigned char *packed;
} gunzip;

static km_status damaged(const gunzip *g, const char *what) {
    return km_fail_kind(KM_ERROR_DAMAGED,
                        "%s: %s near byte %llu; expected a whole gzip file (test it with `gzip -t`)", g->base.name,
                        what, (unsigned long long)(km_bytes_position(g->base.below) - g->zip.avail_in));
}

/* After a member: another one, the end, or zeros that fill up a tape block, which gzip(1) ignores too. */
static km_status begin_member(gunzip *g) {
    if (g->zip.next_in[0] == 0 && g->zip.total_in > 0) {
        g->ended = true;
        return KM_OK;
    }
    g->member = true;
    return inflateReset(&g->zip) == Z_OK ? KM_OK : damaged(g, "cannot begin to decompress");
}

/* Decompresses until `room` has something or the file ends. */
static km_status read_gzip(km_bytes *bytes, void *to, size_t room, size_t *got) {
    gunzip *g = (gunzip *)bytes;
    z_stream *zip = &g->zip;
    *got = 0;
    while (*got == 0 && !g->ended) {
        if (zip->avail_in == 0) {
            size_t count = 0;
            KM_TRY(km_bytes_read(bytes->below, g->packed, PACKED, &count));
            zip->next_in = g->packed;
            zip->avail_in = (uInt)count;
            if (count == 0) {
                g->ended = true;
                return g->member ? damaged(g, "the file is cut short") : KM_OK;
            }
        }
        if (!g->member) {
            KM_TRY(begin_member(g));
            continue;
        }
        const size_t most = KM_MIN(room, (size_t)1 << 30); /* zlib counts in 32 bits */
        zip->next_out = to;
        zip->avail_out = (uInt)most;
        int result = inflate(zip, Z_NO_FLUSH);
        if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) {
            return damaged(g, zip->msg != NULL ? zip->msg : "damaged data");
        }
        g->member = result != Z_STREAM_END;
        *got = most - zip->avail_out;
    }
    return KM_OK;
}

static void close_gzip(km_bytes *bytes) {
    gunzip *g = (gunzip *)bytes;
    if (g->set_up) {
        inflateEnd(&g->zip);
    }
    free(g->packed);
}

static const km_bytes_type gunzip_type = {read_gzip, close_gzip};

km_status km_bytes_gunzip(km_bytes **out, km_bytes *below) {
    gunzip *g = km_bytes_new(sizeof *g, &gunzip_type, below, below->name);
    g->packed = km_new(PACKED, 1);
    g->set_up = inflateInit2(&g->zip, 16 + MAX_WBITS) == Z_OK;
    if (!g->set_up) {
        km_status status = km_fail_kind(KM_ERROR_MEMORY, "%s: no memory to decompress", below->name);
        km_bytes_close(&g->base);
        *out = NULL;
        return status;
    }
    *out = &g->base;
    return KM_OK;
}
