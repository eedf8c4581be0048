/* The byte-level BPE family: its tables, and its part of a tokenizer's JSON. */
#include "bpe.h"

#include <stdlib.h>
#include <string.h>

static const char *const usual_names[][KM_ROLES] = {{"<pad>", "<unk>", "<s>", "</s>", "<mask>"},
                                                    {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"},
                                                    {NULL, "<|endoftext|>", NULL, NULL, NULL}};

/* ---- Bytes as characters -------------------------------------------------------------------------------- */

size_t km_piece_bytes(char *out, const char *piece, size_t size, bool *of_bytes) {
    const char *at = piece, *end = piece + size;
    size_t count = 0;
    while (at < end) {
        int byte = km_char_byte((uint32_t)km_utf8_next(&at, end));
        if (byte < 0) {
            memcpy(out, piece, size);
            *of_bytes = false;
            return size;
        }
        out[count++] = (char)byte;
    }
    *of_bytes = true;
    return count;
}

/* ---- Tables --------------------------------------------------------------------------------------------- */

static void fill_pairs(const km_tokenizer *t) {
    km_bpe *b = t->bpe;
    size_t slots = 64;
    b->pair_shift = 64 - 6;
    while (slots < 2 * t->merge_count + 2) {
        slots *= 2;
        b->pair_shift--;
    }
    b->pair_mask = slots - 1;
    b->pairs = km_new(slots, sizeof *b->pairs);
    for (size_t i = 0; i < slots; i++) {
        b->pairs[i].left = -1;
    }
    for (size_t i = 0; i < t->merge_count; i++) {
        km_merge merge = t->merges[i];
        uint64_t key = (uint64_t)(uint32_t)merge.left << 32 | (uint32_t)merge.right;
        size_t slot = (size_t)(key * 0x9E3779B97F4A7C15ULL >> b->pair_shift);
        while (b->pairs[slot].left >= 0 &&
               (b->pairs[slot].left != merge.left || b->pairs[slot].right != merge.right)) {
            slot = (slot + 1) & b->pair_mask;
        }
        b->pairs[slot] = (km_bpe_pair){merge.left, merge.right, (uint32_t)i, merge.result};
    }
}

/* The bytes that each piece stands for, and the piece of each single byte. */
static void fill_raw(const km_tokenizer *t) {
    km_bpe *b = t->bpe;
    b->raw = km_grow(b->raw, t->pieces.used + 1, 1);
    b->raw_starts = km_grow(b->raw_starts, (size_t)t->pieces.count + 1, sizeof *b->raw_starts);
    for (size_t i = 0; i < KM_COUNT(b->byte_ids); i++) {
        b->byte_ids[i] = t->unknown;
    }
    size_t used = 0;
    for (uint32_t id = 0; id < t->pieces.count; id++) {
        bool of_bytes = false;
        b->raw_starts[id] = used;
        const char *piece = km_strings_get(&t->pieces, id);
        size_t size = km_strings_size(&t->pieces, id);
        if (b->by_character) {
            memcpy(b->raw + used, piece, size);
        } else {
            size = km_piece_bytes(b->raw + used, piece, size, &of_bytes);
        }
        if (size == 1 && of_bytes && (int32_t)id < t->model_size) {
            b->byte_ids[(uint8_t)b->raw[used]] = (int32_t)id;
        }
        used += size;
    }
    b->raw_starts[t->pieces.count] = used;
}

static void insert_shortcut(km_bpe *b, int32_t id) {
    size_t size = b->raw_starts[id + 1] - b->raw_starts[id];
    uint64_t hash = km_bytes_hash(b->raw + b->raw_starts[id], size);
    size_t slot = (size_t)hash & b->shortcut_mask;
    while (b->shortcuts[slot].id >= 0) {
        slot = (slot + 1) & b->shortcut_mask;
    }
    b->shortcuts[slot] = (km_bpe_shortcut){(uint32_t)(hash >> 32), id};
}

/* Whether the piece is written in the characters that stand for bytes. */
static bool is_of_bytes(const km_tokenizer *t, int32_t id) {
    bool of_bytes = false;
    const size_t size = km_strings_size(&t->pieces, (uint32_t)id);
    char *bytes = km_new(size + 1, 1);
    (void)km_piece_bytes(bytes, km_tokenizer_piece(t, id), size, &of_bytes);
    free(bytes);
    return of_bytes;
}

/* Finds the pre-tokens that are one piece: those that merging makes out of their own bytes, or all where merges are ignored. */
static void fill_shortcuts(const km_tokenizer *t) {
    enum { LONGEST = 256 };
    km_bpe *b = t->bpe;
    size_t slots = 64;
    while (slots < 2 * (size_t)t->pieces.count) {
        slots *= 2;
    }
    b->shortcut_mask = slots - 1;
    b->shortcuts = km_new(slots, sizeof *b->shortcuts);
    for (size_t i = 0; i < slots; i++) {
        b->shortcuts[i].id = -1;
    }
    const km_model_options *o = t->pipeline == NULL ? NULL : &t->pipeline->model;
    const bool affixes = o != NULL && (*o->prefix != '\0' || *o->suffix != '\0');
    size_t longest = LONGEST;
    for (int32_t id = 0; id < t->model_size; id++) {
        int32_t ids[LONGEST];
        uint32_t sizes[LONGEST];
        size_t size = b->raw_starts[id + 1] - b->raw_starts[id];
        b->longest = 0; /* so that km_bpe_merge merges and does not look for a shortcut */
        if (o != NULL && o->ignore_merges) {
            if (b->by_character || is_of_bytes(t, id)) {
                insert_shortcut(b, id);
                longest = KM_MAX(longest, size);
            }
        } else if (!affixes && size <= LONGEST &&
                   km_bpe_merge(t, b->raw + b->raw_starts[id], size, ids, sizes) == 1 && ids[0] == id) {
            insert_shortcut(b, id);
        }
    }
    b->longest = longest;
}

/* Whether every byte has a piece, so that the unknown token is never used. */
static bool all_bytes_known(const km_tokenizer *t) {
    for (size_t i = 0; i < 256; i++) {
        if (t->bpe->byte_ids[i] == t->unknown) {
            return false;
        }
    }
    return true;
}

bool km_bpe_by_character(const km_tokenizer *tokenizer) {
    return tokenizer->bpe->by_character;
}

/* Merging begins with bytes where the last step writes a character for each byte and the model does nothing else with them. */
static void choose_symbols(km_tokenizer *t) {
    km_bpe *b = t->bpe;
    const km_model_options *o = &t->pipeline->model;
    t->ids_a_byte = 1 + strlen(o->prefix) + strlen(o->suffix);
    b->by_character = !km_steps_end_with(t->pipeline->splitting, "ByteLevel") || t->ids_a_byte > 1;
    for (int byte = 0; byte < 256; byte++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", byte);
        const int32_t id = km_tokenizer_id(t, name);
        b->fallback[byte] = o->byte_fallback && id < t->model_size ? id : -1;
    }
    fill_raw(t);
    b->by_character = b->by_character || ((o->fuse_unknown || o->byte_fallback) && !all_bytes_known(t));
}

static km_status prepare(km_tokenizer *t, const km_settings *settings, const char *origin) {
    (void)origin;
    km_bpe *b = t->bpe = km_new(1, sizeof *b);
    b->prefix_space = settings->prefix_space == 1;
    b->classes = km_char_classes();
    fill_pairs(t);
    if (t->pipeline != NULL) {
        choose_symbols(t);
    }
    fill_raw(t);
    fill_shortcuts(t);
    return KM_OK;
}

static void destroy(km_tokenizer *t) {
    if (t->bpe != NULL) {
        free(t->bpe->raw);
        free(t->bpe->raw_starts);
        free(t->bpe->pairs);
        free(t->bpe->shortcuts);
        free(t->bpe);
    }
}

/* ---- As JSON -------------------------------------------------------------------------------------------- */

static void print(const km_tokenizer *t, km_json *json, bool ids_only) {
    (void)ids_only;
    if (t->pipeline == NULL) {
        km_json_set_boolean(json, "prefix_space", t->bpe->prefix_space);
    }
    if (t->pipeline == NULL && t->unknown >= 0 && !all_bytes_known(t)) {
        km_json_set_number(json, "unknown_byte", t->unknown);
    }
    km_json *merges = km_json_array();
    for (size_t i = 0; i < t->merge_count; i++) {
        km_json_push_number(merges, t->merges[i].left);
        km_json_push_number(merges, t->merges[i].right);
    }
    km_json_set(json, "merges", merges);
}

/* The piece whose id the JSON number is; NULL where it is none. */
static const char *piece_of(const km_tokenizer *t, const km_json *number) {
    double id = -1;
    bool there =
        km_json_number(&id, number) && id >= 0 && id < (double)t->pieces.count && id <= (double)(int32_t)id;
    return there ? km_tokenizer_piece(t, (int32_t)id) : NULL;
}

static km_status parse(km_tokenizer *t, km_settings *settings, const km_json *json, const char *origin) {
    const km_json *merges = km_json_get(json, "merges"), *unknown = km_json_get(json, "unknown_byte");
    KM_TRY(km_settings_flag(&settings->prefix_space, json, "prefix_space", origin));
    KM_TRY(km_tokenizer_read_pieces(t, json, origin));
    if (unknown != NULL) {
        const char *piece = piece_of(t, unknown);
        if (piece == NULL) {
            return km_fail(KM_FAILED, "%s: the tokenizer's \"unknown_byte\" is not the id of a piece", origin);
        }
        t->unknown = km_tokenizer_id(t, piece);
    }
    if (!km_json_is_array(merges)) {
        return km_fail(KM_FAILED, "%s: the tokenizer's \"merges\" is not a list of ids", origin);
    }
    for (const km_json *item = km_json_first(merges); item != NULL; item = km_json_next(item)) {
        const char *left = piece_of(t, item), *right = piece_of(t, item = km_json_next(item));
        if (left == NULL || right == NULL) {
            return km_fail(KM_FAILED, "%s: the tokenizer's \"merges\" holds other things than pairs of ids",
                           origin);
        }
        KM_TRY(km_tokenizer_merge(t, left, strlen(left), right, strlen(right), origin));
    }
    return KM_OK;
}

const km_family km_family_bpe = {.type = "bpe",
                                 .usual_names = usual_names,
                                 .usual_count = KM_COUNT(usual_names),
                                 .mask_lstrip = true,
                                 .prepare = prepare,
                                 .destroy = destroy,
                                 .encode = km_bpe_encode,
                                 .encode_pretoken = km_bpe_merge,
                                 .decode = km_bpe_decode,
                                 .print = print,
                                 .parse = parse,
                                 .save = km_bpe_save,
                                 .print_json = km_bpe_print_json};
