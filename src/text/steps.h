/* steps: what the kinds of steps share. A kind is an entry in one of three tables: normalizing_steps.c, splitting_steps.c and
 * decoding_steps.c. Reading and printing walk the table of its members. */
#ifndef KM_TEXT_STEPS_H
#define KM_TEXT_STEPS_H

#include "regex.h"

typedef struct km_step km_step;

typedef enum km_member_type {
    KM_MEMBER_END,
    KM_MEMBER_FLAG,
    KM_MEMBER_TEXT,
    KM_MEMBER_CHARACTER, /* a text of one character */
    KM_MEMBER_CHOICE,    /* one of the names in `choices` */
    KM_MEMBER_NUMBER,
    KM_MEMBER_PATTERN, /* {"String": text} or {"Regex": pattern} */
    KM_MEMBER_IGNORED  /* changes no id; printed as the flag that `absent` says */
} km_member_type;

typedef struct km_step_member {
    km_member_type type;
    const char *key;
    int slot; /* the place among its like in km_step */
    const char
        *absent; /* what holds where the member is not there, as text ("true", "3"); NULL: it must be there */
    const char *const *choices;
} km_step_member;

enum { KM_STEP_MEMBERS = 5, KM_STEP_SLOTS = 4 };

typedef struct km_step_kind {
    const char *type; /* as tokenizer.json names it */
    km_step_member members[KM_STEP_MEMBERS];
    bool composes, compatible; /* of a normalization form */
    void (*finish)(km_step *step, const km_json *json);
    void (*normalize)(const km_step *step, km_normalized *text);
    void (*split)(const km_step *step, km_pretokens *pretokens, bool raw);
    void (*decode)(const km_step *step, km_token_texts *texts);
} km_step_kind;

struct km_step {
    const km_step_kind *kind;
    bool flags[KM_STEP_SLOTS];
    int choice, numbers[KM_STEP_SLOTS];
    char *text;         /* also of a KM_MEMBER_CHARACTER */
    char *pattern;      /* as it was written */
    bool literal;       /* `pattern` is a text */
    km_regex *regex;    /* of `pattern` */
    uint32_t character; /* the first one of `text` */
    km_normalizer bert;
};

extern const km_step_kind km_normalizing_kinds[], km_splitting_kinds[], km_decoding_kinds[];
extern const size_t km_normalizing_count, km_splitting_count, km_decoding_count;

/* How words of Split and Punctuation are cut at what was found. */
typedef enum km_behavior { KM_REMOVED, KM_ISOLATED, KM_MERGED_BEFORE, KM_MERGED_BEHIND, KM_CONTIGUOUS } km_behavior;

/* Whether a replaced character begins each text. */
typedef enum km_prepend { KM_PREPEND_FIRST, KM_PREPEND_NEVER, KM_PREPEND_ALWAYS } km_prepend;
/* Members of Metaspace, which both splits and decodes. */
extern const char *const km_prepend_names[];
void km_step_finish_metaspace(km_step *step, const km_json *json);

/* ---- Texts that remember where their bytes come from ----------------------------------------------------------- */

/* Where the character that begins at byte `at` begins in the source, and where the one that ends there ends. Without ranges 0. */
static inline size_t km_source_begin(const km_normalized *text, size_t at) {
    return text->ranges ? text->begins[at] : 0;
}
static inline size_t km_source_end(const km_normalized *text, size_t at) {
    return text->ranges ? text->ends[at - 1] : 0;
}
/* Appends bytes that come from [begin, end) of the source. */
void km_normalized_put(km_normalized *out, const char *bytes, size_t size, size_t begin, size_t end);
/* Appends in[from, to). */
void km_normalized_copy(km_normalized *out, const km_normalized *in, size_t from, size_t to);
/* Appends bytes that nothing stands for in the source, before in[at]. */
void km_normalized_insert(km_normalized *out, const km_normalized *in, size_t at, const char *bytes, size_t size);
/* Appends in[from, to) with the printable character of each byte. */
void km_normalized_copy_bytes(km_normalized *out, const km_normalized *in, size_t from, size_t to);
/* Gives *text what *out holds, and empties *out. */
void km_normalized_replace(km_normalized *text, km_normalized *out);

/* Replaces the text by its normalization form. */
void km_step_form(const km_step *step, km_normalized *text);

#endif
