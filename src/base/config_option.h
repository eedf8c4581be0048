/* One option of the table that drives parsing, ranges, help, printing and the comparison at a resume. */
#ifndef KMASK_BASE_CONFIG_OPTION_H
#define KMASK_BASE_CONFIG_OPTION_H

#include "kmask/base.h"

typedef enum km_kind {
    KM_INT,         /* int64_t */
    KM_DOUBLE,      /* double */
    KM_BOOL,        /* bool */
    KM_FILE,        /* char[KM_PATH] */
    KM_CHOICE,      /* char[KM_WORD] */
    KM_RATIO,       /* double; 0 stands for "partition" */
    KM_EVERY,       /* km_steps: an interval or a list of steps */
    KM_NUMBER_LIST, /* km_numbers: a number, a text "1,4..7", or a list of both */
    KM_TEXT_LIST    /* km_texts: a text or a list; with a range each is one of its choices */
} km_kind;

typedef enum km_resume {
    KM_FIXED,      /* part of what a run is */
    KM_MAY_CHANGE, /* a resumed run may have another value */
    KM_ORIGIN      /* only says where other values came from, or does not concern training */
} km_resume;

/* A value outside its own range (0, "") means "not given" and is printed as null: an option whose 0 is a proper
 * value has 0 in its range. */
typedef struct km_option {
    const char *key; /* "section.name" */
    km_kind kind;
    size_t place;         /* offset in km_config */
    const char *range;    /* numbers: "1..64", ">0..1" (without 0), "0..<1" (without 1), "1.." ; choices: "a|b" */
    const char *standard; /* the default, as --set takes it; NULL: none; or KM_REQUIRED */
    km_resume resume;
    const char *help;
} km_option;

#define KM_REQUIRED "required"

extern const km_option km_options[];
extern const int km_option_count;

/* ---- config_table.c ---- */

bool km_option_required(const km_option *option);
int km_option_find(const char *key); /* its number, or -1 */
/* " Did you mean mask.splits?" for a key that is unknown, or "" ; the caller frees. */
char *km_option_hint(const char *key);

/* ---- config_value.c ---- */

static inline void *km_option_value(const km_option *option, km_config *config) {
    return (char *)config + option->place;
}
static inline const void *km_option_look(const km_option *option, const km_config *config) {
    return (const char *)config + option->place;
}
/* Sets the value from JSON and notes that it was given; null sets it back to "not given". KM_USAGE says key, found
 * and expected. */
km_status km_option_set(const km_option *option, km_config *config, const km_json *json) KM_NODISCARD;
/* From the right side of --set key=value: JSON where that is what the option takes, else text. */
km_status km_option_set_text(const km_option *option, km_config *config, const char *text) KM_NODISCARD;
void km_option_clear(const km_option *option, km_config *config);
/* False for 0 and "" where these stand for "not given". */
bool km_option_is_set(const km_option *option, const km_config *config);
/* The value as JSON text that reads back to the same bits. */
void km_option_print(const km_option *option, const km_config *config, km_buffer *out);
/* "a whole number, 1..64" */
void km_option_expected(const km_option *option, km_buffer *out);

/* ---- config_resolve.c ---- */

/* Presets and defaults that follow from other keys. A model that comes from model.init stays as it is. */
void km_config_resolve(km_config *config);
/* Before resolving: required keys are there, and beside model.init nothing that it decides. */
km_status km_config_check_given(const km_config *config, km_config_use use) KM_NODISCARD;
/* Choices that must fit together. */
km_status km_config_check(const km_config *config) KM_NODISCARD;

#endif
