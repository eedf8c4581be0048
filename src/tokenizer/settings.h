/* settings: what the files beside a vocabulary say about a tokenizer. Several files may give the same setting, or none; the
 * first file that gives it counts. */
#ifndef KM_TOKENIZER_SETTINGS_H
#define KM_TOKENIZER_SETTINGS_H

#include "kmask/base.h"

/* What a special token is used for. */
typedef enum km_role { KM_ROLE_PAD, KM_ROLE_UNK, KM_ROLE_CLS, KM_ROLE_SEP, KM_ROLE_MASK, KM_ROLES } km_role;

enum { KM_UNSET = -1 }; /* a flag that no file has given yet; otherwise it is 0 or 1 */

/* A token that is looked for in the text before the text is split into words. */
typedef struct km_added_token {
    char *content;
    char *normalized_text; /* `content` normalized, where that is looked for and what decoding gives; else NULL */
    int32_t id;            /* -1: the id that the vocabulary gives it */
    int8_t lstrip, rstrip; /* it takes the white space before it, behind it */
    int8_t single_word;    /* it is not found inside a word */
    int8_t normalized;     /* it is looked for in normalized text, after the tokens for which this is 0 */
    bool special;          /* it is found only where special tokens are asked for */
    const char *file;      /* the name of the file that gave it first; NULL: none of a folder */
    size_t place;          /* among the tokens in the order in which they were given */
} km_added_token;

/* All flags are KM_UNSET at first. */
typedef struct km_settings {
    int lowercase, strip_accents, chinese; /* WordPiece: the switches of km_normalizer */
    int piece_clean_up, clean_up; /* WordPiece, decoding: clean up spaces after each piece, in the whole text */
    int prefix_space;             /* BPE: a text is encoded as if a space stood before it */
    char *role[KM_ROLES];         /* the token of each role: NULL if not given, "" if there is none */
    km_added_token *added;
    size_t added_count;
    char *class;                           /* "tokenizer_class"; NULL if not given */
    bool has_whole;                        /* the folder has a tokenizer.json */
    int ignored_lowercase, ignored_prefix; /* flags that tokenizer_config.json gives and its class does not heed */
    bool differs;                          /* files disagree about an added token, and that was said */
    const char *file;                      /* the name of the file that is being read */
} km_settings;

void km_settings_init(km_settings *settings);
void km_settings_free(km_settings *settings);
/* Sets the token of a role, unless it has been given before. */
void km_settings_role(km_settings *settings, km_role role, const char *name);
/* Adds a token. For one that is there already, only what was not given before is set. */
void km_settings_add(km_settings *settings, const km_added_token *token);
/* Whether a file has given the lstrip flag of this token. */
bool km_settings_has_lstrip(const km_settings *settings, const char *content);

/* Reads tokenizer_config.json, special_tokens_map.json and added_tokens.json, those that exist, in this order. */
km_status km_settings_read(km_settings *settings, const char *folder) KM_NODISCARD;
/* Warns where transformers does not take the steps of tokenizer.json, because of the class. */
void km_settings_warn_of_class(const km_settings *settings, const char *folder);
/* Adds a token from an object in the form of tokenizer.json's "added_tokens". `id` is its id where the object does not hold it,
 * else -1; `special` is used where the object does not say. */
km_status km_settings_read_token(km_settings *settings, const km_json *token, int32_t id, bool special,
                                 const char *path) KM_NODISCARD;
/* Sets *flag from a member that may be true, false, null or absent, unless it has been given before. */
km_status km_settings_flag(int *flag, const km_json *object, const char *key, const char *path) KM_NODISCARD;

#endif
