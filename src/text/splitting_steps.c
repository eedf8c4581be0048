/* The kinds of splitting steps. */
#include "steps.h"

#include <stdlib.h>
#include <string.h>

#include "unicode.h"

/* ---- Cutting at what is found --------------------------------------------------------------------------- */

/* Appends the parts that a behavior makes of those that were found, except for empty ones. */
static void cut(km_parts *out, const km_parts *found, bool invert, km_behavior behavior) {
    const size_t count = found->count;
    km_text_part *made = km_new(count + 1, sizeof *made);
    size_t used = 0;
    bool before = false; /* the part before was a match */
    for (size_t i = 0; i < count; i++) {
        const km_text_part part = found->parts[behavior == KM_MERGED_BEHIND ? count - 1 - i : i];
        const bool match = part.matches != invert;
        const bool joins =
            used > 0 && (behavior == KM_CONTIGUOUS                                      ? match == before
                         : behavior == KM_MERGED_BEFORE || behavior == KM_MERGED_BEHIND ? match && !before
                                                                                        : false);
        if (joins && behavior == KM_MERGED_BEHIND) {
            made[used - 1].begin = part.begin;
        } else if (joins) {
            made[used - 1].end = part.end;
        } else if (behavior != KM_REMOVED || !match) {
            made[used++] = part;
        }
        before = match;
    }
    for (size_t i = 0; i < used; i++) {
        const km_text_part part = made[behavior == KM_MERGED_BEHIND ? used - 1 - i : i];
        if (part.begin < part.end) {
            km_parts_add(out, part.begin, part.end, false);
        }
    }
    free(made);
}

/* What is looked for: matches of a regular expression, or single characters. */
typedef struct search {
    const km_regex *regex;     /* NULL: characters */
    bool (*is)(uint32_t code); /* NULL: those that equal `code` */
    uint32_t code;
} search;

static void find(const search *s, const km_normalized *text, km_text_part part, km_parts *found) {
    if (s->regex != NULL) {
        km_regex_find(s->regex, text->text, part.begin, part.end, found);
        return;
    }
    size_t begin = part.begin;
    const char *at = text->text + part.begin, *end = text->text + part.end;
    while (at < end) {
        const size_t here = (size_t)(at - text->text);
        const uint32_t code = (uint32_t)km_utf8_next(&at, end);
        if (s->is != NULL ? s->is(code) : code == s->code) {
            if (begin < here) {
                km_parts_add(found, begin, here, false);
            }
            begin = (size_t)(at - text->text);
            km_parts_add(found, here, begin, true);
        }
    }
    if (begin < part.end) {
        km_parts_add(found, begin, part.end, false);
    }
}

static void split_by(const search *s, km_pretokens *p, bool invert, km_behavior behavior) {
    km_parts made = {0}, found = {0};
    for (size_t i = 0; i < p->parts.count; i++) {
        found.count = 0;
        find(s, &p->text, p->parts.parts[i], &found);
        cut(&made, &found, invert, behavior);
    }
    km_parts_free(&found);
    km_parts_free(&p->parts);
    p->parts = made;
}

/* ---- The kinds ------------------------------------------------------------------------------------------ */

static bool is_white(uint32_t code) {
    return km_char_class_of(code) == KM_CHAR_SPACE;
}

/* Words of letters, marks and digits, and runs of what is neither that nor white space. */
static void split_words(const km_step *step, km_pretokens *p, bool raw) {
    enum { WHITE, WORD, OTHER };
    (void)step;
    (void)raw;
    km_parts made = {0};
    for (size_t i = 0; i < p->parts.count; i++) {
        const km_text_part part = p->parts.parts[i];
        const char *at = p->text.text + part.begin, *end = p->text.text + part.end;
        size_t begin = part.begin;
        int before = WHITE;
        while (at < end) {
            const size_t here = (size_t)(at - p->text.text);
            const uint32_t code = (uint32_t)km_utf8_next(&at, end);
            const int kind = km_is_word_char(code) ? WORD : is_white(code) ? WHITE : OTHER;
            if (kind != before) {
                if (before != WHITE) {
                    km_parts_add(&made, begin, here, false);
                }
                begin = here;
                before = kind;
            }
        }
        if (before != WHITE) {
            km_parts_add(&made, begin, part.end, false);
        }
    }
    km_parts_free(&p->parts);
    p->parts = made;
}

static void split_white(const km_step *step, km_pretokens *p, bool raw) {
    const search white = {.is = is_white};
    (void)step;
    (void)raw;
    split_by(&white, p, false, KM_REMOVED);
}

static void split_bert(const km_step *step, km_pretokens *p, bool raw) {
    const search punctuation = {.is = km_is_punctuation};
    split_white(step, p, raw);
    split_by(&punctuation, p, false, KM_ISOLATED);
}

static void split_digits(const km_step *step, km_pretokens *p, bool raw) {
    const search digits = {.is = km_is_numeric};
    (void)raw;
    split_by(&digits, p, false, step->flags[0] ? KM_ISOLATED : KM_CONTIGUOUS);
}

static void split_punctuation(const km_step *step, km_pretokens *p, bool raw) {
    const search punctuation = {.is = km_is_punctuation};
    (void)raw;
    split_by(&punctuation, p, false, (km_behavior)step->choice);
}

static void split_pattern(const km_step *step, km_pretokens *p, bool raw) {
    const search pattern = {.regex = step->regex};
    (void)raw;
    split_by(&pattern, p, step->flags[0], (km_behavior)step->choice);
}

static void split_delimiter(const km_step *step, km_pretokens *p, bool raw) {
    const search delimiter = {.code = step->character};
    (void)raw;
    split_by(&delimiter, p, false, KM_REMOVED);
}

/* Pieces of so many characters. */
static void split_lengths(const km_step *step, km_pretokens *p, bool raw) {
    km_parts made = {0};
    (void)raw;
    for (size_t i = 0; i < p->parts.count; i++) {
        const km_text_part part = p->parts.parts[i];
        const char *at = p->text.text + part.begin, *end = p->text.text + part.end;
        while (at < end) {
            const size_t begin = (size_t)(at - p->text.text);
            for (int n = 0; n < KM_MAX(step->numbers[0], 1) && at < end; n++) {
                (void)km_utf8_next(&at, end);
            }
            km_parts_add(&made, begin, (size_t)(at - p->text.text), false);
        }
    }
    km_parts_free(&p->parts);
    p->parts = made;
}

/* ---- Kinds that change the text ------------------------------------------------------------------------- */

/* Appends the part that begins at `begin` of `out`, unless it is empty. */
static void end_part(km_parts *made, const km_normalized *out, size_t begin) {
    if (begin < out->count) {
        km_parts_add(made, begin, out->count, false);
    }
}

static void replace_all(km_pretokens *p, km_normalized *out, km_parts *made) {
    km_normalized_replace(&p->text, out);
    km_parts_free(&p->parts);
    p->parts = *made;
}

static void put_spaces(km_pretokens *p) {
    km_normalized out = {.ranges = p->text.ranges};
    km_parts made = {0};
    for (size_t i = 0; i < p->parts.count; i++) {
        const km_text_part part = p->parts.parts[i];
        const size_t begin = out.count;
        if (p->text.text[part.begin] != ' ') {
            km_normalized_insert(&out, &p->text, part.begin, " ", 1);
        }
        km_normalized_copy(&out, &p->text, part.begin, part.end);
        end_part(&made, &out, begin);
    }
    replace_all(p, &out, &made);
}

static void put_bytes(km_pretokens *p) {
    km_normalized out = {.ranges = p->text.ranges};
    km_parts made = {0};
    for (size_t i = 0; i < p->parts.count; i++) {
        const size_t begin = out.count;
        km_normalized_copy_bytes(&out, &p->text, p->parts.parts[i].begin, p->parts.parts[i].end);
        end_part(&made, &out, begin);
    }
    replace_all(p, &out, &made);
}

static void split_bytes(const km_step *step, km_pretokens *p, bool raw) {
    if (step->flags[0]) {
        put_spaces(p);
    }
    if (step->flags[1]) {
        const uint8_t *classes = km_char_classes();
        km_parts made = {0};
        for (size_t i = 0; i < p->parts.count; i++) {
            const char *at = p->text.text + p->parts.parts[i].begin, *end = p->text.text + p->parts.parts[i].end;
            while (at < end) {
                bool valid = true;
                uint64_t invalid = 0;
                const char *stop = km_gpt2_split(classes, at, end, &valid, &invalid);
                km_parts_add(&made, (size_t)(at - p->text.text), (size_t)(stop - p->text.text), false);
                at = stop;
            }
        }
        km_parts_free(&p->parts);
        p->parts = made;
    }
    if (!raw) {
        put_bytes(p);
    }
}

const char *const km_prepend_names[] = {"first", "never", "always", NULL};

/* Older files have add_prefix_space. */
void km_step_finish_metaspace(km_step *step, const km_json *json) {
    bool prefix = true;
    if (km_json_boolean(&prefix, km_json_get(json, "add_prefix_space")) && !prefix) {
        step->choice = KM_PREPEND_NEVER;
    }
}

static void split_metaspace(const km_step *step, km_pretokens *p, bool raw) {
    (void)raw;
    const size_t size = strlen(step->text);
    km_normalized out = {.ranges = p->text.ranges};
    km_parts made = {0};
    for (size_t i = 0; i < p->parts.count; i++) {
        const km_text_part part = p->parts.parts[i];
        const size_t begin = out.count;
        const char *first = p->text.text + part.begin;
        const bool starts =
            *first == ' ' || (part.end - part.begin >= size && memcmp(first, step->text, size) == 0);
        const bool wanted = step->choice == KM_PREPEND_ALWAYS ||
                            (step->choice == KM_PREPEND_FIRST && p->begins_text && part.begin == 0);
        if (wanted && !starts) {
            km_normalized_insert(&out, &p->text, part.begin, step->text, size);
        }
        for (size_t at = part.begin; at < part.end;) {
            const char *space = memchr(p->text.text + at, ' ', part.end - at);
            const size_t stop = space == NULL ? part.end : (size_t)(space - p->text.text);
            km_normalized_copy(&out, &p->text, at, stop);
            at = stop;
            if (space != NULL) {
                km_normalized_put(&out, step->text, size, km_source_begin(&p->text, at),
                                  km_source_end(&p->text, at + 1));
                at++;
            }
        }
        end_part(&made, &out, begin);
    }
    replace_all(p, &out, &made);
    if (step->flags[0]) {
        const search mark = {.code = step->character};
        split_by(&mark, p, false, KM_MERGED_BEHIND);
    }
}

static const char *const behaviors[] = {"Removed",        "Isolated",   "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous", NULL};

const km_step_kind km_splitting_kinds[] = {
    {.type = "Whitespace", .split = split_words},
    {.type = "WhitespaceSplit", .split = split_white},
    {.type = "BertPreTokenizer", .split = split_bert},
    {.type = "Digits", .members = {{KM_MEMBER_FLAG, "individual_digits", 0, "false", NULL}}, .split = split_digits},
    {.type = "Punctuation",
     .members = {{KM_MEMBER_CHOICE, "behavior", 0, "Isolated", behaviors}},
     .split = split_punctuation},
    {.type = "Split",
     .members = {{KM_MEMBER_PATTERN, "pattern", 0, NULL, NULL},
                 {KM_MEMBER_CHOICE, "behavior", 0, NULL, behaviors},
                 {KM_MEMBER_FLAG, "invert", 0, "false", NULL}},
     .split = split_pattern},
    {.type = "CharDelimiterSplit",
     .members = {{KM_MEMBER_CHARACTER, "delimiter", 0, NULL, NULL}},
     .split = split_delimiter},
    {.type = "FixedLength", .members = {{KM_MEMBER_NUMBER, "length", 0, "5", NULL}}, .split = split_lengths},
    {.type = "ByteLevel",
     .members = {{KM_MEMBER_FLAG, "add_prefix_space", 0, "true", NULL},
                 {KM_MEMBER_IGNORED, "trim_offsets", 0, "true", NULL},
                 {KM_MEMBER_FLAG, "use_regex", 1, "true", NULL}},
     .split = split_bytes},
    {.type = "Metaspace",
     .members = {{KM_MEMBER_CHARACTER, "replacement", 0, "\xE2\x96\x81", NULL},
                 {KM_MEMBER_CHOICE, "prepend_scheme", 0, "always", km_prepend_names},
                 {KM_MEMBER_FLAG, "split", 0, "true", NULL}},
     .finish = km_step_finish_metaspace,
     .split = split_metaspace}};
const size_t km_splitting_count = KM_COUNT(km_splitting_kinds);
