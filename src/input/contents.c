/* The texts of a file: containers are opened one inside the other, until there is text. */
#include <stdlib.h>
#include <string.h>

#include "formats.h"
#include "recognise.h"

enum { DEPTH = 8 /* of containers: more is an archive that holds itself */ };

struct km_contents {
    km_input_options options;
    km_bytes *file;              /* not yet opened as a text; then NULL */
    const km_bytes *bottom;      /* the file, while something reads from it */
    km_archive *archives[DEPTH]; /* (depth) each in an entry of the one before */
    int depth;
    km_bytes *current;
};

km_status km_contents_open(km_contents **out, const km_input *input, const km_input_options *options) {
    km_bytes *file = NULL;
    *out = NULL;
    KM_TRY(km_bytes_open(&file, input->path, 0));
    km_bytes_expect(file, input->size);
    km_contents *texts = km_new(1, sizeof *texts);
    texts->options = *options;
    texts->file = file;
    texts->bottom = file;
    *out = texts;
    return KM_OK;
}

void km_contents_watch(km_contents *texts, km_seen *seen) {
    if (texts->file != NULL) {
        km_bytes_watch(texts->file, seen);
    }
}

void km_contents_close(km_contents *texts) {
    if (texts == NULL) {
        return;
    }
    km_bytes_close(texts->current);
    while (texts->depth > 0) {
        km_archive_close(texts->archives[--texts->depth]);
    }
    km_bytes_close(texts->file);
    free(texts);
}

uint64_t km_contents_position(const km_contents *texts) {
    return texts->bottom != NULL ? km_bytes_position(texts->bottom) : 0;
}

/* The container of a stream, by its bytes; one that its name promises and its bytes do not show is a damaged file. */
static km_status find_container(km_container *out, const char **format, km_bytes *stream, bool first) {
    const char *head = NULL, *advice = NULL, *promised = NULL;
    size_t count = 0;
    KM_TRY(km_bytes_peek(stream, KM_MAGIC_BYTES, &head, &count));
    const char *foreign = km_foreign_format(&advice, head, count);
    if (foreign != NULL) {
        return km_fail_kind(KM_ERROR_DAMAGED, "%s: found %s, expected text: %s", stream->name, foreign, advice);
    }
    *out = km_container_of(format, head, count);
    const km_container named = first && *out == KM_CONTAINER_NONE && count > 0
                                   ? km_container_named(&promised, stream->name)
                                   : KM_CONTAINER_NONE;
    if (named == KM_CONTAINER_GZIP) { /* zlib says what is wrong */
        *out = named;
    } else if (named != KM_CONTAINER_NONE) {
        return km_fail_kind(
            KM_ERROR_DAMAGED,
            "%s: its first bytes are not those of %s, which its name promises: it is damaged or cut "
            "short, or has the wrong name",
            stream->name, promised);
    }
    return KM_OK;
}

static km_status push_archive(km_contents *texts, km_bytes *stream, const char *format) {
    if (texts->depth == DEPTH) {
        km_status status = km_fail(KM_FAILED, "%s: more than %d archives inside each other", stream->name, DEPTH);
        km_bytes_close(stream);
        return status;
    }
    KM_TRY(km_archive_open(&texts->archives[texts->depth], stream, format));
    texts->depth++;
    return KM_OK;
}

/* Opens a stream, which it takes: as a text, to *text, or as an archive, which is pushed. */
static km_status open_stream(km_contents *texts, km_bytes *stream, km_bytes **text) {
    *text = NULL;
    for (int layers = 0;; layers++) {
        km_container container = KM_CONTAINER_NONE;
        const char *format = NULL;
        km_status status = find_container(&container, &format, stream, layers == 0);
        if (status == KM_OK && layers == DEPTH) {
            status = km_fail(KM_FAILED, "%s: compressed more than %d times", stream->name, DEPTH);
        }
        if (status != KM_OK) {
            km_bytes_close(stream);
            return status;
        }
        if (container == KM_CONTAINER_NONE) {
            *text = stream;
            return KM_OK;
        }
        if (container == KM_CONTAINER_TAR || container == KM_CONTAINER_ZIP) {
            return push_archive(texts, stream, format);
        }
        KM_TRY(container == KM_CONTAINER_GZIP ? km_bytes_gunzip(&stream, stream)
                                              : km_bytes_unpack(&stream, stream, format));
    }
}

/* The next stream: the file itself, or the next entry of the innermost archive that has one. NULL: none. */
static km_status next_stream(km_contents *texts, km_bytes **out) {
    *out = texts->file;
    texts->file = NULL;
    while (*out == NULL && texts->depth > 0) {
        KM_TRY(km_archive_next(texts->archives[texts->depth - 1], out));
        if (*out == NULL) {
            km_archive_close(texts->archives[--texts->depth]);
        }
    }
    return KM_OK;
}

km_status km_contents_next(km_contents *texts, km_text_source *out) {
    km_bytes_close(texts->current);
    texts->current = NULL;
    *out = (km_text_source){0};
    while (texts->current == NULL) {
        km_bytes *stream = NULL;
        KM_TRY(next_stream(texts, &stream));
        if (stream == NULL) {
            texts->bottom = NULL;
            return KM_OK;
        }
        KM_TRY(open_stream(texts, stream, &texts->current));
    }
    KM_TRY(km_recognise_text(&texts->current, &out->form, &texts->options));
    out->bytes = texts->current;
    return KM_OK;
}

/* ---- What a file holds ---- */

km_status km_input_recognise(km_input *input, const km_input_options *options) {
    km_contents *texts = NULL;
    km_text_source source = {0};
    km_status status = km_contents_open(&texts, input, options);
    const km_bytes *bottom = texts != NULL ? texts->bottom : NULL;
    if (status == KM_OK && input->pipe) { /* what it holds is recognised when it is read */
        input->open = texts;
        return KM_OK;
    }
    status = status == KM_OK ? km_contents_next(texts, &source) : status;
    const bool lines = source.form != KM_FORM_CSV && source.form != KM_FORM_TSV;
    input->plain = status == KM_OK && source.bytes == bottom && source.bytes != NULL && lines;
    input->form = source.form;
    km_contents_close(texts);
    return status;
}

/* ---- Whole texts ---- */

static km_status read_all(km_buffer *text, km_bytes *bytes, size_t limit) {
    enum { PIECE = 1 << 16 };
    char *piece = km_new(PIECE, 1);
    km_status status = KM_OK;
    for (size_t got = 1; status == KM_OK && got > 0;) {
        status = km_bytes_read(bytes, piece, PIECE, &got);
        if (status == KM_OK && text->size + got > limit) {
            status = km_fail(KM_FAILED, "%s: more than %zu bytes of text, expected at most so many.", bytes->name,
                             limit);
        } else if (status == KM_OK) {
            km_buffer_add(text, piece, got);
        }
    }
    free(piece);
    return status;
}

km_status km_text_read(char **out, size_t *size, const char *path, size_t limit) {
    const km_input input = {.path = (char *)(uintptr_t)path};
    const km_input_options options = {.form = KM_FORM_TEXT};
    km_contents *texts = NULL;
    km_text_source source = {0};
    km_buffer text = {0};
    *out = NULL;
    *size = 0;
    km_status status = km_contents_open(&texts, &input, &options);
    status = status == KM_OK ? km_contents_next(texts, &source) : status;
    if (status == KM_OK && texts->depth > 0) {
        status = km_fail(KM_FAILED, "%s: an archive, expected a file with text; unpack it first", path);
    }
    if (status == KM_OK && source.bytes != NULL) {
        status = read_all(&text, source.bytes, limit);
    }
    km_contents_close(texts);
    if (status != KM_OK) {
        km_buffer_free(&text);
        return status;
    }
    km_buffer_add(&text, "", 0);
    *size = text.size;
    *out = text.data != NULL ? text.data : km_strdup("");
    return KM_OK;
}
