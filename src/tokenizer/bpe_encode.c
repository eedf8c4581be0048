/* Byte-level BPE: from text to pre-tokens to ids, and back. */
#include <stdlib.h>
#include <string.h>

#include "bpe.h"

/* ---- Ids ------------------------------------------------------------------------------------------------ */

typedef struct encoding {
    const km_tokenizer *tokenizer;
    const char *text;
    km_ids *out;
    char *window; /* (KM_MERGE_WINDOW) for long pre-tokens; NULL until the first one */
    int32_t *ids; /* (KM_MERGE_WINDOW) of the pieces in the window */
    uint32_t *sizes;
} encoding;

/* Appends `count` tokens for the bytes from `at` on. The tokens also cover `hidden` bytes before `at` that are not in the
 * text. */
static void put(encoding *e, const int32_t *ids, const uint32_t *sizes, size_t count, bool starts, const char *at,
                size_t hidden) {
    km_ids *out = e->out;
    km_ids_reserve(out, count);
    for (size_t i = 0; i < count; i++) {
        km_ids_push(out, ids[i], starts && i == 0);
        if (out->ranges) {
            size_t size = sizes[i] > hidden ? sizes[i] - hidden : 0;
            hidden -= sizes[i] - size;
            bool space = size > 1 && i == 0 && starts && *at == ' ';
            km_ids_range(out, out->count - 1, (size_t)(at - e->text) + space, (size_t)(at - e->text) + size);
            at += size;
        }
    }
}

/* Copies the text at *at behind the `held` bytes of a window with room for `room`, invalid sequences as U+FFFD. Returns how
 * many bytes the window holds then. */
static size_t refill(char *window, size_t room, size_t held, const char **at, const char *end) {
    while (*at < end && held + 4 <= room) {
        const char *from = *at;
        if (km_utf8_next(at, end) < 0) {
            memcpy(window + held, "\xEF\xBF\xBD", 3);
            held += 3;
        } else {
            memcpy(window + held, from, (size_t)(*at - from));
            held += (size_t)(*at - from);
        }
    }
    return held;
}

/* Appends the ids of a long pre-token, which is merged window by window. Of each window the pieces are taken except for those
 * in its last KM_MERGE_BEHIND bytes, and the next window begins behind them: pieces are short, so bytes that far away do not
 * change them. All tokens get the range of the whole pre-token. */
static void put_long(encoding *e, const char *at, const char *stop, bool prefix) {
    if (e->window == NULL) {
        e->window = km_new(KM_MERGE_WINDOW, 1);
        e->ids = km_new(KM_MERGE_WINDOW, sizeof *e->ids);
        e->sizes = km_new(KM_MERGE_WINDOW, sizeof *e->sizes);
    }
    const char *begin = at + (*at == ' ' && stop - at > 1);
    size_t first = e->out->count, held = 0;
    if (prefix) {
        e->window[held++] = ' ';
    }
    for (;;) {
        held = refill(e->window, KM_MERGE_WINDOW, held, &at, stop);
        size_t count = km_bpe_merge(e->tokenizer, e->window, held, e->ids, e->sizes), taken = 0, used = 0;
        while (taken < count && (at == stop || used < held - KM_MERGE_BEHIND)) {
            used += e->sizes[taken++];
        }
        km_ids_reserve(e->out, taken);
        for (size_t i = 0; i < taken; i++) {
            km_ids_push(e->out, e->ids[i], e->out->count == first);
        }
        if (at == stop || taken == 0) {
            break;
        }
        memmove(e->window, e->window + used, held - used);
        held -= used;
    }
    km_ids_range(e->out, first, (size_t)(begin - e->text), (size_t)(stop - e->text));
}

enum { SHORT = 1024 }; /* bytes below which a pre-token is merged at once */

/* Appends the ids of a pre-token; with `prefix`, as if a space stood before it. If it contains invalid UTF-8, its tokens get
 * the range of the whole pre-token. */
static void put_pretoken(encoding *e, const char *at, const char *stop, bool valid, bool prefix) {
    char bytes[3 * SHORT + 4];
    int32_t ids[3 * SHORT + 4];
    uint32_t sizes[3 * SHORT + 4];
    if (stop - at >= SHORT) {
        put_long(e, at, stop, prefix);
        return;
    }
    const char *from = at;
    size_t count = (size_t)(stop - at);
    if (prefix || !valid) {
        bytes[0] = ' ';
        count = refill(bytes, sizeof bytes, prefix, &from, stop);
        from = bytes;
    }
    count = km_bpe_merge(e->tokenizer, from, count, ids, sizes);
    size_t first = e->out->count;
    put(e, ids, sizes, valid ? count : 0, true, at, prefix);
    for (size_t i = 0; !valid && i < count; i++) {
        km_ids_reserve(e->out, 1);
        km_ids_push(e->out, ids[i], i == 0);
    }
    if (!valid) {
        const char *begin = at + (*at == ' ' && stop - at > 1);
        km_ids_range(e->out, first, (size_t)(begin - e->text), (size_t)(stop - e->text));
    }
}

/* Appends the ids of the first pre-token of a text that is encoded as if a space stood before it; returns its end. */
static const char *put_first(encoding *e, const char *from, const char *end, uint64_t *invalid) {
    uint64_t bad = 0;
    const char *stop = km_gpt2_first(e->tokenizer->bpe->classes, from, end, &bad);
    *invalid += bad;
    put_pretoken(e, from, stop, bad == 0, true);
    return stop;
}

uint64_t km_bpe_encode(const km_tokenizer *tokenizer, const char *text, const char *from, const char *end,
                       km_ids *out) {
    const km_bpe *b = tokenizer->bpe;
    encoding e = {.tokenizer = tokenizer, .text = text, .out = out};
    uint64_t invalid = 0;
    const char *at = from;
    if (b->prefix_space && from < end && *from != ' ') {
        at = put_first(&e, from, end, &invalid);
    }
    while (at < end) {
        bool valid = true;
        const char *stop = km_gpt2_split(b->classes, at, end, &valid, &invalid);
        put_pretoken(&e, at, stop, valid, false);
        at = stop;
    }
    free(e.window);
    free(e.ids);
    free(e.sizes);
    return invalid;
}

/* ---- Decoding ------------------------------------------------------------------------------------------- */

void km_bpe_decode(const km_tokenizer *tokenizer, const int32_t *ids, size_t count, km_buffer *out) {
    const km_bpe *b = tokenizer->bpe;
    km_buffer bytes = {0};
    km_buffer_add(&bytes, "", 0);
    for (size_t i = 0; i < count; i++) {
        km_buffer_add(&bytes, b->raw + b->raw_starts[ids[i]], b->raw_starts[ids[i] + 1] - b->raw_starts[ids[i]]);
    }
    const char *at = bytes.data, *end = bytes.data + bytes.size;
    while (at < end) { /* a character may be spread over several tokens, so UTF-8 is checked in the joined bytes */
        const char *from = at;
        bool good = km_utf8_next(&at, end) >= 0;
        km_buffer_add(out, good ? from : "\xEF\xBF\xBD", good ? (size_t)(at - from) : 3);
    }
    km_buffer_free(&bytes);
}
