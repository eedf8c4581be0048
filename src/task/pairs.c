/* pairs: questions and answers become the tokens of sources and targets. */
#include "pairs.h"
#include "kmask/text.h"
#include "questions.h"

#include <stdlib.h>
#include <string.h>

/* All tokens so far, and room to encode in. */
typedef struct making {
    const km_bundle *bundle;
    const km_pairs_options *options;
    km_specials specials;
    km_ids text;  /* of the present text */
    int32_t *ids; /* of all pairs, source and target of each one after the other */
    size_t used, capacity;
} making;

static void encode(making *m, const char *text, size_t count) {
    km_encode(m->bundle->tokenizer, text, count, true, &m->text, NULL);
}

/* Appends tokens first to first+count-1 of the text, between those that begin and end a sequence; returns the tokens in all. */
static int append(making *m, size_t first, size_t count) {
    if (m->capacity - m->used < count + 2) {
        m->capacity = 2 * m->capacity + count + 1024;
        m->ids = km_grow(m->ids, m->capacity, sizeof *m->ids);
    }
    int32_t *to = m->ids + m->used;
    to[0] = m->specials.cls;
    if (count > 0) {
        memcpy(to + 1, m->text.ids + first, count * sizeof *to);
    }
    to[count + 1] = m->specials.sep;
    m->used += count + 2;
    return (int)count + 2;
}

/* Where the window of `room` tokens begins that has the marked mention and as much before it as behind it, as far as there is so
 * much. The text before the mention, and up to its end, are encoded alone to find its place; m->text is the whole text's. */
static size_t window_of(making *m, const char *text, size_t room) {
    const char *begins = strstr(text, KM_MENTION_BEGINS), *ends = strstr(text, KM_MENTION_ENDS);
    const size_t all = m->text.count;
    if (begins == NULL || ends == NULL || ends < begins) {
        return 0;
    }
    const char *behind = ends + sizeof KM_MENTION_ENDS - 1;
    const bool blank = begins > text && begins[-1] == ' '; /* it belongs to the mention's first token */
    encode(m, text, (size_t)(begins - text) - blank);
    const size_t first = m->text.count - all;
    m->text.count = all;
    encode(m, text, (size_t)(behind - text));
    const size_t last = m->text.count - all;
    m->text.count = all;
    const size_t middle = (first + KM_MIN(last, all)) / 2, from = middle > room / 2 ? middle - room / 2 : 0;
    return KM_MIN(from, all - room);
}

/* Appends a text, cut to `length` tokens in all. */
static int append_text(making *m, const char *text, int length, bool *cut) {
    m->text.count = 0;
    encode(m, text, strlen(text));
    const size_t room = (size_t)length - 2;
    *cut = *cut || m->text.count > room;
    return m->text.count > room ? append(m, window_of(m, text, room), room) : append(m, 0, m->text.count);
}

static void make_pair(making *m, km_pair *out, const km_record *record, bool *cut) {
    char *source = km_question_source(record, m->options->context, m->options->lower);
    char *target = record->label == NULL ? km_strdup("")
                   : m->options->lower   ? km_text_lower(record->label)
                                         : km_strdup(record->label);
    *out = (km_pair){0};
    out->length = append_text(m, source, m->options->length, cut);
    out->target_length = append_text(m, target, m->options->target_length, cut);
    free(source);
    free(target);
}

void km_pairs_make(km_examples *out, const km_bundle *bundle, const km_records *records,
                   const km_pairs_options *options) {
    making m = {.bundle = bundle, .options = options, .specials = km_tokenizer_specials(bundle->tokenizer)};
    *out = (km_examples){.count = records->count};
    out->pairs = km_new(records->count + 1, sizeof *out->pairs);
    for (size_t i = 0; i < records->count; i++) {
        bool cut = false;
        make_pair(&m, &out->pairs[i], &records->items[i], &cut);
        out->cut += cut;
    }
    out->ids = m.ids;
    out->tokens = m.used;
    const int32_t *ids = m.ids; /* which has moved while it grew */
    for (size_t i = 0; i < records->count; i++) {
        km_pair *pair = &out->pairs[i];
        pair->ids = ids;
        pair->target = ids + pair->length;
        ids += pair->length + pair->target_length;
    }
    km_ids_free(&m.text);
}
