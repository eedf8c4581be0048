/* probe_input: reads the ids, masks and labels of `kmask probe` from a JSON file and checks them. */
#include "probe_input.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_ROWS = 1 << 20, MOST_POSITIONS = 1 << 28 };
#define MOST_BYTES ((size_t)1 << 30)

/* A key of the file, and which values it may hold. */
typedef struct field {
    const char *key, *what;
    int32_t least, most;
    int32_t also; /* a value outside of least..most that is allowed too */
} field;

typedef struct reader {
    const char *path;
    const km_json *ids;
    km_probe_input *input;
} reader;

/* ---- Shape ---- */

static km_status check_keys(const km_json *json, const char *path) {
    static const char *const known[] = {"input_ids", "attention_mask", "token_type_ids", "labels", NULL};
    if (!km_json_is_object(json)) {
        return km_fail(KM_FAILED, "%s: expected an object with `input_ids`, see `kmask probe --help`", path);
    }
    for (const km_json *member = km_json_first(json); member != NULL; member = km_json_next(member)) {
        const char *key = km_json_key(member);
        bool found = false;
        for (int i = 0; known[i] != NULL; i++) {
            found = found || strcmp(key, known[i]) == 0;
        }
        if (!found) {
            const char *near = km_nearest(key, known);
            return km_fail(KM_FAILED, "%s: %.200s: unknown key. %s%s", path, key,
                           near != NULL ? "Did you mean " : "See `kmask probe --help`.", near != NULL ? near : "");
        }
    }
    return KM_OK;
}

static km_status check_list(const km_json *rows, const char *key, const char *path) {
    if (!km_json_is_array(rows)) {
        return km_fail(KM_FAILED, "%s: %s: %s, expected a list of rows", path, key,
                       rows == NULL ? "missing" : "not a list");
    }
    int64_t number = 0;
    for (const km_json *row = km_json_first(rows); row != NULL; row = km_json_next(row), number++) {
        if (!km_json_is_array(row)) {
            return km_fail(KM_FAILED,
                           "%s: %s: row %lld is not a list; expected a list of rows, each a list of numbers", path,
                           key, (long long)number);
        }
    }
    return KM_OK;
}

/* Finds the number of rows and the length of the longest one, and checks them against the model. */
static km_status measure(reader *in, const km_model *model) {
    const int64_t longest = km_model_longest(km_model_shape(model));
    int64_t rows = 0, length = 0;
    for (const km_json *row = km_json_first(in->ids); row != NULL; row = km_json_next(row), rows++) {
        int64_t tokens = (int64_t)km_json_size(row);
        if (tokens < 1 || tokens > longest) {
            return km_fail(KM_FAILED, "%s: input_ids: row %lld has %lld tokens, expected 1 to the model's %lld",
                           in->path, (long long)rows, (long long)tokens, (long long)longest);
        }
        length = KM_MAX(length, tokens);
    }
    if (rows < 1 || rows > MOST_ROWS || rows * length > MOST_POSITIONS) {
        return km_fail(KM_FAILED,
                       "%s: input_ids: %lld rows of up to %lld tokens, expected 1 to %d rows and %d positions",
                       in->path, (long long)rows, (long long)length, (int)MOST_ROWS, (int)MOST_POSITIONS);
    }
    in->input->rows = (int)rows;
    in->input->length = (int)length;
    return KM_OK;
}

static void place(km_probe_input *input, km_arena *arena) {
    const size_t count = (size_t)input->rows * (size_t)input->length;
    input->ids = km_arena_take(arena, count, sizeof *input->ids);
    input->types = km_arena_take(arena, count, sizeof *input->types);
    input->labels = km_arena_take(arena, count, sizeof *input->labels);
    input->seen = km_arena_take(arena, count, sizeof *input->seen);
}

static km_status allocate(km_probe_input *input) {
    km_arena arena = {0};
    place(input, &arena);
    KM_TRY(km_allocate(&input->block, arena.used, "the probe's input"));
    arena = (km_arena){.base = input->block, .capacity = arena.used};
    place(input, &arena);
    return KM_OK;
}

/* ---- Values ---- */

static km_status take_value(const reader *in, const field *f, const km_json *item, int row, int column,
                            int32_t *out) {
    double value = NAN;
    bool whole = km_json_number(&value, item) && value == floor(value);
    if (whole && ((value >= f->least && value <= f->most) || value == f->also)) {
        *out = (int32_t)value;
        return KM_OK;
    }
    char found[32];
    snprintf(found, sizeof found, "%.10g", value);
    return km_fail(KM_FAILED, "%s: %s: row %d, position %d: found %s, expected %s from %d to %d%s", in->path,
                   f->key, row, column, isnan(value) ? "no number" : found, f->what, (int)f->least, (int)f->most,
                   f->also == KM_NO_LABEL ? ", or -100 for none" : "");
}

/* Copies the rows of a field's values to `to` (B,T), which holds the values for padding before. Each row must be as long as its
 * row of ids. */
static km_status take_rows(const reader *in, const field *f, const km_json *rows, int32_t *to) {
    const int T = in->input->length;
    const km_json *row = km_json_first(rows), *ids = km_json_first(in->ids);
    KM_TRY(check_list(rows, f->key, in->path));
    if (km_json_size(rows) != (size_t)in->input->rows) {
        return km_fail(KM_FAILED, "%s: %s: %zu rows where input_ids has %d", in->path, f->key, km_json_size(rows),
                       in->input->rows);
    }
    for (int b = 0; row != NULL; b++, row = km_json_next(row), ids = km_json_next(ids)) {
        if (km_json_size(row) != km_json_size(ids)) {
            return km_fail(KM_FAILED, "%s: %s: row %d has %zu numbers where input_ids has %zu", in->path, f->key, b,
                           km_json_size(row), km_json_size(ids));
        }
        int t = 0;
        for (const km_json *item = km_json_first(row); item != NULL; item = km_json_next(item), t++) {
            KM_TRY(take_value(in, f, item, b, t, &to[(size_t)b * (size_t)T + (size_t)t]));
        }
    }
    return KM_OK;
}

static void fill(int32_t *to, size_t count, int32_t value) {
    for (size_t i = 0; i < count; i++) {
        to[i] = value;
    }
}

/* Reads a field; all values are `standard` where the key is absent or null. */
static km_status take_field(const reader *in, const km_json *json, const field *f, int32_t standard, int32_t *to) {
    const km_json *rows = km_json_get(json, f->key);
    fill(to, (size_t)in->input->rows * (size_t)in->input->length, standard);
    return rows == NULL || km_json_is_null(rows) ? KM_OK : take_rows(in, f, rows, to);
}

/* Sets the attention mask to 1 at the tokens of each row and 0 behind them, and then to what the file says. `numbers` (B,T) is
 * scratch memory. */
static km_status take_mask(const reader *in, const km_json *json, int32_t *numbers) {
    const field mask = {"attention_mask", "a number", 0, 1, 0};
    km_probe_input *input = in->input;
    const size_t T = (size_t)input->length;
    KM_TRY(take_field(in, json, &mask, 1, numbers));
    size_t b = 0;
    for (const km_json *row = km_json_first(in->ids); row != NULL; row = km_json_next(row), b++) {
        const size_t tokens = km_json_size(row);
        for (size_t t = 0; t < T; t++) {
            input->seen[b * T + t] = t < tokens && numbers[b * T + t] == 1;
        }
        if (memchr(input->seen + b * T, 1, T) == NULL) {
            return km_fail(KM_FAILED, "%s: attention_mask: row %zu is all 0; expected a token to attend to",
                           in->path, b);
        }
    }
    return KM_OK;
}

static km_status take_all(reader *in, const km_json *json, const km_model *model) {
    const km_model_config *shape = km_model_shape(model);
    const int32_t last = (int32_t)shape->vocab_size - 1;
    const field ids = {"input_ids", "an id", 0, last, 0};
    const field types = {"token_type_ids", "a type", 0, (int32_t)shape->type_vocab_size - 1, 0};
    const field labels = {"labels", "an id", 0, last, KM_NO_LABEL};
    km_probe_input *input = in->input;
    const int32_t pad = shape->pad_token_id >= 0 ? (int32_t)shape->pad_token_id : 0;
    KM_TRY(take_mask(in, json, input->labels));
    KM_TRY(take_field(in, json, &ids, pad, input->ids));
    KM_TRY(take_field(in, json, &types, 0, input->types));
    KM_TRY(take_field(in, json, &labels, KM_NO_LABEL, input->labels));
    for (size_t i = 0; i < (size_t)input->rows * (size_t)input->length; i++) {
        input->labelled += input->labels[i] != KM_NO_LABEL;
    }
    return KM_OK;
}

static km_status take(reader *in, const km_json *json, const km_model *model) {
    KM_TRY(check_keys(json, in->path));
    in->ids = km_json_get(json, "input_ids");
    KM_TRY(check_list(in->ids, "input_ids", in->path));
    KM_TRY(measure(in, model));
    KM_TRY(allocate(in->input));
    return take_all(in, json, model);
}

km_status km_probe_input_read(km_probe_input *out, const char *path, const km_model *model) {
    *out = (km_probe_input){0};
    km_json *json = NULL;
    KM_TRY(km_json_load(&json, path, MOST_BYTES));
    reader in = {.path = path, .input = out};
    km_status status = take(&in, json, model);
    km_json_destroy(json);
    if (status != KM_OK) {
        km_probe_input_free(out);
    }
    return status;
}

void km_probe_input_free(km_probe_input *input) {
    free(input->block);
    *input = (km_probe_input){0};
}
