/* The kinds of normalizing steps. */
#include "steps.h"

#include <string.h>

#include "unicode.h"

static bool is_white(uint32_t code) {
    return km_char_class_of(code) == KM_CHAR_SPACE;
}

static void lowercase(const km_step *step, km_normalized *text) {
    (void)step;
    km_normalized out = {.ranges = text->ranges};
    for (size_t i = 0; i < text->count;) {
        const char *at = text->text + i;
        const uint32_t code = (uint32_t)km_utf8_next(&at, text->text + text->count);
        const size_t end = (size_t)(at - text->text);
        char lower[8];
        size_t size = km_utf8_put(lower, km_lower(code));
        if (code == 0x130) { /* its lower case is "i" and a dot above */
            size += km_utf8_put(lower + size, 0x307);
        }
        km_normalized_put(&out, lower, size, km_source_begin(text, i), km_source_end(text, end));
        i = end;
    }
    km_normalized_replace(text, &out);
}

/* Keeps the characters for which `drop` is false. */
static void filter(km_normalized *text, bool (*drop)(uint32_t code)) {
    km_normalized out = {.ranges = text->ranges};
    size_t kept = 0; /* where what is copied next begins */
    for (size_t i = 0; i < text->count;) {
        const char *at = text->text + i;
        const uint32_t code = (uint32_t)km_utf8_next(&at, text->text + text->count);
        const size_t end = (size_t)(at - text->text);
        if (code >= 0x80 && drop(code)) {
            km_normalized_copy(&out, text, kept, i);
            kept = end;
        }
        i = end;
    }
    if (kept > 0) {
        km_normalized_copy(&out, text, kept, text->count);
        km_normalized_replace(text, &out);
    }
}

static void strip_accents(const km_step *step, km_normalized *text) {
    (void)step;
    filter(text, km_is_combining);
}

static void strip(const km_step *step, km_normalized *text) {
    size_t from = 0, to = text->count;
    const char *at = text->text, *end = text->text + text->count;
    while (step->flags[0] && at < end && is_white((uint32_t)km_utf8_next(&at, end))) {
        from = (size_t)(at - text->text);
    }
    while (step->flags[1] && to > from) {
        size_t before = to - 1;
        while ((text->text[before] & 0xC0) == 0x80) {
            before--;
        }
        at = text->text + before;
        if (!is_white((uint32_t)km_utf8_next(&at, end))) {
            break;
        }
        to = before;
    }
    if (from > 0 || to < text->count) {
        km_normalized out = {.ranges = text->ranges};
        km_normalized_copy(&out, text, from, to);
        km_normalized_replace(text, &out);
    }
}

static void prepend(const km_step *step, km_normalized *text) {
    if (text->count > 0) {
        km_normalized out = {.ranges = text->ranges};
        km_normalized_insert(&out, text, 0, step->text, strlen(step->text));
        km_normalized_copy(&out, text, 0, text->count);
        km_normalized_replace(text, &out);
    }
}

static void replace(const km_step *step, km_normalized *text) {
    km_parts found = {0};
    km_regex_find(step->regex, text->text, 0, text->count, &found);
    if (found.count > 1 || found.parts[0].matches) {
        km_normalized out = {.ranges = text->ranges};
        for (size_t i = 0; i < found.count; i++) {
            const km_text_part part = found.parts[i];
            if (!part.matches) {
                km_normalized_copy(&out, text, part.begin, part.end);
            } else if (part.begin == part.end) {
                km_normalized_insert(&out, text, part.begin, step->text, strlen(step->text));
            } else {
                km_normalized_put(&out, step->text, strlen(step->text), km_source_begin(text, part.begin),
                                  km_source_end(text, part.end));
            }
        }
        km_normalized_replace(text, &out);
    }
    km_parts_free(&found);
}

static void bytes(const km_step *step, km_normalized *text) {
    (void)step;
    km_normalized out = {.ranges = text->ranges};
    km_normalized_copy_bytes(&out, text, 0, text->count);
    km_normalized_replace(text, &out);
}

/* BERT strips accents where it lower-cases, unless it is told otherwise. */
static void finish_bert(km_step *step, const km_json *json) {
    const km_json *accents = km_json_get(json, "strip_accents");
    if (accents == NULL || km_json_is_null(accents)) {
        step->flags[2] = step->flags[3];
    }
    km_normalizer_init(&step->bert, step->flags[3], step->flags[2], step->flags[1]);
    step->bert.unclean = !step->flags[0];
}

static void bert(const km_step *step, km_normalized *text) {
    km_normalized out = {.ranges = text->ranges};
    (void)km_normalize(&out, &step->bert, text->text, 0, text->count);
    for (size_t i = 0; out.ranges && i < out.count; i++) {
        out.begins[i] = text->begins[out.begins[i]];
        out.ends[i] = text->ends[out.ends[i] - 1];
    }
    km_normalized_replace(text, &out);
}

const km_step_kind km_normalizing_kinds[] = {
    {.type = "NFC", .normalize = km_step_form, .composes = true},
    {.type = "NFD", .normalize = km_step_form},
    {.type = "NFKC", .normalize = km_step_form, .composes = true, .compatible = true},
    {.type = "NFKD", .normalize = km_step_form, .compatible = true},
    {.type = "Lowercase", .normalize = lowercase},
    {.type = "StripAccents", .normalize = strip_accents},
    {.type = "Strip",
     .members = {{KM_MEMBER_FLAG, "strip_left", 0, "true", NULL}, {KM_MEMBER_FLAG, "strip_right", 1, "true", NULL}},
     .normalize = strip},
    {.type = "Prepend", .members = {{KM_MEMBER_TEXT, "prepend", 0, NULL, NULL}}, .normalize = prepend},
    {.type = "Replace",
     .members = {{KM_MEMBER_PATTERN, "pattern", 0, NULL, NULL}, {KM_MEMBER_TEXT, "content", 0, NULL, NULL}},
     .normalize = replace},
    {.type = "ByteLevel", .normalize = bytes},
    {.type = "BertNormalizer",
     .members = {{KM_MEMBER_FLAG, "clean_text", 0, "true", NULL},
                 {KM_MEMBER_FLAG, "handle_chinese_chars", 1, "true", NULL},
                 {KM_MEMBER_FLAG, "strip_accents", 2, "false", NULL},
                 {KM_MEMBER_FLAG, "lowercase", 3, "true", NULL}},
     .finish = finish_bert,
     .normalize = bert}};
const size_t km_normalizing_count = KM_COUNT(km_normalizing_kinds);
