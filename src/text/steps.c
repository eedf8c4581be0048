/* Lists of steps: reading, printing and doing them, and the texts that they work on. */
#include "steps.h"

#include <stdlib.h>
#include <string.h>

struct km_step_list {
    km_step_sort sort;
    km_step *steps;
    size_t count;
};

/* What the three sorts of steps are called, and their kinds. */
static const struct {
    const char *name, *list; /* of the component, and of the members of a Sequence */
    const km_step_kind *kinds;
    const size_t *count;
} sorts[] = {{"normalizer", "normalizers", km_normalizing_kinds, &km_normalizing_count},
             {"pre_tokenizer", "pretokenizers", km_splitting_kinds, &km_splitting_count},
             {"decoder", "decoders", km_decoding_kinds, &km_decoding_count}};

/* ---- Reading -------------------------------------------------------------------------------------------- */

static km_status read_pattern(km_step *step, const km_json *value, const char *path) {
    const char *text = km_json_string(km_json_get(value, "String"));
    const char *pattern = text != NULL ? text : km_json_string(km_json_get(value, "Regex"));
    if (pattern == NULL) {
        return km_fail(KM_FAILED, "%s: %s has no pattern, expected {\"String\": text} or {\"Regex\": pattern}",
                       path, step->kind->type);
    }
    step->pattern = km_strdup(pattern);
    step->literal = text != NULL;
    return km_regex_create(&step->regex, pattern, step->literal, path);
}

static km_status read_text(km_step *step, const km_step_member *m, const char *text, const char *path) {
    const char *next = text, *end = text + strlen(text);
    const int32_t first = next < end ? km_utf8_next(&next, end) : -1;
    if (m->type == KM_MEMBER_CHARACTER && (first < 0 || next != end)) {
        return km_fail(KM_FAILED, "%s: \"%s\" of %s is \"%.60s\", expected one character", path, m->key,
                       step->kind->type, text);
    }
    free(step->text);
    step->text = km_strdup(text);
    step->character = first < 0 ? 0 : (uint32_t)first;
    return KM_OK;
}

static km_status read_choice(km_step *step, const km_step_member *m, const char *word, const char *path) {
    for (int i = 0; m->choices[i] != NULL; i++) {
        if (strcmp(word, m->choices[i]) == 0) {
            step->choice = i;
            return KM_OK;
        }
    }
    return km_fail(KM_FAILED, "%s: \"%s\" of %s is \"%.60s\", expected one like \"%s\"", path, m->key,
                   step->kind->type, word, m->choices[0]);
}

static km_status read_member(km_step *step, const km_step_member *m, const km_json *value, const char *path) {
    const bool there = value != NULL && !km_json_is_null(value);
    const char *text = there ? km_json_string(value) : m->absent;
    double number = there ? -1 : m->absent != NULL ? strtod(m->absent, NULL) : -1;
    bool flag = !there && m->absent != NULL && strcmp(m->absent, "true") == 0;
    switch (m->type) {
    case KM_MEMBER_IGNORED:
        return KM_OK;
    case KM_MEMBER_PATTERN:
        return read_pattern(step, value, path);
    case KM_MEMBER_FLAG:
        if (there ? km_json_boolean(&flag, value) : m->absent != NULL) {
            step->flags[m->slot] = flag;
            return KM_OK;
        }
        break;
    case KM_MEMBER_NUMBER:
        if ((!there || km_json_number(&number, value)) && number >= 0 && number <= 1e6 &&
            number <= (double)(int)number) {
            step->numbers[m->slot] = (int)number;
            return KM_OK;
        }
        break;
    default:
        if (text != NULL) {
            return m->type == KM_MEMBER_CHOICE ? read_choice(step, m, text, path) : read_text(step, m, text, path);
        }
    }
    return km_fail(KM_FAILED, "%s: %s has no \"%s\" of the expected type (%s)", path, step->kind->type, m->key,
                   m->type == KM_MEMBER_FLAG     ? "true or false"
                   : m->type == KM_MEMBER_NUMBER ? "a whole number from 0"
                                                 : "a text");
}

static km_status refuse(km_step_sort sort, const char *type, const char *path) {
    km_buffer names = {0};
    for (size_t i = 0; i < *sorts[sort].count; i++) {
        km_buffer_print(&names, "%s%s", i > 0 ? ", " : "", sorts[sort].kinds[i].type);
    }
    const bool unnamed = type == NULL || *type == '\0';
    const km_status status =
        km_fail(KM_FAILED, "%s: the %s is %.100s, which is not supported; expected %s or a Sequence of them", path,
                sorts[sort].name, unnamed ? "without a type" : type, names.data);
    km_buffer_free(&names);
    return status;
}

static km_status add_step(km_step_list *s, const km_json *json, const char *path) {
    const char *type = km_json_text(json, "type");
    for (size_t i = 0; i < *sorts[s->sort].count; i++) {
        const km_step_kind *kind = &sorts[s->sort].kinds[i];
        if (strcmp(kind->type, type) == 0) {
            s->steps = km_grow(s->steps, s->count + 1, sizeof *s->steps);
            km_step *step = &s->steps[s->count++];
            *step = (km_step){.kind = kind};
            for (const km_step_member *m = kind->members; m->type != KM_MEMBER_END; m++) {
                KM_TRY(read_member(step, m, km_json_get(json, m->key), path));
            }
            if (kind->finish != NULL) {
                kind->finish(step, json);
            }
            return KM_OK;
        }
    }
    return refuse(s->sort, type, path);
}

static km_status add_all(km_step_list *s, const km_json *json, int depth, const char *path) {
    enum { DEEPEST = 20 };
    const bool sequence = strcmp(km_json_text(json, "type"), "Sequence") == 0;
    const km_json *list = sequence ? km_json_get(json, sorts[s->sort].list) : json;
    if (depth > DEEPEST || (sequence && !km_json_is_array(list))) {
        return km_fail(KM_FAILED, "%s: the %s has a Sequence without \"%s\", or too many inside each other", path,
                       sorts[s->sort].name, sorts[s->sort].list);
    }
    if (!km_json_is_array(list)) {
        return add_step(s, json, path);
    }
    for (const km_json *item = km_json_first(list); item != NULL; item = km_json_next(item)) {
        KM_TRY(add_all(s, item, depth + 1, path));
    }
    return KM_OK;
}

km_status km_steps_read(km_step_list **out, km_step_sort sort, const km_json *json, const char *path) {
    *out = km_new(1, sizeof **out);
    (*out)->sort = sort;
    const bool none = json == NULL || km_json_is_null(json);
    km_status status = none ? KM_OK : add_all(*out, json, 0, path);
    if (status != KM_OK) {
        km_steps_destroy(*out);
        *out = NULL;
    }
    return status;
}

void km_steps_destroy(km_step_list *steps) {
    if (steps != NULL) {
        for (size_t i = 0; i < steps->count; i++) {
            free(steps->steps[i].text);
            free(steps->steps[i].pattern);
            km_regex_destroy(steps->steps[i].regex);
        }
        free(steps->steps);
        free(steps);
    }
}

size_t km_steps_count(const km_step_list *steps) {
    return steps == NULL ? 0 : steps->count;
}

bool km_steps_end_with(const km_step_list *steps, const char *type) {
    return km_steps_count(steps) > 0 && strcmp(steps->steps[steps->count - 1].kind->type, type) == 0;
}

/* ---- Printing ------------------------------------------------------------------------------------------- */

static void print_member(const km_step *step, const km_step_member *m, km_json *json) {
    km_json *pattern;
    switch (m->type) {
    case KM_MEMBER_FLAG:
        km_json_set_boolean(json, m->key, step->flags[m->slot]);
        break;
    case KM_MEMBER_NUMBER:
        km_json_set_number(json, m->key, step->numbers[m->slot]);
        break;
    case KM_MEMBER_CHOICE:
        km_json_set_string(json, m->key, m->choices[step->choice]);
        break;
    case KM_MEMBER_PATTERN:
        pattern = km_json_object();
        km_json_set_string(pattern, step->literal ? "String" : "Regex", step->pattern);
        km_json_set(json, m->key, pattern);
        break;
    case KM_MEMBER_IGNORED:
        km_json_set_boolean(json, m->key, strcmp(m->absent, "true") == 0);
        break;
    default:
        km_json_set_string(json, m->key, step->text);
    }
}

km_json *km_steps_print(const km_step_list *steps) {
    km_json *list = km_json_array();
    for (size_t i = 0; i < km_steps_count(steps); i++) {
        const km_step *step = &steps->steps[i];
        km_json *json = km_json_object();
        km_json_set_string(json, "type", step->kind->type);
        for (const km_step_member *m = step->kind->members; m->type != KM_MEMBER_END; m++) {
            print_member(step, m, json);
        }
        km_json_push(list, json);
    }
    return list;
}

/* ---- Doing them ----------------------------------------------------------------------------------------- */

void km_steps_normalize(const km_step_list *steps, km_normalized *text) {
    for (size_t i = 0; i < km_steps_count(steps) && text->count > 0; i++) {
        steps->steps[i].kind->normalize(&steps->steps[i], text);
    }
}

void km_steps_split(const km_step_list *steps, km_pretokens *pretokens, bool raw) {
    pretokens->parts.count = 0;
    if (pretokens->text.count > 0) {
        km_parts_add(&pretokens->parts, 0, pretokens->text.count, false);
    }
    for (size_t i = 0; i < km_steps_count(steps); i++) {
        const km_step *step = &steps->steps[i];
        step->kind->split(step, pretokens, raw && i + 1 == steps->count);
    }
}

void km_steps_decode(const km_step_list *steps, km_token_texts *texts) {
    for (size_t i = 0; i < km_steps_count(steps); i++) {
        steps->steps[i].kind->decode(&steps->steps[i], texts);
    }
}

void km_pretokens_free(km_pretokens *pretokens) {
    km_normalized_free(&pretokens->text);
    km_parts_free(&pretokens->parts);
}

void km_token_texts_add(km_token_texts *texts, const char *bytes, size_t count) {
    if (texts->count == texts->capacity) {
        texts->capacity = 2 * texts->capacity + 16;
        texts->ends = km_grow(texts->ends, texts->capacity, sizeof *texts->ends);
    }
    km_buffer_add(&texts->bytes, bytes, count);
    texts->ends[texts->count++] = texts->bytes.size;
}

void km_token_texts_free(km_token_texts *texts) {
    km_buffer_free(&texts->bytes);
    free(texts->ends);
    *texts = (km_token_texts){0};
}

/* ---- Texts that remember where their bytes come from ---------------------------------------------------- */

static void make_room(km_normalized *n, size_t more) {
    if (n->capacity - n->count < more) {
        n->capacity = n->count + more + n->count / 2 + 64;
        n->text = km_grow(n->text, n->capacity, 1);
        n->begins = n->ranges ? km_grow(n->begins, n->capacity, sizeof *n->begins) : NULL;
        n->ends = n->ranges ? km_grow(n->ends, n->capacity, sizeof *n->ends) : NULL;
    }
}

void km_normalized_put(km_normalized *out, const char *bytes, size_t size, size_t begin, size_t end) {
    make_room(out, size);
    memcpy(out->text + out->count, bytes, size);
    for (size_t i = out->count; out->ranges && i < out->count + size; i++) {
        out->begins[i] = begin;
        out->ends[i] = end;
    }
    out->count += size;
    out->marks = out->count;
}

void km_normalized_copy(km_normalized *out, const km_normalized *in, size_t from, size_t to) {
    const size_t size = to - from;
    if (size == 0) {
        return;
    }
    make_room(out, size);
    memcpy(out->text + out->count, in->text + from, size);
    if (out->ranges) {
        memcpy(out->begins + out->count, in->begins + from, size * sizeof *out->begins);
        memcpy(out->ends + out->count, in->ends + from, size * sizeof *out->ends);
    }
    out->count += size;
    out->marks = out->count;
}

void km_normalized_insert(km_normalized *out, const km_normalized *in, size_t at, const char *bytes, size_t size) {
    const size_t place = !in->ranges ? 0 : at < in->count ? in->begins[at] : at > 0 ? in->ends[at - 1] : 0;
    km_normalized_put(out, bytes, size, place, place);
}

void km_normalized_copy_bytes(km_normalized *out, const km_normalized *in, size_t from, size_t to) {
    for (size_t i = from; i < to; i++) {
        char bytes[4];
        const size_t size = km_utf8_put(bytes, km_byte_char((uint8_t)in->text[i]));
        km_normalized_put(out, bytes, size, km_source_begin(in, i), km_source_end(in, i + 1));
    }
}

void km_normalized_replace(km_normalized *text, km_normalized *out) {
    km_normalized_free(text);
    *text = *out;
    *out = (km_normalized){0};
}

uint64_t km_normalized_fill(km_normalized *out, const char *text, size_t from, size_t to) {
    const char *at = text + from, *end = text + to, *run = at; /* bytes from `run` on are copied together */
    uint64_t invalid = 0;
    make_room(out, to - from);
    while (at < end) {
        const char *start = at;
        const bool valid = (uint8_t)*at < 0x80 ? (at++, true) : km_utf8_next(&at, end) >= 0;
        if (valid && !out->ranges) {
            continue;
        }
        km_normalized_put(out, run, (size_t)(start - run), 0, 0);
        km_normalized_put(out, valid ? start : "\xEF\xBF\xBD", valid ? (size_t)(at - start) : 3,
                          (size_t)(start - text), (size_t)(at - text));
        invalid += !valid;
        run = at;
    }
    km_normalized_put(out, run, (size_t)(end - run), 0, 0);
    return invalid;
}
