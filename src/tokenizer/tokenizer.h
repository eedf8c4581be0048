/* What the two families of tokenizers share: pieces, special and added tokens; each family is a struct of functions. */
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
    const char *type;                     /* "wordpiece" */
    const char *const (*usual)[KM_ROLES]; /* sets of usual names of special tokens, the family's own first */
    size_t usual_count;
    bool mask_lstrip; /* the mask takes the space before it unless files say otherwise */
    /* What encoding needs, from pieces, added tokens and settings. */
    km_status (*prepare)(km_tokenizer *tokenizer, const km_settings *settings, const char *origin);
    void (*destroy)(km_tokenizer *tokenizer);
    /* Appends the ids of text[from, end), where no added token is; the number of invalid sequences. The second is for text
     * that was normalized before. */
    uint64_t (*encode)(const km_tokenizer *tokenizer, const char *text, const char *from, const char *end,
                       km_ids *out);
    uint64_t (*encode_normalized)(const km_tokenizer *tokenizer, const char *text, const char *from,
                                  const char *end, km_ids *out);
    /* Appends text[from, to), normalized; NULL where that changes nothing. */
    uint64_t (*normalize)(const km_tokenizer *tokenizer, km_normalized *out, const char *text, size_t from,
                          size_t to);
    void (*decode)(const km_tokenizer *tokenizer, const int32_t *ids, size_t count, km_buffer *out);
    /* To and from the members of km_tokenizer_print's object; `ids_only`: without what only decoding needs. */
    void (*print)(const km_tokenizer *tokenizer, km_json *json, bool ids_only);
    km_status (*parse)(km_tokenizer *tokenizer, km_settings *settings, const km_json *json, const char *origin);
    /* The classic files, each given to `put`. */
    km_status (*save)(const km_tokenizer *tokenizer, const char *folder);
    /* The members "normalizer" to "model" of a tokenizer.json, as text. */
    void (*print_json)(const km_tokenizer *tokenizer, km_buffer *out);
} km_family;

extern const km_family km_family_wordpiece, km_family_bpe;

/* A merge of two pieces into a third; the earlier, the sooner. */
typedef struct km_merge {
    int32_t left, right, result;
} km_merge;

struct km_tokenizer {
    const km_family *family;
    km_strings pieces;  /* by id */
    int32_t model_size; /* pieces before it are the model's, those from it on were added */
    km_specials specials;
    km_added *added; /* by id */
    size_t added_count;
    km_added_set added_raw, added_normalized; /* the same, as they are looked for */
    km_wordpiece *wordpiece;
    km_merge *merges; /* BPE, as read; of a pair that stands twice the last counts */
    size_t merge_count;
    int32_t unknown; /* BPE: what a byte without a piece becomes; -1: nothing */
    km_bpe *bpe;
};

km_tokenizer *km_tokenizer_new(const km_family *family);
/* Adds the next piece; `origin` heads messages. */
km_status km_tokenizer_add(km_tokenizer *tokenizer, const char *piece, size_t size,
                           const char *origin) KM_NODISCARD;
/* Adds the merge of two pieces, of which all must be there. */
km_status km_tokenizer_merge(km_tokenizer *tokenizer, const char *left, size_t left_size, const char *right,
                             size_t right_size, const char *origin) KM_NODISCARD;
/* Makes *tokenizer, whose pieces and merges are there, ready; on error it is destroyed and NULL. */
km_status km_tokenizer_finish(km_tokenizer **tokenizer, const km_settings *settings,
                              const char *origin) KM_NODISCARD;

/* The pieces of a printed tokenizer's "vocab". */
km_status km_tokenizer_read_pieces(km_tokenizer *tokenizer, const km_json *json, const char *origin) KM_NODISCARD;

/* The pieces of {"piece": id, ...}, whose ids have no holes. */
km_status km_tokenizer_read_vocab(km_tokenizer *tokenizer, const km_json *vocab, const char *path) KM_NODISCARD;
/* A tokenizer.json: what it says beside the vocabulary into `settings`; its pieces and merges into a new tokenizer
 * where `out` is not NULL. */
km_status km_tokenizer_json_read(km_tokenizer **out, km_settings *settings, const char *path) KM_NODISCARD;
/* And the text of one. The caller frees. */
void km_tokenizer_json_print(const km_tokenizer *tokenizer, km_buffer *out);

/* A JSON string, quoted. */
void km_quote(km_buffer *out, const char *text);
/* All pieces of the model as {"piece": id, ...}. */
void km_quote_vocab(km_buffer *out, const km_tokenizer *tokenizer);
/* Writes folder/name.new, which km_tokenizer_save gives its name at the end. */
km_status km_save_text(const char *folder, const char *name, const char *text, size_t count) KM_NODISCARD;
km_status km_save_json(const char *folder, const char *name, km_json *json) KM_NODISCARD; /* takes json over */
/* The names of special tokens under the keys that other programs expect. */
km_json *km_specials_map(const km_tokenizer *tokenizer);
const km_added *km_added_of(const km_tokenizer *tokenizer, int32_t id); /* NULL: not an added one */

/* ---- Ids ---- */
void km_ids_reserve(km_ids *ids, size_t more);
static inline void km_ids_push(km_ids *ids, int32_t id, bool starts_word) {
    ids->ids[ids->count] = id;
    ids->starts_word[ids->count++] = starts_word;
}
/* Tokens from `first` on are those of text[begin, end). */
void km_ids_range(km_ids *ids, size_t first, size_t begin, size_t end);

#endif
