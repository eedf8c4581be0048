/* Reads tokenizer.json, the file in which HuggingFace's tokenizers package keeps a whole tokenizer. Everything that BERT's
 * WordPiece and GPT-2's byte-level BPE need is read; a component that they do not have is an error that names it. */
#include <stdlib.h>
#include <string.h>

#include "tokenizer.h"

enum { JSON_BYTES = 1 << 30, HOLES = 100000 };

static const char *type_of(const km_json *object) {
    const char *type = km_json_string(km_json_get(object, "type"));
    return type == NULL ? "" : type;
}

static bool is_type(const km_json *object, const char *type) {
    return strcmp(type_of(object), type) == 0;
}

static bool absent(const km_json *value) {
    return value == NULL || km_json_is_null(value);
}

/* The error for a component that is not supported. */
static km_status refuse(const char *path, const char *what, const km_json *found, const char *expected) {
    return km_fail(KM_FAILED, "%s: the %s is %.100s, which is not supported; expected %s", path, what,
                   absent(found)             ? "not there"
                   : *type_of(found) == '\0' ? "without a type"
                                             : type_of(found),
                   expected);
}

/* Of a Sequence with one member, that member; any other object as it is. */
static const km_json *unwrap(const km_json *object, const char *list) {
    const km_json *members = km_json_get(object, list);
    return is_type(object, "Sequence") && km_json_size(members) == 1 ? km_json_first(members) : object;
}

/* Checks a flag that must be `wanted` or absent. */
static km_status demand(const km_json *object, const char *key, bool wanted, const char *path) {
    int found = KM_UNSET;
    KM_TRY(km_settings_flag(&found, object, key, path));
    if (found != KM_UNSET && found != (int)wanted) {
        return km_fail(KM_FAILED, "%s: %s has %s %s, which is not supported", path, type_of(object), key,
                       found ? "true" : "false");
    }
    return KM_OK;
}

/* ---- The components around the model -------------------------------------------------------------------- */

static km_status read_normalizer(km_settings *settings, const km_json *json, bool wordpiece, const char *path) {
    const km_json *normalizer = unwrap(km_json_get(json, "normalizer"), "normalizers");
    if (!wordpiece) {
        return absent(normalizer) ? KM_OK : refuse(path, "normalizer", normalizer, "none beside BPE");
    }
    if (!is_type(normalizer, "BertNormalizer")) {
        return refuse(path, "normalizer", normalizer, "BertNormalizer");
    }
    KM_TRY(demand(normalizer, "clean_text", true, path));
    int lowercase = KM_UNSET, strip = KM_UNSET, chinese = KM_UNSET;
    KM_TRY(km_settings_flag(&lowercase, normalizer, "lowercase", path));
    KM_TRY(km_settings_flag(&strip, normalizer, "strip_accents", path));
    KM_TRY(km_settings_flag(&chinese, normalizer, "handle_chinese_chars", path));
    bool same_case = settings->lowercase == KM_UNSET || settings->lowercase == (lowercase != 0);
    settings->lowercase = settings->lowercase == KM_UNSET ? lowercase : settings->lowercase;
    if (settings->strip_accents == KM_UNSET && same_case) {
        settings->strip_accents = strip;
    }
    settings->chinese = settings->chinese == KM_UNSET ? chinese : settings->chinese;
    return KM_OK;
}

static km_status read_pre_tokenizer(km_settings *settings, const km_json *json, bool wordpiece, const char *path) {
    const km_json *found = km_json_get(json, "pre_tokenizer"), *one = unwrap(found, "pretokenizers");
    if (wordpiece) {
        bool fits = found == NULL || is_type(one, "BertPreTokenizer");
        return fits ? KM_OK : refuse(path, "pre_tokenizer", one, "BertPreTokenizer");
    }
    if (!is_type(one, "ByteLevel")) {
        return refuse(path, "pre_tokenizer", one, "ByteLevel");
    }
    KM_TRY(demand(one, "use_regex", true, path));
    int prefix_space = KM_UNSET;
    KM_TRY(km_settings_flag(&prefix_space, one, "add_prefix_space", path));
    prefix_space = prefix_space == KM_UNSET ? 1 : prefix_space; /* the package's default */
    settings->prefix_space = settings->prefix_space == KM_UNSET ? prefix_space : settings->prefix_space;
    return KM_OK;
}

/* Takes the special token before the text of a template as cls, and the last one behind it as sep. */
static void read_template(km_settings *settings, const km_json *single) {
    const char *before = NULL, *behind = NULL;
    bool text = false;
    for (const km_json *item = km_json_first(single); item != NULL; item = km_json_next(item)) {
        const char *name = km_json_string(km_json_get(km_json_get(item, "SpecialToken"), "id"));
        text = text || km_json_get(item, "Sequence") != NULL;
        before = !text && name != NULL ? name : before;
        behind = text && name != NULL ? name : behind;
    }
    if (before != NULL && behind != NULL) {
        km_settings_role(settings, KM_ROLE_CLS, before);
        km_settings_role(settings, KM_ROLE_SEP, behind);
    }
}

static km_status read_processor(km_settings *settings, const km_json *processor, const char *path) {
    if (absent(processor) || is_type(processor, "ByteLevel")) {
        return KM_OK;
    }
    if (is_type(processor, "Sequence")) {
        const km_json *item = km_json_first(km_json_get(processor, "processors"));
        for (; item != NULL; item = km_json_next(item)) {
            if (is_type(item, "Sequence")) {
                return refuse(path, "post_processor", item, "no Sequence in a Sequence");
            }
            KM_TRY(read_processor(settings, item, path));
        }
        return KM_OK;
    }
    if (is_type(processor, "BertProcessing") || is_type(processor, "RobertaProcessing")) {
        const char *cls = km_json_string(km_json_first(km_json_get(processor, "cls")));
        const char *sep = km_json_string(km_json_first(km_json_get(processor, "sep")));
        if (cls == NULL || sep == NULL) {
            return km_fail(KM_FAILED, "%s: %s has no \"cls\" or no \"sep\", expected [token, id]", path,
                           type_of(processor));
        }
        km_settings_role(settings, KM_ROLE_CLS, cls);
        km_settings_role(settings, KM_ROLE_SEP, sep);
        return KM_OK;
    }
    if (is_type(processor, "TemplateProcessing")) {
        read_template(settings, km_json_get(processor, "single"));
        return KM_OK;
    }
    return refuse(path, "post_processor", processor,
                  "TemplateProcessing, BertProcessing, RobertaProcessing or ByteLevel");
}

static km_status read_decoder(km_settings *settings, const km_json *json, bool wordpiece, const char *path) {
    const km_json *decoder = unwrap(km_json_get(json, "decoder"), "decoders");
    if (absent(decoder)) {
        return KM_OK;
    }
    if (!is_type(decoder, wordpiece ? "WordPiece" : "ByteLevel")) {
        return refuse(path, "decoder", decoder, wordpiece ? "WordPiece" : "ByteLevel");
    }
    if (wordpiece) {
        const char *prefix = km_json_string(km_json_get(decoder, "prefix"));
        if (prefix != NULL && strcmp(prefix, "##") != 0) {
            return km_fail(KM_FAILED, "%s: the decoder's prefix is \"%.100s\", expected \"##\"", path, prefix);
        }
        KM_TRY(km_settings_flag(&settings->piece_clean_up, decoder, "cleanup", path));
    }
    return KM_OK;
}

static km_status read_added(km_settings *settings, const km_json *json, const char *path) {
    const km_json *list = km_json_get(json, "added_tokens");
    for (const km_json *item = km_json_first(list); item != NULL; item = km_json_next(item)) {
        KM_TRY(km_settings_read_token(settings, item, -1, false, path));
    }
    return KM_OK;
}

/* ---- The model ------------------------------------------------------------------------------------------ */

/* The largest id of {"piece": id, ...} in *largest. */
static km_status find_largest(size_t *largest, const km_json *vocab, const char *path) {
    const double most = 2 * (double)km_json_size(vocab) + HOLES; /* more holes than that are no vocabulary */
    *largest = 0;
    for (const km_json *item = km_json_first(vocab); item != NULL; item = km_json_next(item)) {
        double id = -1;
        if (!km_json_number(&id, item) || !(id >= 0 && id < most) || id > (double)(size_t)id) {
            return km_fail(KM_FAILED, "%s: the id of piece \"%.100s\" is not a whole number from 0 to %.0f", path,
                           km_json_key(item), most - 1);
        }
        *largest = KM_MAX(*largest, (size_t)id);
    }
    return KM_OK;
}

/* Sets pieces[id] to the piece, for every member of {"piece": id, ...}; of a piece that is there twice, for the last. */
static km_status place_pieces(const char **pieces, const km_json *vocab, size_t *doubled, const char *path) {
    km_strings seen = {0};
    size_t *places = km_new(km_json_size(vocab) + 1, sizeof *places); /* by the number in `seen` */
    km_status status = KM_OK;
    *doubled = 0;
    for (const km_json *item = km_json_first(vocab); item != NULL && status == KM_OK; item = km_json_next(item)) {
        double id = 0;
        const char *piece = km_json_key(item);
        (void)km_json_number(&id, item);
        const uint32_t before = seen.count, number = km_strings_add(&seen, piece, strlen(piece));
        if (number < before) {
            pieces[places[number]] = NULL;
            (*doubled)++;
        }
        if (pieces[(size_t)id] != NULL) {
            status = km_fail(KM_FAILED, "%s: pieces \"%.100s\" and \"%.100s\" have the same id", path,
                             pieces[(size_t)id], piece);
        }
        pieces[(size_t)id] = piece;
        places[number] = (size_t)id;
    }
    free(places);
    km_strings_free(&seen);
    return status;
}

/* Adds pieces[0..count-1], with holes where there is none; *holes counts them. */
static km_status add_pieces(km_tokenizer *t, const km_settings *settings, const char **pieces, size_t count,
                            size_t *holes, const char *path) {
    *holes = 0;
    for (size_t i = 0; settings != NULL && i < settings->added_count; i++) {
        const km_added_token *token = &settings->added[i];
        if (token->id >= 0 && (size_t)token->id < count && pieces[token->id] == NULL) {
            pieces[token->id] = token->content;
        }
    }
    for (size_t i = 0; i < count; i++) {
        const bool hole = pieces[i] == NULL || pieces[i][0] == '\0';
        *holes += hole;
        KM_TRY(hole ? km_tokenizer_add_hole(t, path) : km_tokenizer_add(t, pieces[i], strlen(pieces[i]), path));
    }
    return KM_OK;
}

km_status km_tokenizer_read_vocab(km_tokenizer *tokenizer, const km_settings *settings, const km_json *vocab,
                                  const char *path) {
    if (!km_json_is_object(vocab)) {
        return km_fail(KM_FAILED, "%s: no vocabulary here, expected an object {\"piece\": id, ...}", path);
    }
    size_t largest = 0, doubled = 0, holes = 0;
    if (km_json_first(vocab) == NULL) {
        return KM_OK; /* finishing says that there are no pieces */
    }
    KM_TRY(find_largest(&largest, vocab, path));
    const char **pieces = km_new(largest + 1, sizeof *pieces);
    km_status status = place_pieces(pieces, vocab, &doubled, path);
    status = status == KM_OK ? add_pieces(tokenizer, settings, pieces, largest + 1, &holes, path) : status;
    free(pieces);
    if (status == KM_OK && holes > 0) {
        km_warn("%s: %zu ids have no piece (%zu pieces stand twice, of which the last counts); no text yields them",
                path, holes, doubled);
    }
    return status;
}

/* Adds a merge that is given as "left right" or as ["left", "right"]. */
static km_status read_merge(km_tokenizer *t, const km_json *item, const char *path) {
    const char *left = km_json_string(item), *right;
    size_t left_size;
    if (left != NULL) {
        right = strchr(left, ' ');
        left_size = right == NULL ? 0 : (size_t)(right - left);
        right = right == NULL ? NULL : right + 1;
    } else {
        left = km_json_string(km_json_first(item));
        right = km_json_string(km_json_next(km_json_first(item)));
        left_size = left == NULL ? 0 : strlen(left);
    }
    if (left == NULL || right == NULL || left_size == 0 || *right == '\0') {
        return km_fail(KM_FAILED, "%s: merge %zu is not a pair of pieces", path, t->merge_count + 1);
    }
    return km_tokenizer_merge(t, left, left_size, right, strlen(right), path);
}

/* Checks a member that must be absent, null, "" or 0. */
static km_status demand_empty(const km_json *model, const char *key, const char *path) {
    const km_json *value = km_json_get(model, key);
    const char *text = km_json_string(value);
    double number = 1;
    bool empty = absent(value) || (text != NULL && *text == '\0') ||
                 (km_json_number(&number, value) && number >= 0 && number <= 0);
    return empty ? KM_OK : km_fail(KM_FAILED, "%s: the BPE model has a %s, which is not supported", path, key);
}

static km_status read_bpe(km_tokenizer *t, const km_settings *settings, const km_json *model, const char *path) {
    static const char *const empty[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix"};
    static const char *const off[] = {"fuse_unk", "byte_fallback", "ignore_merges"};
    for (size_t i = 0; i < 3; i++) {
        KM_TRY(demand_empty(model, empty[i], path));
        KM_TRY(demand(model, off[i], false, path));
    }
    KM_TRY(km_tokenizer_read_vocab(t, settings, km_json_get(model, "vocab"), path));
    const km_json *merges = km_json_get(model, "merges");
    if (!km_json_is_array(merges)) {
        return km_fail(KM_FAILED, "%s: the BPE model has no list of merges", path);
    }
    for (const km_json *item = km_json_first(merges); item != NULL; item = km_json_next(item)) {
        KM_TRY(read_merge(t, item, path));
    }
    const char *unknown = km_json_string(km_json_get(model, "unk_token"));
    t->unknown = unknown == NULL ? -1 : km_tokenizer_id(t, unknown);
    return KM_OK;
}

static km_status read_wordpiece(km_tokenizer *t, const km_settings *settings, const km_json *model,
                                const char *path) {
    const char *prefix = km_json_string(km_json_get(model, "continuing_subword_prefix"));
    if (prefix != NULL && strcmp(prefix, "##") != 0) {
        return km_fail(KM_FAILED, "%s: continuing_subword_prefix is \"%.100s\", expected \"##\"", path, prefix);
    }
    double limit = KM_WORD_CHARS;
    (void)km_json_number(&limit, km_json_get(model, "max_input_chars_per_word"));
    if (limit < KM_WORD_CHARS || limit > KM_WORD_CHARS) {
        return km_fail(KM_FAILED, "%s: max_input_chars_per_word is %g, expected %d", path, limit, KM_WORD_CHARS);
    }
    return km_tokenizer_read_vocab(t, settings, km_json_get(model, "vocab"), path);
}

static km_status read_all(km_tokenizer **out, km_settings *settings, const km_json *json, const char *path) {
    const km_json *model = km_json_get(json, "model");
    bool merges = km_json_get(model, "merges") != NULL;
    const char *type = *type_of(model) != '\0' ? type_of(model)
                       : merges                ? "BPE"
                                               : "WordPiece"; /* old files have no type */
    bool wordpiece = strcmp(type, "WordPiece") == 0;
    if (!km_json_is_object(model) || (!wordpiece && strcmp(type, "BPE") != 0)) {
        return refuse(path, "model", model, "WordPiece or byte-level BPE");
    }
    KM_TRY(read_normalizer(settings, json, wordpiece, path));
    KM_TRY(read_pre_tokenizer(settings, json, wordpiece, path));
    KM_TRY(read_processor(settings, km_json_get(json, "post_processor"), path));
    KM_TRY(read_decoder(settings, json, wordpiece, path));
    KM_TRY(read_added(settings, json, path));
    const char *unknown = km_json_string(km_json_get(model, "unk_token"));
    if (unknown != NULL) {
        km_settings_role(settings, KM_ROLE_UNK, unknown);
    }
    if (out == NULL) {
        return KM_OK;
    }
    *out = km_tokenizer_new(wordpiece ? &km_family_wordpiece : &km_family_bpe);
    return wordpiece ? read_wordpiece(*out, settings, model, path) : read_bpe(*out, settings, model, path);
}

km_status km_tokenizer_json_read(km_tokenizer **out, km_settings *settings, const char *path) {
    km_json *json = NULL;
    KM_TRY(km_json_load(&json, path, JSON_BYTES));
    km_status status = read_all(out, settings, json, path);
    km_json_destroy(json);
    if (status != KM_OK && out != NULL) {
        km_tokenizer_destroy(*out);
        *out = NULL;
    }
    return status;
}
