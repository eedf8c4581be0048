/* Writes a tokenizer folder: the classic files of the tokenizer's family, tokenizer.json, and the files of settings. All of
 * them replace older ones together, or none does. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bpe.h"
#include "wordpiece.h"

/* ---- JSON as text, without a tree in memory, for objects with a member for each piece ------------------- */

void km_quote(km_buffer *out, const char *text) {
    km_buffer_add(out, "\"", 1);
    for (const char *at = text; *at != '\0'; at++) {
        if (*at == '"' || *at == '\\') {
            km_buffer_add(out, "\\", 1);
        }
        if ((uint8_t)*at < 0x20) {
            km_buffer_print(out, "\\u%04x", (unsigned)*at);
        } else {
            km_buffer_add(out, at, 1);
        }
    }
    km_buffer_add(out, "\"", 1);
}

void km_quote_vocab(km_buffer *out, const km_tokenizer *tokenizer) {
    for (int32_t id = 0; id < tokenizer->model_size; id++) {
        km_buffer_print(out, id == 0 ? "{" : ",");
        km_quote(out, km_tokenizer_piece(tokenizer, id));
        km_buffer_print(out, ":%d", id);
    }
    km_buffer_print(out, "}");
}

static const char *truth(bool value) {
    return value ? "true" : "false";
}

/* The members of an added token's object, from "content" on, and its closing brace. */
static void quote_added(km_buffer *out, const km_added_token *token) {
    km_buffer_print(out, "\"content\":");
    km_quote(out, token->content);
    km_buffer_print(out, ",\"single_word\":%s,\"lstrip\":%s,\"rstrip\":%s,\"normalized\":%s,\"special\":%s}",
                    truth(token->single_word == 1), truth(token->lstrip == 1), truth(token->rstrip == 1),
                    truth(token->normalized == 1), truth(token->special));
}

void km_tokenizer_json_print(const km_tokenizer *tokenizer, km_buffer *out) {
    km_buffer_print(out, "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[");
    for (size_t i = 0; i < tokenizer->added_count; i++) {
        km_buffer_print(out, "%s{\"id\":%d,", i > 0 ? "," : "", tokenizer->added[i].id);
        quote_added(out, &tokenizer->added[i]);
    }
    km_buffer_print(out, "],");
    tokenizer->family->print_json(tokenizer, out);
    km_buffer_print(out, "}\n");
}

/* ---- The two families ----------------------------------------------------------------------------------- */

static void quote_token(km_buffer *out, const km_tokenizer *t, int32_t id) {
    km_quote(out, km_tokenizer_piece(t, id));
}

/* [CLS] text [SEP] pair [SEP] */
static void quote_template(km_buffer *out, const km_tokenizer *tokenizer) {
    const km_specials s = tokenizer->specials;
    km_buffer cls = {0}, sep = {0};
    quote_token(&cls, tokenizer, s.cls);
    quote_token(&sep, tokenizer, s.sep);
    const char *text =
        "{\"Sequence\":{\"id\":\"%s\",\"type_id\":%d}},{\"SpecialToken\":{\"id\":%s,\"type_id\":%d}}";
    km_buffer first = {0};
    km_buffer_print(&first, "{\"SpecialToken\":{\"id\":%s,\"type_id\":0}},", cls.data);
    km_buffer_print(&first, text, "A", 0, sep.data, 0);
    km_buffer_print(out, "{\"type\":\"TemplateProcessing\",\"single\":[%s],\"pair\":[%s,", first.data, first.data);
    km_buffer_print(out, text, "B", 1, sep.data, 1);
    km_buffer_print(out,
                    "],\"special_tokens\":{%s:{\"id\":%s,\"ids\":[%d],\"tokens\":[%s]},%s:{\"id\":%s,\"ids\":[%d],"
                    "\"tokens\":[%s]}}}",
                    cls.data, cls.data, s.cls, cls.data, sep.data, sep.data, s.sep, sep.data);
    km_buffer_free(&first);
    km_buffer_free(&cls);
    km_buffer_free(&sep);
}

/* <s> text </s></s> pair </s> */
static void quote_roberta(km_buffer *out, const km_tokenizer *tokenizer) {
    const km_specials s = tokenizer->specials;
    km_buffer_print(out, "{\"type\":\"RobertaProcessing\",\"sep\":[");
    quote_token(out, tokenizer, s.sep);
    km_buffer_print(out, ",%d],\"cls\":[", s.sep);
    quote_token(out, tokenizer, s.cls);
    km_buffer_print(out, ",%d],\"trim_offsets\":true,\"add_prefix_space\":%s}", s.cls,
                    truth(tokenizer->bpe->prefix_space));
}

static void quote_processor(km_buffer *out, const km_tokenizer *tokenizer) {
    km_buffer_print(out, "\"post_processor\":");
    if (tokenizer->specials.cls < 0 || tokenizer->specials.sep < 0) {
        km_buffer_print(out, "null");
    } else if (tokenizer->bpe == NULL) {
        quote_template(out, tokenizer);
    } else {
        quote_roberta(out, tokenizer);
    }
    km_buffer_print(out, ",");
}

/* One component of a pipeline: null, the only step, or a Sequence. */
static void quote_steps(km_buffer *out, const char *name, const char *list, const km_step_list *steps) {
    km_json *all = km_steps_print(steps);
    char *text = km_steps_count(steps) == 1 ? km_json_print(km_json_first(all), false) : km_json_print(all, false);
    if (km_steps_count(steps) == 0) {
        km_buffer_print(out, "\"%s\":null,", name);
    } else if (km_steps_count(steps) == 1) {
        km_buffer_print(out, "\"%s\":%s,", name, text);
    } else {
        km_buffer_print(out, "\"%s\":{\"type\":\"Sequence\",\"%s\":%s},", name, list, text);
    }
    km_json_destroy(all);
    free(text);
}

/* The components before the model: those of the family (`own`, with its decoder behind the processor), or the pipeline's. */
static void quote_components(km_buffer *out, const km_tokenizer *t, const char *own, const char *decoder) {
    if (t->pipeline == NULL) {
        km_buffer_print(out, "%s", own);
        quote_processor(out, t);
        km_buffer_print(out, "%s", decoder);
        return;
    }
    quote_steps(out, "normalizer", "normalizers", t->pipeline->normalizing);
    quote_steps(out, "pre_tokenizer", "pretokenizers", t->pipeline->splitting);
    quote_processor(out, t);
    quote_steps(out, "decoder", "decoders", t->pipeline->decoding);
}

static void quote_unknown(km_buffer *out, const km_tokenizer *t, int32_t id) {
    km_buffer_print(out, "\"unk_token\":");
    if (id >= 0) {
        quote_token(out, t, id);
    } else {
        km_buffer_print(out, "null");
    }
}

void km_wordpiece_print_json(const km_tokenizer *tokenizer, km_buffer *out) {
    const km_wordpiece *w = tokenizer->wordpiece;
    const km_pipeline *p = tokenizer->pipeline;
    char *own =
        km_format("\"normalizer\":{\"type\":\"BertNormalizer\",\"clean_text\":true,\"handle_chinese_chars\":%s,"
                  "\"strip_accents\":%s,\"lowercase\":%s},\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},",
                  truth(w->normalizer.chinese), truth(w->normalizer.strip_accents), truth(w->normalizer.lowercase));
    char *decoder = km_format("\"decoder\":{\"type\":\"WordPiece\",\"prefix\":\"##\",\"cleanup\":%s},",
                              truth(w->piece_clean_up));
    quote_components(out, tokenizer, own, decoder);
    free(own);
    free(decoder);
    km_buffer_print(out, "\"model\":{\"type\":\"WordPiece\",");
    quote_unknown(out, tokenizer, p == NULL ? tokenizer->specials.unk : tokenizer->unknown);
    km_buffer_print(out, ",\"continuing_subword_prefix\":");
    km_quote(out, w->prefix);
    km_buffer_print(out,
                    ",\"max_input_chars_per_word\":%d,\"vocab\":", p == NULL ? KM_WORD_CHARS : p->model.max_chars);
    km_quote_vocab(out, tokenizer);
    km_buffer_print(out, "}");
}

void km_bpe_print_json(const km_tokenizer *tokenizer, km_buffer *out) {
    static const km_model_options none = {.prefix = "", .suffix = ""};
    const km_model_options *o = tokenizer->pipeline == NULL ? &none : &tokenizer->pipeline->model;
    char *own = km_format("\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":%s,"
                          "\"trim_offsets\":true,\"use_regex\":true},",
                          truth(tokenizer->bpe->prefix_space));
    quote_components(out, tokenizer, own,
                     "\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":true,"
                     "\"use_regex\":true},");
    free(own);
    km_buffer_print(out, "\"model\":{\"type\":\"BPE\",\"dropout\":null,");
    quote_unknown(out, tokenizer, tokenizer->unknown);
    km_buffer_print(out, ",\"continuing_subword_prefix\":");
    km_quote(out, o->prefix);
    km_buffer_print(out, ",\"end_of_word_suffix\":");
    km_quote(out, o->suffix);
    km_buffer_print(out,
                    ",\"fuse_unk\":%s,\"byte_fallback\":%s,\"ignore_merges\":%s,\"vocab\":", truth(o->fuse_unknown),
                    truth(o->byte_fallback), truth(o->ignore_merges));
    km_quote_vocab(out, tokenizer);
    km_buffer_print(out, ",\"merges\":[");
    for (size_t i = 0; i < tokenizer->merge_count;
         i++) { /* as pairs and not as "left right", since a piece may contain a space */
        km_buffer_print(out, i > 0 ? ",[" : "[");
        quote_token(out, tokenizer, tokenizer->merges[i].left);
        km_buffer_print(out, ",");
        quote_token(out, tokenizer, tokenizer->merges[i].right);
        km_buffer_print(out, "]");
    }
    km_buffer_print(out, "]}");
}

/* ---- Classic files -------------------------------------------------------------------------------------- */

/* Files get the name <name>.new first, so that a tokenizer that is in the folder stays whole until the new one is complete. */
km_status km_save_text(const char *folder, const char *name, const char *text, size_t count) {
    char *path = km_format("%s/%s.new", folder, name);
    km_status status = km_file_replace(path, text, count);
    free(path);
    return status;
}

km_status km_save_json(const char *folder, const char *name, km_json *json) {
    char *text = km_json_print(json, true);
    km_buffer line = {0};
    km_buffer_print(&line, "%s\n", text);
    km_status status = km_save_text(folder, name, line.data, line.size);
    km_buffer_free(&line);
    free(text);
    km_json_destroy(json);
    return status;
}

km_status km_wordpiece_save(const km_tokenizer *tokenizer, const char *folder) {
    km_buffer lines = {0};
    for (int32_t id = 0; id < tokenizer->model_size; id++) {
        km_buffer_print(&lines, "%s\n", km_tokenizer_piece(tokenizer, id));
    }
    km_status status = km_save_text(folder, "vocab.txt", lines.data, lines.size);
    km_buffer_free(&lines);
    return status;
}

km_status km_bpe_save(const km_tokenizer *tokenizer, const char *folder) {
    km_buffer text = {0};
    km_quote_vocab(&text, tokenizer);
    km_buffer_print(&text, "\n");
    km_status status = km_save_text(folder, "vocab.json", text.data, text.size);
    km_buffer_free(&text);
    km_buffer_print(&text, "#version: 0.2\n");
    for (size_t i = 0; i < tokenizer->merge_count; i++) {
        km_buffer_print(&text, "%s %s\n", km_tokenizer_piece(tokenizer, tokenizer->merges[i].left),
                        km_tokenizer_piece(tokenizer, tokenizer->merges[i].right));
    }
    if (status == KM_OK) {
        status = km_save_text(folder, "merges.txt", text.data, text.size);
    }
    km_buffer_free(&text);
    return status;
}

km_json *km_specials_map(const km_tokenizer *tokenizer) {
    const km_specials s = tokenizer->specials;
    bool bpe = tokenizer->family == &km_family_bpe;
    const struct {
        const char *key;
        int32_t id;
    } roles[] = {{"bos_token", bpe ? s.cls : -1},
                 {"cls_token", s.cls},
                 {"eos_token", bpe ? s.sep : -1},
                 {"mask_token", s.mask},
                 {"pad_token", s.pad},
                 {"sep_token", s.sep},
                 {"unk_token", s.unk}};
    km_json *json = km_json_object();
    for (size_t i = 0; i < KM_COUNT(roles); i++) {
        if (roles[i].id >= 0) {
            km_json_set_string(json, roles[i].key, km_tokenizer_piece(tokenizer, roles[i].id));
        }
    }
    return json;
}

/* tokenizer_config.json's "added_tokens_decoder". */
static km_json *added_decoder(const km_tokenizer *t) {
    km_json *json = km_json_object();
    for (size_t i = 0; i < t->added_count; i++) {
        char key[16];
        snprintf(key, sizeof key, "%d", t->added[i].id);
        km_json *token = km_json_object();
        km_json_set_string(token, "content", t->added[i].content);
        km_json_set_boolean(token, "lstrip", t->added[i].lstrip == 1);
        km_json_set_boolean(token, "normalized", t->added[i].normalized == 1);
        km_json_set_boolean(token, "rstrip", t->added[i].rstrip == 1);
        km_json_set_boolean(token, "single_word", t->added[i].single_word == 1);
        km_json_set_boolean(token, "special", t->added[i].special);
        km_json_set(json, key, token);
    }
    return json;
}

static km_status save_config(const km_tokenizer *t, const char *folder) {
    km_json *config = km_specials_map(t);
    km_json_set(config, "added_tokens_decoder", added_decoder(t));
    if (t->pipeline != NULL) { /* the class that takes tokenizer.json as it is */
        km_json_set_string(config, "tokenizer_class", "PreTrainedTokenizerFast");
        km_json_set_boolean(config, "clean_up_tokenization_spaces", false);
    } else if (t->family == &km_family_wordpiece) {
        const km_wordpiece *w = t->wordpiece;
        km_json_set_boolean(config, "clean_up_tokenization_spaces", w->clean_up);
        km_json_set_boolean(config, "do_lower_case", w->normalizer.lowercase);
        km_json_set_boolean(config, "strip_accents", w->normalizer.strip_accents);
        km_json_set_boolean(config, "tokenize_chinese_chars", w->normalizer.chinese);
        km_json_set_string(config, "tokenizer_class", "BertTokenizer");
    } else {
        bool roberta = t->specials.cls >= 0 && t->specials.mask >= 0;
        km_json_set_boolean(config, "add_prefix_space", t->bpe->prefix_space);
        km_json_set_string(config, "tokenizer_class", roberta ? "RobertaTokenizer" : "GPT2Tokenizer");
    }
    return km_save_json(folder, "tokenizer_config.json", config);
}

static km_status save_all(const km_tokenizer *tokenizer, const char *folder) {
    KM_TRY(save_config(tokenizer, folder));
    KM_TRY(km_save_json(folder, "special_tokens_map.json", km_specials_map(tokenizer)));
    km_buffer whole = {0};
    km_tokenizer_json_print(tokenizer, &whole);
    km_status status = km_save_text(folder, "tokenizer.json", whole.data, whole.size);
    km_buffer_free(&whole);
    /* Classic files alone would be read as BERT's or GPT-2's, so a pipeline has none. */
    return status == KM_OK && tokenizer->pipeline == NULL ? tokenizer->family->save(tokenizer, folder) : status;
}

/* ---- All or nothing ------------------------------------------------------------------------------------- */

/* All files that tokenizers have, in the order in which the new ones are renamed. The vocabulary comes after the files that
 * describe it: without it the folder is no tokenizer yet. */
static const char *const NAMES[] = {"tokenizer_config.json",
                                    "special_tokens_map.json",
                                    "tokenizer.json",
                                    "merges.txt",
                                    "vocab.json",
                                    "vocab.txt",
                                    "encoder.json",
                                    "vocab.bpe",
                                    "added_tokens.json"};

/* If all files were written, renames them and removes other files that an older tokenizer left; after an error, removes the new
 * files. */
static km_status settle(const char *folder, km_status status) {
    for (size_t i = 0; i < KM_COUNT(NAMES); i++) {
        char *from = km_format("%s/%s.new", folder, NAMES[i]), *to = km_format("%s/%s", folder, NAMES[i]);
        if (status == KM_OK && km_file_exists(from)) {
            status = km_out_commit(from, to);
        } else if (status == KM_OK) {
            unlink(to);
        }
        if (status != KM_OK) {
            unlink(from);
        }
        free(from);
        free(to);
    }
    return status;
}

km_status km_tokenizer_save(const km_tokenizer *tokenizer, const char *folder) {
    KM_TRY(km_make_folder(folder));
    for (size_t i = 0; i < KM_COUNT(NAMES); i++) { /* files that a killed process has left */
        char *path = km_format("%s/%s.new", folder, NAMES[i]);
        unlink(path);
        free(path);
    }
    return settle(folder, save_all(tokenizer, folder));
}
