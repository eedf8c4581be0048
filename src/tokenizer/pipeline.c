/* Tokenizers whose tokenizer.json lists steps of its own: reading and printing them, and from text to ids and back. */
#include <stdlib.h>
#include <string.h>

#include "bpe.h"

/* ---- Reading and printing ------------------------------------------------------------------------------- */

void km_pipeline_destroy(km_pipeline *pipeline) {
    if (pipeline != NULL) {
        km_steps_destroy(pipeline->normalizing);
        km_steps_destroy(pipeline->splitting);
        km_steps_destroy(pipeline->decoding);
        free(pipeline->model.prefix);
        free(pipeline->model.suffix);
        free(pipeline);
    }
}

static km_status read_flag(bool *flag, const km_json *model, const char *key, const char *path) {
    int found = KM_UNSET;
    KM_TRY(km_settings_flag(&found, model, key, path));
    *flag = found == 1;
    return KM_OK;
}

static km_status read_options(km_model_options *o, const km_json *model, bool wordpiece, const char *path) {
    const km_json *prefix = km_json_get(model, "continuing_subword_prefix");
    o->prefix = km_strdup(km_json_string(prefix) != NULL ? km_json_string(prefix) : wordpiece ? "##" : "");
    o->suffix = km_strdup(wordpiece ? "" : km_json_text(model, "end_of_word_suffix"));
    const double most = km_json_number_or(model, "max_input_chars_per_word", KM_WORD_CHARS);
    if (!(most >= 0 && most <= 1e9) || most > (double)(int)most) {
        return km_fail(KM_FAILED, "%s: max_input_chars_per_word is %g, expected a whole number from 0", path, most);
    }
    o->max_chars = (int)most;
    const double dropout = km_json_number_or(model, "dropout", 0);
    if (dropout < 0 || dropout > 0) {
        return km_fail(
            KM_FAILED,
            "%s: the BPE model has a dropout of %g, which gives other ids each time and is not supported. "
            "Set it to null.",
            path, dropout);
    }
    KM_TRY(read_flag(&o->fuse_unknown, model, "fuse_unk", path));
    KM_TRY(read_flag(&o->byte_fallback, model, "byte_fallback", path));
    return read_flag(&o->ignore_merges, model, "ignore_merges", path);
}

static bool splits_at_blanks(const km_pipeline *p) {
    km_pretokens pretokens = {.begins_text = true};
    (void)km_normalized_fill(&pretokens.text, "a b", 0, 3);
    km_steps_normalize(p->normalizing, &pretokens.text);
    km_steps_split(p->splitting, &pretokens, false);
    const bool splits = pretokens.parts.count > 1;
    km_pretokens_free(&pretokens);
    return splits;
}

km_status km_pipeline_read(km_pipeline **out, const km_json *json, bool wordpiece, const char *path) {
    km_pipeline *p = *out = km_new(1, sizeof *p);
    km_status status = km_steps_read(&p->normalizing, KM_STEPS_NORMALIZE, km_json_get(json, "normalizer"), path);
    if (status == KM_OK) {
        status = km_steps_read(&p->splitting, KM_STEPS_SPLIT, km_json_get(json, "pre_tokenizer"), path);
    }
    if (status == KM_OK) {
        status = km_steps_read(&p->decoding, KM_STEPS_DECODE, km_json_get(json, "decoder"), path);
    }
    status = status == KM_OK ? read_options(&p->model, km_json_get(json, "model"), wordpiece, path) : status;
    if (status != KM_OK) {
        km_pipeline_destroy(p);
        *out = NULL;
        return status;
    }
    p->splits = splits_at_blanks(p);
    return KM_OK;
}

void km_pipeline_print(const km_tokenizer *t, km_json *json, bool ids_only) {
    const km_pipeline *p = t->pipeline;
    km_json_set(json, "normalizer", km_steps_print(p->normalizing));
    km_json_set(json, "pre_tokenizer", km_steps_print(p->splitting));
    if (!ids_only) {
        km_json_set(json, "decoder", km_steps_print(p->decoding));
    }
    km_json *model = km_json_object();
    km_json_set_string(model, "continuing_subword_prefix", p->model.prefix);
    if (t->family == &km_family_wordpiece) {
        km_json_set_number(model, "max_input_chars_per_word", p->model.max_chars);
    } else {
        km_json_set_string(model, "end_of_word_suffix", p->model.suffix);
        km_json_set_boolean(model, "fuse_unk", p->model.fuse_unknown);
        km_json_set_boolean(model, "byte_fallback", p->model.byte_fallback);
        km_json_set_boolean(model, "ignore_merges", p->model.ignore_merges);
    }
    km_json_set_number(model, "unknown", t->unknown);
    km_json_set(json, "model", model);
}

/* ---- Encoding ------------------------------------------------------------------------------------------- */

bool km_tokenizer_normalizes(const km_tokenizer *t) {
    return t->pipeline != NULL ? km_steps_count(t->pipeline->normalizing) > 0 : t->family->normalize != NULL;
}

uint64_t km_tokenizer_normalize(const km_tokenizer *t, km_normalized *out, const char *text, size_t from,
                                size_t to) {
    if (t->pipeline == NULL) {
        return t->family->normalize(t, out, text, from, to);
    }
    const uint64_t invalid = km_normalized_fill(out, text, from, to);
    km_steps_normalize(t->pipeline->normalizing, out);
    return invalid;
}

typedef struct encoding {
    const km_tokenizer *tokenizer;
    km_pretokens pretokens;
    bool bytes; /* the pre-tokens are written in the characters that stand for bytes */
    int32_t *ids;
    uint32_t *sizes;
    size_t room;
    km_ids *out;
} encoding;

/* Whether the character text[at] is white space, or a sign for it. Sets *next to where it ends. */
static bool is_blank(const encoding *e, size_t at, size_t *next) {
    const km_normalized *text = &e->pretokens.text;
    const char *here = text->text + at;
    const uint32_t code = (uint32_t)km_utf8_next(&here, text->text + text->count);
    const int byte = e->bytes ? km_char_byte(code) : -1;
    *next = (size_t)(here - text->text);
    return code == 0x2581 || km_char_class_of(byte >= 0 && byte < 0x80 ? (uint32_t)byte : code) == KM_CHAR_SPACE;
}

static size_t character_before(const km_normalized *text, size_t at) {
    do {
        at--;
    } while (at > 0 && (text->text[at] & 0xC0) == 0x80);
    return at;
}

/* The range in the source of the token text[begin, end), without a blank at its beginning. */
static void put_range(encoding *e, size_t begin, size_t end) {
    const km_normalized *text = &e->pretokens.text;
    size_t next = begin;
    if (begin < end && is_blank(e, begin, &next) && next < end) {
        begin = next;
    }
    const size_t last = text->count - 1, first = KM_MIN(begin, last);
    const size_t from = text->begins[first];
    km_ids_range(e->out, e->out->count - 1, from, begin < end ? KM_MAX(from, text->ends[end - 1]) : from);
}

/* Whether a token that begins at `at`, inside a pre-token, begins a word, because text is not split at blanks: where its first character
 * is a blank and the one before it is none. */
static bool begins_word(const encoding *e, size_t at, size_t end) {
    const km_normalized *text = &e->pretokens.text;
    size_t next;
    return !e->tokenizer->pipeline->splits && at < end && (text->text[at] & 0xC0) != 0x80 &&
           is_blank(e, at, &next) && !is_blank(e, character_before(text, at), &next);
}

/* Appends the ids of one pre-token, whose first token begins a word. */
static void put_pretoken(encoding *e, km_text_part part) {
    const km_normalized *text = &e->pretokens.text;
    const size_t size = part.end - part.begin, room = size * e->tokenizer->ids_a_byte + 1;
    if (room > e->room) {
        e->room = 2 * room;
        e->ids = km_grow(e->ids, e->room, sizeof *e->ids);
        e->sizes = km_grow(e->sizes, e->room, sizeof *e->sizes);
    }
    const size_t count =
        e->tokenizer->family->encode_pretoken(e->tokenizer, text->text + part.begin, size, e->ids, e->sizes);
    km_ids_reserve(e->out, count);
    size_t at = part.begin;
    for (size_t i = 0; i < count; i++) {
        const size_t end = KM_MIN(at + e->sizes[i], part.end);
        km_ids_push(e->out, e->ids[i], i == 0 || begins_word(e, at, end));
        if (e->out->ranges && e->tokenizer->family->whole_ranges) {
            put_range(e, part.begin, part.end);
        } else if (e->out->ranges) {
            put_range(e, at, end);
        }
        at = end;
    }
}

uint64_t km_pipeline_encode(const km_tokenizer *t, const char *text, size_t from, size_t to, bool normalized,
                            bool begins, km_ids *out) {
    const km_pipeline *p = t->pipeline;
    encoding e = {.tokenizer = t, .out = out, .pretokens = {.text.ranges = out->ranges, .begins_text = begins}};
    const uint64_t invalid = km_normalized_fill(&e.pretokens.text, text, from, to);
    if (!normalized) {
        km_steps_normalize(p->normalizing, &e.pretokens.text);
    }
    const bool raw = t->bpe != NULL && !km_bpe_by_character(t);
    km_steps_split(p->splitting, &e.pretokens, raw);
    e.bytes =
        !raw && (km_steps_end_with(p->splitting, "ByteLevel") || km_steps_end_with(p->normalizing, "ByteLevel"));
    for (size_t i = 0; i < e.pretokens.parts.count; i++) {
        put_pretoken(&e, e.pretokens.parts.parts[i]);
    }
    km_pretokens_free(&e.pretokens);
    free(e.ids);
    free(e.sizes);
    return invalid;
}

/* ---- Decoding ------------------------------------------------------------------------------------------- */

void km_pipeline_decode(const km_tokenizer *t, const int32_t *ids, size_t count, km_buffer *out) {
    const km_step_list *steps = t->pipeline->decoding;
    const bool none = km_steps_count(steps) == 0; /* tokens then stand with blanks between them */
    km_token_texts texts = {0};
    for (size_t i = 0; i < count; i++) {
        const km_added_token *token = t->added_normalized.count > 0 ? km_added_token_of(t, ids[i]) : NULL;
        const char *piece = token != NULL && token->normalized_text != NULL ? token->normalized_text
                                                                            : km_tokenizer_piece(t, ids[i]);
        if (none && i > 0) {
            km_token_texts_add(&texts, " ", 1);
        }
        km_token_texts_add(&texts, piece, strlen(piece));
    }
    km_steps_decode(steps, &texts);
    km_buffer_add(out, texts.bytes.size > 0 ? texts.bytes.data : "", texts.bytes.size);
    km_token_texts_free(&texts);
}
