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

/* The lists of rows whose number and lengths other fields must have. */
typedef struct row_list {
    const char *key;
    const km_json *rows;
    int length; /* of the longest row */
} row_list;

typedef struct reader {
    const char *path;
    const km_json *json;
    const km_model *model;
    bool two;                    /* an encoder-decoder */
    bool classifier, regression; /* regression: a classifier with one label */
    row_list source, target;
    km_probe_input *input;
} reader;

/* ---- Shape ---- */

static km_status check_keys(const km_json *json, bool two, const char *path) {
    static const char *const one_stream[] = {"input_ids", "attention_mask", "token_type_ids", "labels", NULL};
    static const char *const two_streams[] = {"input_ids", "attention_mask", "labels", "decoder_input_ids", NULL};
    const char *const *known = two ? two_streams : one_stream;
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
static km_status measure(const reader *in, row_list *list, int *rows_out) {
    const int64_t longest = km_model_longest(km_model_shape(in->model));
    int64_t rows = 0, length = 0;
    KM_TRY(check_list(list->rows, list->key, in->path));
    for (const km_json *row = km_json_first(list->rows); row != NULL; row = km_json_next(row), rows++) {
        int64_t tokens = (int64_t)km_json_size(row);
        if (tokens < 1 || tokens > longest) {
            return km_fail(KM_FAILED, "%s: %s: row %lld has %lld tokens, expected 1 to the model's %lld", in->path,
                           list->key, (long long)rows, (long long)tokens, (long long)longest);
        }
        length = KM_MAX(length, tokens);
    }
    if (rows < 1 || rows > MOST_ROWS || rows * length > MOST_POSITIONS) {
        return km_fail(KM_FAILED, "%s: %s: %lld rows of up to %lld tokens, expected 1 to %d rows and %d positions",
                       in->path, list->key, (long long)rows, (long long)length, (int)MOST_ROWS,
                       (int)MOST_POSITIONS);
    }
    list->length = (int)length;
    *rows_out = (int)rows;
    return KM_OK;
}

static const km_json *given(const reader *in, const char *key) {
    const km_json *value = km_json_get(in->json, key);
    return km_json_is_null(value) ? NULL : value;
}

/* The target's rows are those of the labels, or of the decoder's input; without either of both the source is also the target, as
 * HuggingFace transformers has it. */
static km_status measure_target(reader *in) {
    static const char *const keys[] = {"labels", "decoder_input_ids"};
    int rows = 0;
    in->target = in->source;
    for (size_t i = 0; in->two && i < KM_COUNT(keys) && in->target.rows == in->source.rows; i++) {
        if (given(in, keys[i]) != NULL) {
            in->target = (row_list){.key = keys[i], .rows = given(in, keys[i])};
            KM_TRY(measure(in, &in->target, &rows));
            if (rows != in->input->rows) {
                return km_fail(KM_FAILED, "%s: %s: %d rows where input_ids has %d", in->path, keys[i], rows,
                               in->input->rows);
            }
        }
    }
    in->input->length = in->source.length;
    in->input->target = in->target.length;
    return KM_OK;
}

static void place(const reader *in, km_arena *arena) {
    km_probe_input *input = in->input;
    const bool two = in->two;
    const size_t count = (size_t)input->rows * (size_t)input->length;
    const size_t target = (size_t)input->rows * (size_t)(in->classifier ? 1 : input->target);
    input->ids = km_arena_take(arena, count, sizeof *input->ids);
    input->types = two ? NULL : km_arena_take(arena, count, sizeof *input->types);
    input->labels = km_arena_take(arena, target, sizeof *input->labels);
    input->numbers = in->regression ? km_arena_take(arena, target, sizeof *input->numbers) : NULL;
    input->decoder = two ? km_arena_take(arena, target, sizeof *input->decoder) : NULL;
    input->seen = km_arena_take(arena, count, sizeof *input->seen);
}

static km_status allocate(const reader *in) {
    km_probe_input *input = in->input;
    km_arena arena = {0};
    place(in, &arena);
    KM_TRY(km_allocate(&input->block, arena.used, "the probe's input"));
    arena = (km_arena){.base = input->block, .capacity = arena.used};
    place(in, &arena);
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

/* Copies the rows of a field's values to `to` (B, list->length), which holds the values for padding before. Each row must be as
 * long as its row of the list. */
static km_status take_rows(const reader *in, const field *f, const row_list *list, const km_json *rows,
                           int32_t *to) {
    const km_json *row = km_json_first(rows), *like = km_json_first(list->rows);
    KM_TRY(check_list(rows, f->key, in->path));
    if (km_json_size(rows) != (size_t)in->input->rows) {
        return km_fail(KM_FAILED, "%s: %s: %zu rows where %s has %d", in->path, f->key, km_json_size(rows),
                       list->key, in->input->rows);
    }
    for (int b = 0; row != NULL; b++, row = km_json_next(row), like = km_json_next(like)) {
        if (km_json_size(row) != km_json_size(like)) {
            return km_fail(KM_FAILED, "%s: %s: row %d has %zu numbers where %s has %zu", in->path, f->key, b,
                           km_json_size(row), list->key, km_json_size(like));
        }
        int t = 0;
        for (const km_json *item = km_json_first(row); item != NULL; item = km_json_next(item), t++) {
            KM_TRY(take_value(in, f, item, b, t, &to[(size_t)b * (size_t)list->length + (size_t)t]));
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
static km_status take_field(const reader *in, const field *f, const row_list *list, int32_t standard, int32_t *to) {
    const km_json *rows = given(in, f->key);
    fill(to, (size_t)in->input->rows * (size_t)list->length, standard);
    return rows == NULL ? KM_OK : take_rows(in, f, list, rows, to);
}

/* Sets the attention mask to 1 at the tokens of each row and 0 behind them, and then to what the file says. `numbers` (B,T) is
 * scratch memory. */
static km_status take_mask(const reader *in, int32_t *numbers) {
    const field mask = {"attention_mask", "a number", 0, 1, 0};
    km_probe_input *input = in->input;
    const size_t T = (size_t)input->length;
    KM_TRY(take_field(in, &mask, &in->source, 1, numbers));
    size_t b = 0;
    for (const km_json *row = km_json_first(in->source.rows); row != NULL; row = km_json_next(row), b++) {
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

/* A classifier's label of a row: a number, or a list of one. */
static km_status take_class(const reader *in, const field *f, const km_json *item, int row) {
    km_probe_input *input = in->input;
    double value = NAN;
    const bool in_list = km_json_is_array(item) && km_json_size(item) == 1;
    const km_json *label = in_list ? km_json_first(item) : item;
    if (!in->regression) {
        KM_TRY(take_value(in, f, label, row, 0, &input->labels[row]));
        input->labelled += input->labels[row] != KM_NO_LABEL;
        return KM_OK;
    }
    if (!km_json_number(&value, label) || !isfinite((float)value)) {
        return km_fail(KM_FAILED, "%s: labels: row %d: expected a number for each row", in->path, row);
    }
    input->numbers[row] = (float)value;
    input->labels[row] = 0;
    input->labelled++;
    return KM_OK;
}

static km_status take_classes(const reader *in) {
    const int32_t last = (int32_t)km_model_shape(in->model)->num_labels - 1;
    const field classes = {"labels", "a class", 0, last, KM_NO_LABEL};
    const km_json *rows = given(in, "labels");
    int row = 0;
    fill(in->input->labels, (size_t)in->input->rows, KM_NO_LABEL);
    if (rows == NULL) {
        return KM_OK;
    }
    if (!km_json_is_array(rows) || km_json_size(rows) != (size_t)in->input->rows) {
        return km_fail(KM_FAILED, "%s: labels: expected a list with one %s for each of the %d rows of input_ids",
                       in->path, in->regression ? "number" : "class", in->input->rows);
    }
    for (const km_json *item = km_json_first(rows); item != NULL; item = km_json_next(item)) {
        KM_TRY(take_class(in, &classes, item, row++));
    }
    return KM_OK;
}

/* The decoder reads the target shifted right, behind the token that it starts with (transformers' shift_tokens_right). */
static void shift_right(const reader *in, const int32_t *target, int32_t pad) {
    const km_probe_input *input = in->input;
    for (int b = 0; b < input->rows; b++) {
        const size_t row = (size_t)b * (size_t)input->target;
        input->decoder[row] = (int32_t)km_model_shape(in->model)->decoder_start_token_id;
        for (size_t t = 1; t < (size_t)input->target; t++) {
            const int32_t id = target[row + t - 1];
            input->decoder[row + t] = id == KM_NO_LABEL ? pad : id;
        }
    }
}

static km_status take_decoder(const reader *in, const field *ids, int32_t pad) {
    const field decoder = {"decoder_input_ids", ids->what, ids->least, ids->most, ids->also};
    if (given(in, decoder.key) != NULL) {
        return take_field(in, &decoder, &in->target, pad, in->input->decoder);
    }
    shift_right(in, in->target.rows == in->source.rows ? in->input->ids : in->input->labels, pad);
    return KM_OK;
}

static km_status take_labels(const reader *in, int32_t last) {
    const field labels = {"labels", "an id", 0, last, KM_NO_LABEL};
    km_probe_input *input = in->input;
    KM_TRY(take_field(in, &labels, &in->target, KM_NO_LABEL, input->labels));
    for (size_t i = 0; i < (size_t)input->rows * (size_t)input->target; i++) {
        input->labelled += input->labels[i] != KM_NO_LABEL;
    }
    return KM_OK;
}

static km_status take_all(const reader *in) {
    const km_model_config *shape = km_model_shape(in->model);
    const int32_t last = (int32_t)shape->vocab_size - 1;
    const field ids = {"input_ids", "an id", 0, last, 0};
    const field types = {"token_type_ids", "a type", 0, (int32_t)shape->type_vocab_size - 1, 0};
    km_probe_input *input = in->input;
    const int32_t pad = shape->pad_token_id >= 0 ? (int32_t)shape->pad_token_id : 0;
    KM_TRY(take_mask(in, input->ids));
    KM_TRY(take_field(in, &ids, &in->source, pad, input->ids));
    KM_TRY(in->two ? KM_OK : take_field(in, &types, &in->source, 0, input->types));
    KM_TRY(in->classifier ? take_classes(in) : take_labels(in, last));
    return in->two ? take_decoder(in, &ids, pad) : KM_OK;
}

static km_status take(reader *in) {
    KM_TRY(check_keys(in->json, in->two, in->path));
    in->source = (row_list){.key = "input_ids", .rows = km_json_get(in->json, "input_ids")};
    KM_TRY(measure(in, &in->source, &in->input->rows));
    KM_TRY(measure_target(in));
    KM_TRY(allocate(in));
    return take_all(in);
}

km_status km_probe_input_read(km_probe_input *out, const char *path, const km_model *model) {
    *out = (km_probe_input){0};
    km_stack_shape stack;
    km_json *json = NULL;
    KM_TRY(km_json_load(&json, path, MOST_BYTES));
    reader in = {.path = path, .json = json, .model = model, .input = out};
    in.two = km_model_stack(&stack, model, KM_DECODER);
    in.classifier = out->classifier = km_model_head(model) == KM_HEAD_CLASSES;
    in.regression = in.classifier && km_model_shape(model)->num_labels == 1;
    km_status status = take(&in);
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
