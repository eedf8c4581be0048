/* text_file: a whole file as text, decompressed where it is compressed. */
#include "kmask/corpus.h"

#include <errno.h>
#include <stdlib.h>
#include <zlib.h>

enum { PIECE = 1 << 16 };

static km_status failed(gzFile file, const char *path) {
    int number = Z_OK;
    const char *why = gzerror(file, &number);
    return number == Z_ERRNO ? km_fail_errno(errno, "%s: cannot read", path)
                             : km_fail_kind(KM_ERROR_DAMAGED, "%s: not a whole gzip file (%s).", path, why);
}

static km_status read_all(km_buffer *text, gzFile file, const char *path, size_t limit) {
    char *piece = km_new(PIECE, 1);
    km_status status = KM_OK;
    for (int got = 1; status == KM_OK && got > 0;) {
        got = gzread(file, piece, PIECE);
        if (got < 0) {
            status = failed(file, path);
        } else if (text->size + (size_t)got > limit) {
            status = km_fail(KM_FAILED, "%s: more than %zu bytes of text, expected at most so many.", path, limit);
        } else {
            km_buffer_add(text, piece, (size_t)got);
        }
    }
    free(piece);
    return status;
}

km_status km_text_read(char **out, size_t *size, const char *path, size_t limit) {
    *out = NULL;
    *size = 0;
    errno = 0;
    gzFile file = gzopen(path, "rb");
    if (file == NULL) {
        return km_fail_errno(errno != 0 ? errno : ENOMEM, "%s: cannot open", path);
    }
    km_buffer text = {0};
    km_status status = read_all(&text, file, path, limit);
    const int closed = gzclose_r(file); /* Z_BUF_ERROR: the file ends within compressed data */
    if (status == KM_OK && closed != Z_OK) {
        status = km_fail_kind(KM_ERROR_DAMAGED, "%s: the file is cut short, expected a whole gzip file.", path);
    }
    if (status != KM_OK) {
        km_buffer_free(&text);
        return status;
    }
    km_buffer_add(&text, "", 0);
    *size = text.size;
    *out = text.data != NULL ? text.data : km_strdup("");
    return KM_OK;
}
