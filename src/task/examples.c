/* examples: texts and pairs of texts become tokens as transformers' tokenizers make them. */
#include "kmask/task.h"

#include <stdlib.h>
#include <string.h>

/* What stands around the tokens of a text or pair. */
typedef struct frame {
    int32_t cls, sep;
    int separators; /* between the texts of a pair */
    bool types;     /* the second text has token type 1 */
    int length;     /* most tokens of all */
} frame;

static frame frame_of(const km_bundle *bundle, int length) {
    const km_specials specials = km_tokenizer_specials(bundle->tokenizer);
    const km_interchange *files = km_architecture_files(km_model_architecture(bundle->model));
    return (frame){.cls = specials.cls,
                   .sep = specials.sep,
                   .separators = files->separators,
                   .types = files->separators == 1 && km_model_shape(bundle->model)->type_vocab_size > 1,
                   .length = length};
}

/* The tokenizers package's "longest first", in closed form: the longer of two texts is cut to the length of the shorter one at most,
 * then both in turn; where an odd number remains the longer one has one more, the second where they are equally long. */
static void truncate_pair(size_t *first, size_t *second, size_t room) {
    if (*first + *second <= room) {
        return;
    }
    size_t *shorter = *first <= *second ? first : second, *longer = *first <= *second ? second : first;
    const size_t rest = room - KM_MIN(*shorter, room);
    *longer = KM_MAX(*shorter, rest);
    if (*shorter + *longer > room) {
        *shorter = room / 2;
        *longer = room - *shorter;
    }
}

/* Both texts encoded, and how many tokens of each are taken. */
typedef struct encoded {
    km_ids first, second;
    size_t taken[2];
    bool pair, cut;
} encoded;

static void encode(encoded *e, const km_tokenizer *tokenizer, const km_record *record, const frame *f) {
    e->first.count = e->second.count = 0;
    e->pair = record->pair != NULL;
    km_encode(tokenizer, record->text, strlen(record->text), false, &e->first, NULL);
    if (e->pair) {
        km_encode(tokenizer, record->pair, strlen(record->pair), false, &e->second, NULL);
    }
    const size_t around = (size_t)(e->pair ? 2 + f->separators : 2);
    e->taken[0] = e->first.count;
    e->taken[1] = e->second.count;
    truncate_pair(&e->taken[0], &e->taken[1], (size_t)f->length - around);
    e->cut = e->taken[0] < e->first.count || e->taken[1] < e->second.count;
}

static void place(km_example *out, int32_t *ids, const encoded *e, const frame *f) {
    size_t at = 0;
    ids[at++] = f->cls;
    memcpy(ids + at, e->first.ids, e->taken[0] * sizeof *ids);
    at += e->taken[0];
    for (int i = 0; i < (e->pair ? f->separators : 1); i++) {
        ids[at++] = f->sep;
    }
    const size_t second = at;
    if (e->pair) {
        if (e->taken[1] > 0) {
            memcpy(ids + at, e->second.ids, e->taken[1] * sizeof *ids);
        }
        at += e->taken[1];
        ids[at++] = f->sep;
    }
    *out = (km_example){.length = (int)at, .second = (int)(e->pair && f->types ? second : at)};
}

void km_examples_make(km_examples *out, const km_bundle *bundle, const km_records *records, int length) {
    *out = (km_examples){.count = records->count};
    out->items = km_new(records->count, sizeof *out->items);
    const frame f = frame_of(bundle, length);
    encoded e = {0};
    size_t capacity = 0, used = 0;
    for (size_t i = 0; i < records->count; i++) {
        encode(&e, bundle->tokenizer, &records->items[i], &f);
        if (capacity - used < (size_t)length) {
            capacity = KM_MAX(2 * capacity, used + (size_t)length);
            out->ids = km_grow(out->ids, capacity, sizeof *out->ids);
        }
        place(&out->items[i], out->ids + used, &e, &f);
        used += (size_t)out->items[i].length;
        out->cut += e.cut;
    }
    out->tokens = used;
    const int32_t *ids = out->ids; /* which has moved while it grew */
    for (size_t i = 0; i < records->count; i++) {
        out->items[i].ids = ids;
        ids += out->items[i].length;
    }
    km_ids_free(&e.first);
    km_ids_free(&e.second);
}

void km_examples_free(km_examples *examples) {
    free(examples->items);
    free(examples->pairs);
    free(examples->ids);
    *examples = (km_examples){0};
}
