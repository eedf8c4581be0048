/* The WordPiece family: its table of pieces, and its part of a tokenizer's JSON. */
#include "wordpiece.h"

#include <stdlib.h>
#include <string.h>

static const char *const usual_names[][KM_ROLES] = {{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"},
                                                    {"<pad>", "<unk>", "<s>", "</s>", "<mask>"}};

static uint64_t hash_of(const char *bytes, size_t count) {
    uint64_t hash = 0xCBF29CE484222325ULL;
    for (size_t i = 0; i < count; i++) {
        hash = km_piece_step(hash, bytes[i]);
    }
    return hash;
}

static void insert(const km_tokenizer *t, int32_t id) {
    km_wordpiece *w = t->wordpiece;
    const char *piece = km_tokenizer_piece(t, id);
    const size_t count = strlen(piece);
    const uint64_t hash = hash_of(piece, count), mixed = hash ^ hash >> 32;
    size_t slot = (size_t)(mixed * 0x9E3779B97F4A7C15ULL >> w->shift);
    while (w->slots[slot].id >= 0) {
        slot = (slot + 1) & w->mask;
    }
    w->slots[slot] = (km_piece_slot){(uint32_t)mixed, id};
    const bool continues = count >= w->prefix_size && memcmp(piece, w->prefix, w->prefix_size) == 0;
    if (!continues || t->pipeline != NULL) { /* BERT's words never begin with "##" */
        w->longest[0] = KM_MAX(w->longest[0], KM_MIN(count, (size_t)KM_WORD_BYTES));
    }
    if (continues) {
        w->longest[1] = KM_MAX(w->longest[1], KM_MIN(count - w->prefix_size, (size_t)KM_WORD_BYTES));
    }
}

static void fill_table(const km_tokenizer *t) {
    km_wordpiece *w = t->wordpiece;
    size_t slots = 64;
    w->shift = 64 - 6;
    while (slots < 2 * (size_t)t->model_size) {
        slots *= 2;
        w->shift--;
    }
    w->mask = slots - 1;
    w->prefix = t->pipeline == NULL ? "##" : t->pipeline->model.prefix;
    w->prefix_size = strlen(w->prefix);
    w->seeds[0] = hash_of("", 0);
    w->seeds[1] = hash_of(w->prefix, w->prefix_size);
    w->slots = km_new(slots, sizeof *w->slots);
    for (size_t i = 0; i < slots; i++) {
        w->slots[i].id = -1;
    }
    for (int32_t id = 0; id < t->model_size; id++) {
        insert(t, id);
    }
}

static km_status check_specials(const km_tokenizer *t, const km_settings *settings, const char *origin) {
    const km_specials *s = &t->specials;
    const int32_t ids[] = {s->pad, s->unk, s->cls, s->sep, s->mask};
    km_buffer missing = {0};
    for (size_t i = 0; i < KM_ROLES; i++) {
        if (ids[i] < 0) {
            const char *name = settings->role[i] != NULL ? settings->role[i] : usual_names[0][i];
            km_buffer_print(&missing, "%s%.100s", missing.size > 0 ? ", " : "", name);
        }
    }
    km_status status = KM_OK;
    if (missing.size > 0) {
        status =
            km_fail(KM_FAILED,
                    "%s: no %s among the %d pieces. A WordPiece vocabulary needs [PAD], [UNK], [CLS], [SEP] and "
                    "[MASK], one piece a line.",
                    origin, missing.data, km_tokenizer_size(t));
    }
    km_buffer_free(&missing);
    return status;
}

static km_status prepare(km_tokenizer *t, const km_settings *settings, const char *origin) {
    if (t->pipeline == NULL) {
        KM_TRY(check_specials(t, settings, origin));
    } else if (t->unknown < 0) {
        return km_fail(KM_FAILED, "%s: the unk_token of the WordPiece model is not one of its pieces", origin);
    }
    t->ids_a_byte = 1;
    km_wordpiece *w = t->wordpiece = km_new(1, sizeof *w);
    fill_table(t);
    bool lowercase = settings->lowercase != 0;
    bool strip = settings->strip_accents == KM_UNSET ? lowercase : settings->strip_accents == 1;
    km_normalizer_init(&w->normalizer, lowercase, strip, settings->chinese != 0);
    km_normalizer_init(&w->splitter, false, false, false);
    w->piece_clean_up = settings->piece_clean_up != 0;
    w->clean_up = settings->clean_up == 1;
    return KM_OK;
}

static void destroy(km_tokenizer *t) {
    if (t->wordpiece != NULL) {
        free(t->wordpiece->slots);
        free(t->wordpiece);
    }
}

static uint64_t normalize(const km_tokenizer *t, km_normalized *out, const char *text, size_t from, size_t to) {
    return km_normalize(out, &t->wordpiece->normalizer, text, from, to);
}

static void print(const km_tokenizer *t, km_json *json, bool ids_only) {
    const km_wordpiece *w = t->wordpiece;
    if (t->pipeline != NULL) {
        return;
    }
    km_json_set_boolean(json, "lowercase", w->normalizer.lowercase);
    km_json_set_boolean(json, "strip_accents", w->normalizer.strip_accents);
    km_json_set_boolean(json, "chinese", w->normalizer.chinese);
    if (!ids_only) {
        km_json_set_boolean(json, "piece_clean_up", w->piece_clean_up);
        km_json_set_boolean(json, "clean_up", w->clean_up);
    }
}

static km_status read_flag(int *flag, const km_json *json, const char *key, const char *origin) {
    bool said = false;
    if (!km_json_boolean(&said, km_json_get(json, key))) {
        return km_fail(KM_FAILED, "%s: the tokenizer's \"%s\" is not true or false", origin, key);
    }
    *flag = said;
    return KM_OK;
}

static km_status parse(km_tokenizer *t, km_settings *settings, const km_json *json, const char *origin) {
    if (t->pipeline != NULL) {
        return km_tokenizer_read_pieces(t, json, origin);
    }
    KM_TRY(read_flag(&settings->lowercase, json, "lowercase", origin));
    KM_TRY(read_flag(&settings->strip_accents, json, "strip_accents", origin));
    KM_TRY(read_flag(&settings->chinese, json, "chinese", origin));
    KM_TRY(km_settings_flag(&settings->piece_clean_up, json, "piece_clean_up", origin));
    KM_TRY(km_settings_flag(&settings->clean_up, json, "clean_up", origin));
    return km_tokenizer_read_pieces(t, json, origin);
}

const km_family km_family_wordpiece = {.type = "wordpiece",
                                       .usual_names = usual_names,
                                       .usual_count = KM_COUNT(usual_names),
                                       .whole_ranges = true,
                                       .prepare = prepare,
                                       .destroy = destroy,
                                       .encode = km_wordpiece_encode,
                                       .encode_normalized = km_wordpiece_encode_normalized,
                                       .encode_pretoken = km_wordpiece_pretoken,
                                       .normalize = normalize,
                                       .decode = km_wordpiece_decode,
                                       .print = print,
                                       .parse = parse,
                                       .save = km_wordpiece_save,
                                       .print_json = km_wordpiece_print_json};
