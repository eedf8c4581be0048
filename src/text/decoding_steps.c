/* The kinds of decoding steps. */
#include "steps.h"

#include <stdlib.h>
#include <string.h>

/* ---- Cleaning up ---------------------------------------------------------------------------------------- */

/* Replaces every `from` at or behind byte `start` by the shorter `to`, from left to right. */
static void replace(km_buffer *text, size_t start, const char *from, const char *to) {
    size_t from_size = strlen(from), to_size = strlen(to);
    if (text->size == 0) {
        return;
    }
    char *end = text->data + text->size, *at = text->data + start, *out = at, *found;
    while ((found = memmem(at, (size_t)(end - at), from, from_size)) != NULL) {
        memmove(out, at, (size_t)(found - at));
        out += found - at;
        memcpy(out, to, to_size);
        out += to_size;
        at = found + from_size;
    }
    memmove(out, at, (size_t)(end - at));
    out += end - at;
    *out = '\0';
    text->size = (size_t)(out - text->data);
}

void km_clean_up(km_buffer *text, size_t start, bool piece) {
    replace(text, start, " .", ".");
    replace(text, start, " ?", "?");
    replace(text, start, " !", "!");
    replace(text, start, " ,", ",");
    replace(text, start, " ' ", "'");
    replace(text, start, " n't", "n't");
    replace(text, start, " 'm", "'m");
    if (piece) {
        replace(text, start, " do not", " don't");
    }
    replace(text, start, " 's", "'s");
    replace(text, start, " 've", "'ve");
    replace(text, start, " 're", "'re");
}

/* ---- Texts of tokens ------------------------------------------------------------------------------------ */

typedef struct token {
    const char *text;
    size_t size;
} token;

static token token_at(const km_token_texts *texts, size_t i) {
    const size_t begin = i > 0 ? texts->ends[i - 1] : 0;
    return (token){texts->bytes.data + begin, texts->ends[i] - begin};
}

static void replace_texts(km_token_texts *texts, km_token_texts *made) {
    km_token_texts_free(texts);
    *texts = *made;
}

/* Appends the text with `to` for every `from`. */
static void add_replaced(km_buffer *out, token t, const char *from, const char *to) {
    const char *at = t.text, *end = t.text + t.size, *found;
    const size_t size = strlen(from);
    while (size > 0 && (found = memmem(at, (size_t)(end - at), from, size)) != NULL) {
        km_buffer_add(out, at, (size_t)(found - at));
        km_buffer_add(out, to, strlen(to));
        at = found + size;
    }
    km_buffer_add(out, at, (size_t)(end - at));
}

/* Appends a token whose text is what `bytes` holds behind the tokens before it. */
static void end_token(km_token_texts *made) {
    km_token_texts_add(made, "", 0);
}

/* ---- The kinds ------------------------------------------------------------------------------------------ */

static void decode_wordpiece(const km_step *step, km_token_texts *texts) {
    km_token_texts made = {0};
    const size_t size = strlen(step->text);
    for (size_t i = 0; i < texts->count; i++) {
        const token t = token_at(texts, i);
        const bool continues = i > 0 && t.size >= size && memcmp(t.text, step->text, size) == 0;
        const size_t start = made.bytes.size;
        km_buffer_add(&made.bytes, " ", i > 0 && !continues);
        km_buffer_add(&made.bytes, t.text + (continues ? size : 0), t.size - (continues ? size : 0));
        if (step->flags[0] && memchr(made.bytes.data + start, ' ', made.bytes.size - start) != NULL) {
            km_clean_up(&made.bytes, start, true);
        }
        end_token(&made);
    }
    replace_texts(texts, &made);
}

/* Appends bytes as text, with U+FFFD for invalid sequences. */
static void add_as_text(km_buffer *out, const char *bytes, size_t count) {
    const char *at = bytes, *end = bytes + count;
    while (at < end) {
        const char *from = at;
        const bool good = km_utf8_next(&at, end) >= 0;
        km_buffer_add(out, good ? from : "\xEF\xBF\xBD", good ? (size_t)(at - from) : 3);
    }
}

/* A character may be spread over several tokens, so all of them become one. */
static void decode_bytes(const km_step *step, km_token_texts *texts) {
    (void)step;
    km_buffer joined = {0};
    for (size_t i = 0; i < texts->count; i++) {
        const token t = token_at(texts, i);
        const size_t start = joined.size;
        for (const char *at = t.text, *end = t.text + t.size; at < end;) {
            const int byte = km_char_byte((uint32_t)km_utf8_next(&at, end));
            const char bytes[] = {(char)byte};
            km_buffer_add(&joined, bytes, 1);
            if (byte < 0) { /* the token is not written in bytes */
                joined.size = start;
                km_buffer_add(&joined, t.text, t.size);
                break;
            }
        }
    }
    km_token_texts made = {0};
    if (joined.size > 0) {
        add_as_text(&made.bytes, joined.data, joined.size);
    }
    end_token(&made);
    km_buffer_free(&joined);
    replace_texts(texts, &made);
}

static void decode_suffix(const km_step *step, km_token_texts *texts) {
    km_token_texts made = {0};
    for (size_t i = 0; i < texts->count; i++) {
        add_replaced(&made.bytes, token_at(texts, i), step->text, i + 1 == texts->count ? "" : " ");
        end_token(&made);
    }
    replace_texts(texts, &made);
}

static void decode_metaspace(const km_step *step, km_token_texts *texts) {
    km_token_texts made = {0};
    for (size_t i = 0; i < texts->count; i++) {
        const bool begins = i == 0 && step->choice != KM_PREPEND_NEVER;
        add_replaced(&made.bytes, token_at(texts, i), step->text, begins ? "" : " ");
        end_token(&made);
    }
    replace_texts(texts, &made);
}

/* The byte of a token such as <0x0A>; -1 for other tokens. */
static int byte_of(token t) {
    char digits[3] = "", *stop = NULL;
    if (t.size != 6 || memcmp(t.text, "<0x", 3) != 0 || t.text[5] != '>') {
        return -1;
    }
    memcpy(digits, t.text + 3, 2);
    const long byte = strtol(digits, &stop, 16);
    return *stop == '\0' && digits[0] != '-' && digits[0] != ' ' ? (int)byte : -1;
}

/* Tokens of single bytes that stand together become one, or a U+FFFD each where they are no text. */
static void decode_fallback(const km_step *step, km_token_texts *texts) {
    (void)step;
    km_token_texts made = {0};
    km_buffer bytes = {0};
    for (size_t i = 0; i <= texts->count; i++) {
        const int byte = i < texts->count ? byte_of(token_at(texts, i)) : -1;
        if (byte >= 0) {
            const char one[] = {(char)byte};
            km_buffer_add(&bytes, one, 1);
            continue;
        }
        const char *at = bytes.data, *end = bytes.size > 0 ? bytes.data + bytes.size : at;
        bool good = true;
        while (at < end && good) {
            good = km_utf8_next(&at, end) >= 0;
        }
        if (good && bytes.size > 0) {
            km_token_texts_add(&made, bytes.data, bytes.size);
        }
        for (size_t n = 0; !good && n < bytes.size; n++) {
            km_token_texts_add(&made, "\xEF\xBF\xBD", 3);
        }
        bytes.size = 0;
        if (i < texts->count) {
            const token t = token_at(texts, i);
            km_token_texts_add(&made, t.text, t.size);
        }
    }
    km_buffer_free(&bytes);
    replace_texts(texts, &made);
}

static void decode_fuse(const km_step *step, km_token_texts *texts) {
    (void)step;
    if (texts->count > 0) {
        texts->ends[0] = texts->bytes.size;
        texts->count = 1;
    }
}

static void decode_strip(const km_step *step, km_token_texts *texts) {
    km_token_texts made = {0};
    const size_t size = strlen(step->text);
    for (size_t i = 0; i < texts->count; i++) {
        const token t = token_at(texts, i);
        size_t from = 0, to = t.size;
        for (int n = 0; n < step->numbers[0] && from + size <= to && memcmp(t.text + from, step->text, size) == 0;
             n++) {
            from += size;
        }
        for (int n = 0;
             n < step->numbers[1] && from + size <= to && memcmp(t.text + to - size, step->text, size) == 0; n++) {
            to -= size;
        }
        km_token_texts_add(&made, t.text + from, to - from);
    }
    replace_texts(texts, &made);
}

static void decode_replace(const km_step *step, km_token_texts *texts) {
    km_token_texts made = {0};
    km_parts found = {0};
    for (size_t i = 0; i < texts->count; i++) {
        const token t = token_at(texts, i);
        found.count = 0;
        km_regex_find(step->regex, t.text, 0, t.size, &found);
        for (size_t n = 0; n < found.count; n++) {
            const km_text_part part = found.parts[n];
            km_buffer_add(&made.bytes, part.matches ? step->text : t.text + part.begin,
                          part.matches ? strlen(step->text) : part.end - part.begin);
        }
        end_token(&made);
    }
    km_parts_free(&found);
    replace_texts(texts, &made);
}

const km_step_kind km_decoding_kinds[] = {
    {.type = "ByteLevel",
     .members = {{KM_MEMBER_IGNORED, "add_prefix_space", 0, "true", NULL},
                 {KM_MEMBER_IGNORED, "trim_offsets", 0, "true", NULL},
                 {KM_MEMBER_IGNORED, "use_regex", 0, "true", NULL}},
     .decode = decode_bytes},
    {.type = "WordPiece",
     .members = {{KM_MEMBER_TEXT, "prefix", 0, "##", NULL}, {KM_MEMBER_FLAG, "cleanup", 0, "true", NULL}},
     .decode = decode_wordpiece},
    {.type = "BPEDecoder", .members = {{KM_MEMBER_TEXT, "suffix", 0, "</w>", NULL}}, .decode = decode_suffix},
    {.type = "Metaspace",
     .members = {{KM_MEMBER_CHARACTER, "replacement", 0, "\xE2\x96\x81", NULL},
                 {KM_MEMBER_CHOICE, "prepend_scheme", 0, "always", km_prepend_names},
                 {KM_MEMBER_FLAG, "split", 0, "true", NULL}},
     .finish = km_step_finish_metaspace,
     .decode = decode_metaspace},
    {.type = "ByteFallback", .decode = decode_fallback},
    {.type = "Fuse", .decode = decode_fuse},
    {.type = "Strip",
     .members = {{KM_MEMBER_CHARACTER, "content", 0, " ", NULL},
                 {KM_MEMBER_NUMBER, "start", 0, "0", NULL},
                 {KM_MEMBER_NUMBER, "stop", 1, "0", NULL}},
     .decode = decode_strip},
    {.type = "Replace",
     .members = {{KM_MEMBER_PATTERN, "pattern", 0, NULL, NULL}, {KM_MEMBER_TEXT, "content", 0, NULL, NULL}},
     .decode = decode_replace}};
const size_t km_decoding_count = KM_COUNT(km_decoding_kinds);
