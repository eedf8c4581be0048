/* tokenizer: what the two families of tokenizers share: pieces, special tokens and added tokens. Each family is a struct of
 * functions. */
#ifndef KM_TOKENIZER_TOKENIZER_H
#define KM_TOKENIZER_TOKENIZER_H

#include "added.h"
#include "kmask/text.h"
#include "kmask/tokenizer.h"
#include "settings.h"
#include "strings.h"

enum { KM_PIECES = 10 * 1000 * 1000 }; /* the largest vocabulary */

typedef struct km_wordpiece km_wordpiece;
typedef struct km_bpe km_bpe;

typedef struct km_family {
    const char *type; /* "wordpiece" */
    const char *const (
        *usual_names)[KM_ROLES]; /* sets of usual names of special tokens, the family's own set first */
    size_t usual_count;
    bool mask_lstrip;  /* the mask token takes the space before it unless files say otherwise */
    bool whole_ranges; /* the range of a token is that of its whole word */
    /* Makes what encoding needs out of the pieces, the added tokens and the settings. */
    km_status (*prepare)(km_tokenizer *tokenizer, const km_settings *settings, const char *origin);
    void (*destroy)(km_tokenizer *tokenizer);
    /* Append the ids of text[from, end), which contains no added token; the second function is for text that is normalized
     * already. Both return the number of invalid UTF-8 sequences. */
    uint64_t (*encode)(const km_tokenizer *tokenizer, const char *text, const char *from, const char *end,
                       km_ids *out);
    uint64_t (*encode_normalized)(const km_tokenizer *tokenizer, const char *text, const char *from,
                                  const char *end, km_ids *out);
    /* Appends text[from, to), normalized. NULL where normalization changes nothing. */
    uint64_t (*normalize)(const km_tokenizer *tokenizer, km_normalized *out, const char *text, size_t from,
                          size_t to);
    /* Writes the ids of one pre-token, of a tokenizer with steps, and how many of its bytes each stands for. Returns their number.
     * Both arrays have room for `count` times km_tokenizer.ids_a_byte and one more. */
    size_t (*encode_pretoken)(const km_tokenizer *tokenizer, const char *bytes, size_t count, int32_t *ids,
                              uint32_t *sizes);
    void (*decode)(const km_tokenizer *tokenizer, const int32_t *ids, size_t count, km_buffer *out);
    /* Write and read the family's members of km_tokenizer_print's object. With `ids_only`, what only decoding needs is left
     * out. */
    void (*print)(const km_tokenizer *tokenizer, km_json *json, bool ids_only);
    km_status (*parse)(km_tokenizer *tokenizer, km_settings *settings, const km_json *json, const char *origin);
    /* Writes the classic files with km_save_text. */
    km_status (*save)(const km_tokenizer *tokenizer, const char *folder);
    /* Prints the members "normalizer" to "model" of a tokenizer.json. */
    void (*print_json)(const km_tokenizer *tokenizer, km_buffer *out);
} km_family;

extern const km_family km_family_wordpiece, km_family_bpe;

/* What the model of a tokenizer with steps does otherwise than BERT's or GPT-2's. */
typedef struct km_model_options {
    char *prefix, *suffix; /* of pieces inside a word ("##"), and of those at its end ("</w>"); "" for none */
    bool fuse_unknown;     /* BPE: unknown characters side by side are one token */
    bool byte_fallback;    /* BPE: an unknown character is the tokens of its bytes, such as <0x0A> */
    bool ignore_merges;    /* BPE: a pre-token that is a piece is that piece, whether merging makes it or not */
    int max_chars;         /* WordPiece: a longer word is unknown */
} km_model_options;

/* The steps of a tokenizer that is neither BERT's nor GPT-2's own, for which there are faster ways. */
typedef struct km_pipeline {
    km_step_list *normalizing, *splitting, *decoding;
    km_model_options model;
    bool splits; /* blanks part pre-tokens */
} km_pipeline;

/* A merge of two pieces into a third one. Merges that were learned earlier are applied first. */
typedef struct km_merge {
    int32_t left, right, result;
} km_merge;

struct km_tokenizer {
    const km_family *family;
    km_strings pieces;  /* by id */
    int32_t model_size; /* ids below it are the model's pieces, the others added tokens that follow them */
    km_specials specials;
    km_added_token *added; /* in ascending order of ids */
    size_t added_count;
    km_added_set added_raw,
        added_normalized;    /* those that are looked for in the text as it is, and in normalized text */
    km_wordpiece *wordpiece; /* of the WordPiece family, else NULL */
    km_merge *merges;        /* BPE: as they were read; of a pair that is there twice the last counts */
    size_t merge_count;
    int32_t unknown;       /* the id of what has no piece: of a byte in byte-level BPE. -1: it is left out */
    km_pipeline *pipeline; /* NULL: the family's own */
    size_t ids_a_byte;     /* of the pipeline: most ids that one byte of a pre-token can become */
    km_bpe *bpe;           /* of the BPE family, else NULL */
};

/* ---- Making one ------------------------------------------------------------------------------------------------- */

km_tokenizer *km_tokenizer_new(const km_family *family);
/* Adds the next piece. `origin` begins error messages, here and below. */
km_status km_tokenizer_add(km_tokenizer *tokenizer, const char *piece, size_t size,
                           const char *origin) KM_NODISCARD;
/* Adds a piece that no text yields, for an id that has none: "[no piece 12]", whose blanks no word has. */
km_status km_tokenizer_add_hole(km_tokenizer *tokenizer, const char *origin) KM_NODISCARD;
/* Adds the merge of two pieces. Both, and the piece that they make, must be in the vocabulary. */
km_status km_tokenizer_merge(km_tokenizer *tokenizer, const char *left, size_t left_size, const char *right,
                             size_t right_size, const char *origin) KM_NODISCARD;
/* Makes *tokenizer ready for use once its pieces and merges are there. On errors it is destroyed and *tokenizer becomes NULL. */
km_status km_tokenizer_finish(km_tokenizer **tokenizer, const km_settings *settings,
                              const char *origin) KM_NODISCARD;

/* Whether a normalizer changes text before added tokens are looked for in it, and what it makes of text[from, to). */
bool km_tokenizer_normalizes(const km_tokenizer *tokenizer);
uint64_t km_tokenizer_normalize(const km_tokenizer *tokenizer, km_normalized *out, const char *text, size_t from,
                                size_t to);

/* Adds the pieces of the member "vocab" of km_tokenizer_print's object. */
km_status km_tokenizer_read_pieces(km_tokenizer *tokenizer, const km_json *json, const char *origin) KM_NODISCARD;
/* Adds the pieces of {"piece": id, ...}. An id without a piece is a hole, unless one of the settings' added tokens has it; of a piece
 * with two ids the last counts. Both are told in a warning. */
km_status km_tokenizer_read_vocab(km_tokenizer *tokenizer, const km_settings *settings, const km_json *vocab,
                                  const char *path) KM_NODISCARD;

/* ---- tokenizer.json ---------------------------------------------------------------------------------------------- */

/* Reads a tokenizer.json: its settings into `settings`, its pieces, merges and steps into a new tokenizer that is not finished yet. */
km_status km_tokenizer_json_read(km_tokenizer **out, km_settings *settings, const char *path) KM_NODISCARD;
/* Appends the text of the tokenizer's tokenizer.json. */
void km_tokenizer_json_print(const km_tokenizer *tokenizer, km_buffer *out);

/* ---- Steps ------------------------------------------------------------------------------------------------------- */

/* Appends the ids of text[from, to) by the tokenizer's pipeline; `normalized` text is only split. `begins` says that the text begins
 * there. Returns the number of invalid UTF-8 sequences. */
uint64_t km_pipeline_encode(const km_tokenizer *tokenizer, const char *text, size_t from, size_t to,
                            bool normalized, bool begins, km_ids *out);
void km_pipeline_decode(const km_tokenizer *tokenizer, const int32_t *ids, size_t count, km_buffer *out);
/* Reads the members "normalizer", "pre_tokenizer", "decoder" and "model", of a tokenizer.json or of what km_pipeline_print wrote. */
km_status km_pipeline_read(km_pipeline **out, const km_json *json, bool wordpiece, const char *path) KM_NODISCARD;
/* Sets these members, but for those that decide no ids with `ids_only`. */
void km_pipeline_print(const km_tokenizer *tokenizer, km_json *json, bool ids_only);
void km_pipeline_destroy(km_pipeline *pipeline);

/* ---- Writing files ------------------------------------------------------------------------------------------------ */

/* Appends a text as a JSON string in quotes. */
void km_quote(km_buffer *out, const char *text);
/* Appends the model's pieces as {"piece": id, ...}. */
void km_quote_vocab(km_buffer *out, const km_tokenizer *tokenizer);
/* Writes folder/name.new. km_tokenizer_save renames such files once all of them are written. */
km_status km_save_text(const char *folder, const char *name, const char *text, size_t count) KM_NODISCARD;
km_status km_save_json(const char *folder, const char *name, km_json *json) KM_NODISCARD; /* destroys json */
/* The names of the special tokens under the keys of special_tokens_map.json. The caller destroys. */
km_json *km_specials_map(const km_tokenizer *tokenizer);
/* The added token with this id; NULL if the id is not one of an added token. */
const km_added_token *km_added_token_of(const km_tokenizer *tokenizer, int32_t id);

/* ---- Ids ---------------------------------------------------------------------------------------------------------- */

/* Makes room for `more` ids, which km_ids_push needs. */
void km_ids_reserve(km_ids *ids, size_t more);
static inline void km_ids_push(km_ids *ids, int32_t id, bool starts_word) {
    ids->ids[ids->count] = id;
    ids->starts_word[ids->count++] = starts_word;
}
/* Sets the range of all ids from number `first` on to text[begin, end). Does nothing where ranges are not wanted. */
void km_ids_range(km_ids *ids, size_t first, size_t begin, size_t end);

#endif
