/* Reads tokenizer.json, the file in which HuggingFace's tokenizers package keeps a whole tokenizer. BERT's WordPiece and GPT-2's
 * byte-level BPE are recognized and done in their own, faster ways; other components make a pipeline of steps, and one that is not
 * supported is an error that names it. */
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

/* Counts the objects that are no Sequence, also those inside of Sequences, and sets *last to the last one. */
static int count_steps(const km_json **last, const km_json *object, const char *list, int depth) {
    const km_json *members = is_type(object, "Sequence") ? km_json_get(object, list) : object;
    if (absent(object) || depth > 20) {
        return absent(object) ? 0 : 2;
    }
    if (!km_json_is_array(members)) {
        *last = object;
        return 1;
    }
    int count = 0;
    for (const km_json *item = km_json_first(members); item != NULL && count < 2; item = km_json_next(item)) {
        count += count_steps(last, item, list, depth + 1);
    }
    return count;
}

/* The only step of a component; NULL where it has none, and the component itself where it has several. */
static const km_json *unwrap(const km_json *object, const char *list) {
    const km_json *last = NULL;
    const int count = count_steps(&last, object, list, 0);
    return count == 0 ? NULL : count == 1 ? last : object;
}

/* Whether the flag is there and has this value. */
static bool is_flag(const km_json *object, const char *key, bool value) {
    bool found = !value;
    return km_json_boolean(&found, km_json_get(object, key)) && found == value;
}

/* Whether the text is absent, or this one. */
static bool is_usual(const km_json *object, const char *key, const char *usual) {
    const char *text = km_json_string(km_json_get(object, key));
    return text == NULL || strcmp(text, usual) == 0;
}

/* ---- The components around the model -------------------------------------------------------------------- */

static bool is_bert(const km_json *json, const km_json *normalizer, const km_json *splitter,
                    const km_json *decoder) {
    const km_json *model = km_json_get(json, "model");
    const double most = km_json_number_or(model, "max_input_chars_per_word", KM_WORD_CHARS);
    return is_type(normalizer, "BertNormalizer") && !is_flag(normalizer, "clean_text", false) &&
           is_type(splitter, "BertPreTokenizer") && is_usual(model, "continuing_subword_prefix", "##") &&
           most >= KM_WORD_CHARS && most <= KM_WORD_CHARS &&
           (absent(decoder) || (is_type(decoder, "WordPiece") && is_usual(decoder, "prefix", "##")));
}

static bool is_gpt2(const km_json *json, const km_json *normalizer, const km_json *splitter,
                    const km_json *decoder) {
    const km_json *model = km_json_get(json, "model");
    const double dropout = km_json_number_or(model, "dropout", 0);
    return absent(normalizer) && is_type(splitter, "ByteLevel") && !is_flag(splitter, "use_regex", false) &&
           is_usual(model, "continuing_subword_prefix", "") && is_usual(model, "end_of_word_suffix", "") &&
           !is_flag(model, "fuse_unk", true) && !is_flag(model, "byte_fallback", true) &&
           !is_flag(model, "ignore_merges", true) && dropout >= 0 && dropout <= 0 &&
           (absent(decoder) || is_type(decoder, "ByteLevel"));
}

/* Says where tokenizer.json has a flag otherwise than what counts, or than tokenizer_config.json, which is not heeded. */
static void say_flag(const char *path, const char *key, bool own, int counts, int ignored) {
    if (counts != KM_UNSET && counts != (int)own) {
        km_warn("%s: %s is %s here, but %s by tokenizer_config.json or the default of its tokenizer_class, which "
                "counts, as for "
                "transformers",
                path, key, own ? "true" : "false", counts ? "true" : "false");
    } else if (ignored != KM_UNSET && ignored != (int)own) {
        km_warn("%s: %s is %s here, which counts, as for transformers; tokenizer_config.json has %s", path, key,
                own ? "true" : "false", ignored ? "true" : "false");
    }
}

static km_status read_normalizer(km_settings *settings, const km_json *normalizer, const char *path) {
    int lowercase = KM_UNSET, strip = KM_UNSET, chinese = KM_UNSET;
    KM_TRY(km_settings_flag(&lowercase, normalizer, "lowercase", path));
    KM_TRY(km_settings_flag(&strip, normalizer, "strip_accents", path));
    KM_TRY(km_settings_flag(&chinese, normalizer, "handle_chinese_chars", path));
    say_flag(path, "lowercase", lowercase != 0, settings->lowercase, settings->ignored_lowercase);
    if (settings->lowercase == (lowercase != 0) && strip != KM_UNSET) {
        say_flag(path, "strip_accents", strip == 1, settings->strip_accents, KM_UNSET);
    }
    bool same_case = settings->lowercase == KM_UNSET || settings->lowercase == (lowercase != 0);
    settings->lowercase = settings->lowercase == KM_UNSET ? lowercase : settings->lowercase;
    if (settings->strip_accents == KM_UNSET && same_case) {
        settings->strip_accents = strip;
    }
    settings->chinese = settings->chinese == KM_UNSET ? chinese : settings->chinese;
    return KM_OK;
}

static km_status read_prefix_space(km_settings *settings, const km_json *splitter, const char *path) {
    int prefix_space = KM_UNSET;
    KM_TRY(km_settings_flag(&prefix_space, splitter, "add_prefix_space", path));
    prefix_space = prefix_space == KM_UNSET ? 1 : prefix_space; /* the package's default */
    say_flag(path, "add_prefix_space", prefix_space == 1, settings->prefix_space, settings->ignored_prefix);
    settings->prefix_space = settings->prefix_space == KM_UNSET ? prefix_space : settings->prefix_space;
    return KM_OK;
}

/* Reads the normalizer, the pre-tokenizer and the decoder: as settings where they are those of BERT or GPT-2, or else as a pipeline. */
static km_status read_steps(km_pipeline **pipeline, km_settings *settings, const km_json *json, bool wordpiece,
                            const char *path) {
    const km_json *normalizer = unwrap(km_json_get(json, "normalizer"), "normalizers");
    const km_json *splitter = unwrap(km_json_get(json, "pre_tokenizer"), "pretokenizers");
    const km_json *decoder = unwrap(km_json_get(json, "decoder"), "decoders");
    if (wordpiece && is_bert(json, normalizer, splitter, decoder)) {
        KM_TRY(km_settings_flag(&settings->piece_clean_up, decoder, "cleanup", path));
        return read_normalizer(settings, normalizer, path);
    }
    if (!wordpiece && is_gpt2(json, normalizer, splitter, decoder)) {
        return read_prefix_space(settings, splitter, path);
    }
    return km_pipeline_read(pipeline, json, wordpiece, path);
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

static km_status read_bpe(km_tokenizer *t, const km_settings *settings, const km_json *model, const char *path) {
    KM_TRY(km_tokenizer_read_vocab(t, settings, km_json_get(model, "vocab"), path));
    const km_json *merges = km_json_get(model, "merges");
    if (!km_json_is_array(merges)) {
        return km_fail(KM_FAILED, "%s: the BPE model has no list of merges", path);
    }
    for (const km_json *item = km_json_first(merges); item != NULL; item = km_json_next(item)) {
        KM_TRY(read_merge(t, item, path));
    }
    return KM_OK;
}

/* Finds the model's unknown token. One that is none of the model's own pieces would be an error at the first unknown character. */
static km_status find_unknown(km_tokenizer *t, const km_json *model, const char *path) {
    const char *name = km_json_string(km_json_get(model, "unk_token"));
    t->unknown = name == NULL ? -1 : km_tokenizer_id(t, name);
    if (name != NULL && t->unknown < 0 && t->pipeline != NULL) {
        return km_fail(KM_FAILED, "%s: the model's unk_token \"%.60s\" is not one of its pieces", path, name);
    }
    return KM_OK;
}

static km_status read_all(km_tokenizer **out, km_settings *settings, const km_json *json, const char *path) {
    const km_json *model = km_json_get(json, "model");
    bool merges = km_json_get(model, "merges") != NULL;
    const char *type = *type_of(model) != '\0' ? type_of(model)
                       : merges                ? "BPE"
                                               : "WordPiece"; /* old files have no type */
    bool wordpiece = strcmp(type, "WordPiece") == 0;
    if (!km_json_is_object(model) || (!wordpiece && strcmp(type, "BPE") != 0)) {
        return refuse(path, "model", model, "WordPiece or BPE");
    }
    *out = km_tokenizer_new(wordpiece ? &km_family_wordpiece : &km_family_bpe);
    KM_TRY(read_steps(&(*out)->pipeline, settings, json, wordpiece, path));
    KM_TRY(read_processor(settings, km_json_get(json, "post_processor"), path));
    KM_TRY(read_added(settings, json, path));
    const char *unknown = km_json_string(km_json_get(model, "unk_token"));
    if (unknown != NULL) {
        km_settings_role(settings, KM_ROLE_UNK, unknown);
    }
    if (wordpiece) {
        KM_TRY(km_tokenizer_read_vocab(*out, settings, km_json_get(model, "vocab"), path));
    } else {
        KM_TRY(read_bpe(*out, settings, model, path));
    }
    return find_unknown(*out, model, path);
}

km_status km_tokenizer_json_read(km_tokenizer **out, km_settings *settings, const char *path) {
    km_json *json = NULL;
    settings->file = "tokenizer.json";
    KM_TRY(km_json_load(&json, path, JSON_BYTES));
    km_status status = read_all(out, settings, json, path);
    km_json_destroy(json);
    if (status != KM_OK) {
        km_tokenizer_destroy(*out);
        *out = NULL;
    }
    return status;
}
