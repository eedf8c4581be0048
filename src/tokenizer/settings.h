/* What a tokenizer's companion files say beside its vocabulary: each thing may be said by several files or by none, and
 * the first word counts. */
#ifndef KM_TOKENIZER_SETTINGS_H
#define KM_TOKENIZER_SETTINGS_H

#include "kmask/base.h"

typedef enum km_role { KM_PAD, KM_UNK, KM_CLS, KM_SEP, KM_MASK, KM_ROLES } km_role;

enum { KM_UNSAID = -1 }; /* of a flag */

/* A token that is found in the text before it is split into words. Of the flags each may be KM_UNSAID. */
typedef struct km_added {
    char *content;
    char *normal; /* its normalized self where that is looked for instead, and what decoding gives; else NULL */
    int32_t id;   /* -1: as the vocabulary has it */
    int8_t lstrip, rstrip; /* takes the white space before, behind it */
    int8_t single_word;    /* not inside a word */
    int8_t normalized;     /* looked for in normalized text, as its normalized self, after those that are not */
    bool special;          /* only found where special tokens are asked for */
} km_added;

typedef struct km_settings {
    int lowercase, strip_accents, chinese; /* WordPiece */
    int piece_clean_up, clean_up;          /* WordPiece, decoding: of each piece, of the whole */
    int prefix_space;                      /* BPE: text begins with a space */
    char *role[KM_ROLES];                  /* names of tokens, or NULL */
    km_added *added;
    size_t added_count;
} km_settings;

void km_settings_init(km_settings *settings);
void km_settings_free(km_settings *settings);
void km_settings_role(km_settings *settings, km_role role, const char *name);
/* Flags may be KM_UNSAID, the id -1. A token that is there already keeps what was said of it. */
void km_settings_add(km_settings *settings, const km_added *token);
/* Whether a special token's white space was spoken of. */
bool km_settings_told(const km_settings *settings, const char *content);

/* tokenizer_config.json, special_tokens_map.json and added_tokens.json, where they are. */
km_status km_settings_read(km_settings *settings, const char *folder) KM_NODISCARD;
/* Adds a token in the form of tokenizer.json's "added_tokens" (an object); `id` where it stands elsewhere, else -1. */
km_status km_settings_read_token(km_settings *settings, const km_json *token, int32_t id, bool special,
                                 const char *path) KM_NODISCARD;
/* *flag where it was not said, from a true, false, null or absent value. */
km_status km_settings_flag(int *flag, const km_json *object, const char *key, const char *path) KM_NODISCARD;

#endif
