/* Sources of generation: lines of text, or JSON objects a line each, as ids. */
#include "kmask/run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const size_t MOST_BYTES = (size_t)1 << 31;

/* What is known while a file is read. */
typedef struct reading {
    km_sources *out;
    const km_bundle *bundle;
    const char *path;
    bool truncate, json;
    km_ids ids; /* of the present line */
    int32_t cls, sep, pad;
    uint64_t room, ids_room; /* of out->starts and out->ids */
    uint64_t line;           /* from 1 */
} reading;

void km_sources_free(km_sources *sources) {
    free(sources->starts);
    free(sources->ids);
    *sources = (km_sources){0};
}

/* ---- The text --------------------------------------------------------------------------------------------------- */

static km_status read_input(km_buffer *out) {
    char piece[1 << 16];
    km_buffer_add(out, "", 0);
    for (;;) {
        ssize_t count = read(STDIN_FILENO, piece, sizeof piece);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return km_fail_errno(errno, "standard input");
        }
        if (count == 0) {
            return KM_OK;
        }
        km_buffer_add(out, piece, (size_t)count);
        if (out->size > MOST_BYTES) {
            return km_fail(KM_FAILED, "standard input has more than 2 GiB of sources. Give them in several parts.");
        }
    }
}

static const char *name_of(const char *path) {
    return strcmp(path, "-") == 0 ? "standard input" : path;
}

static km_status read_text(km_buffer *out, const char *path) {
    if (strcmp(path, "-") == 0) {
        return read_input(out);
    }
    KM_TRY(km_file_read(&out->data, &out->size, path, MOST_BYTES));
    out->capacity = out->size;
    return KM_OK;
}

static bool ends_with(const char *text, const char *end) {
    const size_t count = strlen(text), other = strlen(end);
    return count >= other && strcmp(text + count - other, end) == 0;
}

/* Whether the first line is a JSON object with one of the keys. */
static bool looks_like_json(const char *text, size_t count) {
    const char *stop = memchr(text, '\n', count);
    const size_t first = stop == NULL ? count : (size_t)(stop - text);
    km_json *json = NULL;
    if (first == 0 || text[strspn(text, " \t")] != '{' || km_json_parse_record(&json, text, first, "") != KM_OK) {
        return false;
    }
    const bool has = km_json_get(json, "source") != NULL || km_json_get(json, "input_ids") != NULL;
    km_json_destroy(json);
    return has;
}

static bool is_json(const char *path, const char *text, size_t count) {
    return ends_with(path, ".jsonl") || ends_with(path, ".ndjson") || ends_with(path, ".json") ||
           looks_like_json(text, count);
}

/* ---- One source ------------------------------------------------------------------------------------------------- */

static void append(reading *r, const int32_t *ids, size_t count) {
    km_sources *out = r->out;
    const uint64_t begin = out->starts[out->count], end = begin + count;
    if (out->count + 2 > r->room) {
        r->room = 2 * r->room + 64;
        out->starts = km_grow(out->starts, r->room, sizeof *out->starts);
    }
    if (end > r->ids_room) {
        r->ids_room = 2 * end + 1024;
        out->ids = km_grow(out->ids, r->ids_room, sizeof *out->ids);
    }
    memcpy(out->ids + begin, ids, count * sizeof *ids);
    out->starts[++out->count] = end;
}

/* The whole source: cut, or refused, where it is too long. */
static km_status take_ids(reading *r, int32_t *ids, size_t count) {
    const size_t most = (size_t)km_model_longest(&r->bundle->shape);
    if (count > most && !r->truncate) {
        return km_fail(KM_FAILED,
                       "%s, line %llu: the source has %zu tokens, and the model has positions for %zu. Shorten it, "
                       "or give --truncate, which cuts it.",
                       name_of(r->path), (unsigned long long)r->line, count, most);
    }
    if (count > most) {
        ids[most - 1] = ids[count - 1];
        count = most;
    }
    append(r, ids, count);
    return KM_OK;
}

static void push(km_ids *ids, int32_t id) {
    if (ids->count == ids->capacity) {
        ids->capacity = 2 * ids->capacity + 64;
        ids->ids = km_grow(ids->ids, ids->capacity, sizeof *ids->ids);
        ids->starts_word = km_grow(ids->starts_word, ids->capacity, sizeof *ids->starts_word);
    }
    ids->starts_word[ids->count] = 0;
    ids->ids[ids->count++] = id;
}

static km_status take_text(reading *r, const char *text, size_t count) {
    r->ids.count = 0;
    push(&r->ids, r->cls);
    km_encode(r->bundle->tokenizer, text, count, true, &r->ids, NULL);
    push(&r->ids, r->sep);
    return take_ids(r, r->ids.ids, r->ids.count);
}

static km_status not_ids(const reading *r, const char *found) {
    return km_fail(KM_FAILED, "%s, line %llu: input_ids %s; expected a list of ids from 0 to %lld.",
                   name_of(r->path), (unsigned long long)r->line, found,
                   (long long)r->bundle->shape.vocab_size - 1);
}

static km_status take_list(reading *r, const km_json *list) {
    bool seen = false;
    if (!km_json_is_array(list)) {
        return not_ids(r, "is no list");
    }
    r->ids.count = 0;
    for (const km_json *item = km_json_first(list); item != NULL; item = km_json_next(item)) {
        double id = 0;
        if (!km_json_number(&id, item) || id < 0 || id >= (double)r->bundle->shape.vocab_size ||
            id > (double)(int32_t)id) {
            return not_ids(r, "has something else in it");
        }
        push(&r->ids, (int32_t)id);
        seen = seen || (int32_t)id != r->pad;
    }
    if (!seen) {
        return not_ids(r, r->ids.count == 0 ? "is empty" : "has nothing but pad tokens");
    }
    return take_ids(r, r->ids.ids, r->ids.count);
}

static km_status take_object(reading *r, const char *text, size_t count) {
    km_json *json = NULL;
    char *origin = km_format("%s, line %llu", name_of(r->path), (unsigned long long)r->line);
    km_status status = km_json_parse_record(&json, text, count, origin);
    if (status == KM_OK) {
        const km_json *list = km_json_get(json, "input_ids");
        const char *source = km_json_string(km_json_get(json, "source"));
        if (list != NULL) {
            status = take_list(r, list);
        } else if (source != NULL) {
            status = take_text(r, source, strlen(source));
        } else {
            status = km_fail(KM_FAILED,
                             "%s: found neither \"source\" nor \"input_ids\"; expected an object such as "
                             "{\"source\": \"a text\"}.",
                             origin);
        }
    }
    km_json_destroy(json);
    free(origin);
    return status;
}

/* ---- All of them ------------------------------------------------------------------------------------------------ */

static km_status take_line(reading *r, const char *text, size_t count) {
    count -= count > 0 && text[count - 1] == '\r';
    if (!r->json) {
        return take_text(r, text, count);
    }
    size_t blank = 0;
    while (blank < count && (text[blank] == ' ' || text[blank] == '\t')) {
        blank++;
    }
    return blank == count ? KM_OK : take_object(r, text, count);
}

static km_status take_lines(reading *r, const char *text, size_t count) {
    for (const char *at = text, *end = text + count; at < end;) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        stop = stop == NULL ? end : stop;
        r->line++;
        KM_TRY(take_line(r, at, (size_t)(stop - at)));
        at = stop + (stop < end);
    }
    return KM_OK;
}

static km_status take_specials(reading *r) {
    const km_specials special = km_tokenizer_specials(r->bundle->tokenizer);
    r->cls = special.cls;
    r->sep = special.sep;
    r->pad = (int32_t)r->bundle->shape.pad_token_id;
    if (r->cls < 0 || r->sep < 0) {
        return km_fail(
            KM_FAILED,
            "the model's tokenizer has no <s> or no </s>, which begin and end a source. Import the model "
            "with its own tokenizer.");
    }
    return KM_OK;
}

km_status km_sources_read(km_sources *out, const km_bundle *bundle, const char *path, bool truncate) {
    reading r = {.out = out, .bundle = bundle, .path = path, .truncate = truncate, .room = 64};
    km_buffer text = {0};
    *out = (km_sources){.starts = km_new(64, sizeof *out->starts)};
    km_status status = take_specials(&r);
    status = status == KM_OK ? read_text(&text, path) : status;
    if (status == KM_OK) {
        r.json = is_json(path, text.data, text.size);
        status = take_lines(&r, text.data, text.size);
    }
    km_ids_free(&r.ids);
    km_buffer_free(&text);
    return status;
}
