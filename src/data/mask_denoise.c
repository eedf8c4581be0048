/* BART's noise (M. Lewis et al., "BART: denoising sequence-to-sequence pre-training", ACL 2020), by the rules of fairseq's denoising
 * task: the sentences are permuted, then spans of words with lengths by Poisson's law are hidden, each shown as one <mask>; a span
 * of length 0 is a <mask> that is inserted; then more <mask>s may be inserted, and the row may be rotated.
 *
 * Exactly ceil(ratio * n) of the row's n words are hidden: spans do not overlap, and the last is cut to what is left. With K masks each
 * hides so many words of its own, at most floor(n / K). All arrangements of the masks' spans among the words that no mask hides are
 * equally likely. The K masks share the order of sentences, because their spans are runs of words in that order. Sentences end where
 * the corpus says, and stay between the [SEP]s of their own document. */
#include "mask.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_LENGTHS = 512 };

/* Lengths 0, 1, 2, ... of spans. */
typedef struct lengths {
    double up_to[MOST_LENGTHS]; /* the chance of a length up to this one, times a constant */
    int count;
} lengths;

/* An element of a view: what is shown as one token, or inserted. */
typedef struct element {
    int begin, end; /* tokens of the permuted row; begin KM_INSERTED: none */
} element;

typedef struct denoiser {
    km_masker masker;
    lengths lengths;
    km_row permuted; /* the row with its sentences in the order in which they are shown; of its arrays it has two */
    int *positions;  /* (length) of its tokens in the row */
    int *sentences;  /* (length) the row's sentences in that order */
    km_units *units; /* of the permuted row */
    /* What is arranged: spans of all masks, and words that no mask hides. */
    int count;
    int *sizes, *masks;          /* (length) words of each; whose it is, -1: nobody's. One block of memory. */
    int *inserted;               /* (K) spans of length 0 */
    element *elements, *another; /* (longest shown) */
} denoiser;

/* ---- Sizes ---- */

static const double rounding = 1e-9; /* 0.1 * 30 is a little above 3 */

static int budget(const km_mask_spec *spec, int units) {
    const int share = units / spec->splits;
    return spec->ratio == 0 ? share : KM_MIN((int)ceil(spec->ratio * units - rounding), share);
}

static int most_hidden(const km_mask_spec *spec, int tokens) {
    return km_most_hidden(spec, tokens, budget);
}

/* Spans of length 0 make no view longer than `length`. */
static int longest_shown(const km_mask_spec *spec, int length) {
    return length + (int)ceil(spec->insert * length);
}

/* All tokens, hidden ones too, and what is inserted. */
static int longest_order(const km_mask_spec *spec, int length) {
    return length + longest_shown(spec, length);
}

static km_status check(const km_mask_spec *spec) {
    if (spec->unit == KM_UNIT_SPAN) {
        return km_fail(
            KM_USAGE, "mask.unit: found span, but mask.policy denoise makes spans by itself, of words or subwords. "
                      "Take one of these.");
    }
    if (!(spec->poisson_lambda > 0)) {
        return km_fail(KM_USAGE, "mask.poisson_lambda: found %g, expected a number above 0", spec->poisson_lambda);
    }
    return km_mask_disjoint_check(spec);
}

/* ---- Lengths ---- */

/* Proportional to lambda^k / k!, until nothing is left that counts. */
static void make_lengths(lengths *out, double lambda) {
    double weight = 1, sum = 0;
    for (out->count = 0; out->count < MOST_LENGTHS; out->count++) {
        sum += weight;
        out->up_to[out->count] = sum;
        if (out->count > lambda && weight < 1e-7 * sum) {
            out->count++;
            break;
        }
        weight *= lambda / (out->count + 1);
    }
}

static int draw_length(const lengths *from, km_rng *rng) {
    const double ticket = km_rng_unit(rng) * from->up_to[from->count - 1];
    int length = 0;
    while (length < from->count - 1 && ticket >= from->up_to[length]) {
        length++;
    }
    return length;
}

/* ---- The order of sentences ---- */

static void shuffle(int *list, int count, km_rng *rng) {
    for (int i = 0; i + 1 < count; i++) {
        const int j = i + (int)km_rng_below(rng, (uint32_t)(count - i)), item = list[j];
        list[j] = list[i];
        list[i] = item;
    }
}

/* ceil(share * count) of the sentences, chosen at random, change places among each other. `list` holds their numbers; scratch has
 * room for 2 * count. */
static void permute(int *list, int count, double share, int *scratch, km_rng *rng) {
    const int moved = (int)ceil(share * count - rounding);
    int *places = scratch, *numbers = scratch + count;
    for (int i = 0; i < count; i++) {
        places[i] = i;
    }
    shuffle(places, count, rng);
    for (int i = 0; i < moved; i++) {
        numbers[i] = list[places[i]];
    }
    shuffle(numbers, moved, rng);
    for (int i = 0; i < moved; i++) {
        list[places[i]] = numbers[i];
    }
}

/* Sentences of one document follow each other without a gap. */
static int document_end(const km_row *row, int first) {
    int end = first + 1;
    while (end < row->sentence_count && row->sentences[end].start == row->sentences[end - 1].end) {
        end++;
    }
    return end;
}

static void order_sentences(denoiser *self, const km_row *row, km_rng *rng) {
    for (int i = 0; i < row->sentence_count; i++) {
        self->sentences[i] = i;
    }
    for (int first = 0, end = 0; first < row->sentence_count; first = end) {
        end = document_end(row, first);
        if (end - first > 1 && self->masker.spec.permute_sentences > 0) {
            int *scratch = self->sizes; /* and masks behind it: they are not needed yet */
            permute(self->sentences + first, end - first, self->masker.spec.permute_sentences, scratch, rng);
        }
    }
}

static void put(denoiser *self, const km_row *row, int position, bool begins) {
    km_row *to = &self->permuted;
    self->positions[to->length] = position;
    to->starts_word[to->length] = begins || row->starts_word[position];
    to->maskable[to->length++] = row->maskable[position];
}

/* Tokens outside of sentences ([CLS], [SEP]) keep their places. */
static void permute_row(denoiser *self, const km_row *row) {
    self->permuted.length = 0;
    int next = 0;
    for (int i = 0; i < row->sentence_count; i++) {
        while (next < row->sentences[i].start) {
            put(self, row, next++, true);
        }
        const km_row_sentence *sentence = &row->sentences[self->sentences[i]];
        for (int p = sentence->start; p < sentence->end; p++) {
            put(self, row, p, p == sentence->start);
        }
        next = row->sentences[i].end;
    }
    while (next < row->length) {
        put(self, row, next++, true);
    }
}

/* ---- Spans ---- */

static void add_item(denoiser *self, int size, int mask) {
    self->sizes[self->count] = size;
    self->masks[self->count++] = mask;
}

/* Spans of one mask that hide `units` together. */
static void draw_spans(denoiser *self, int mask, int units, km_rng *rng) {
    self->inserted[mask] = 0;
    while (units > 0) {
        const int drawn = draw_length(&self->lengths, rng), length = KM_MIN(drawn, units);
        if (length > 0) {
            add_item(self, length, mask);
        } else {
            self->inserted[mask]++;
        }
        units -= length;
    }
}

static void arrange(denoiser *self, km_rng *rng) {
    for (int i = 0; i + 1 < self->count; i++) {
        const int j = i + (int)km_rng_below(rng, (uint32_t)(self->count - i));
        const int size = self->sizes[j], mask = self->masks[j];
        self->sizes[j] = self->sizes[i];
        self->masks[j] = self->masks[i];
        self->sizes[i] = size;
        self->masks[i] = mask;
    }
}

static void draw_items(denoiser *self, int tau, km_rng *rng) {
    const int splits = self->masker.spec.splits;
    self->count = 0;
    for (int k = 0; k < splits; k++) {
        draw_spans(self, k, tau, rng);
    }
    for (int i = splits * tau; i < self->units->count; i++) {
        add_item(self, 1, -1);
    }
    arrange(self, rng);
}

/* Units first..first+size-1 become one piece. */
static void hide(denoiser *self, int first, int size, uint8_t *mask) {
    for (int u = first; u < first + size; u++) {
        const km_range range = self->units->ranges[u];
        for (int p = range.begin; p < range.end; p++) {
            mask[self->positions[p]] = KM_HIDDEN;
        }
    }
    mask[self->positions[self->units->ranges[first].begin]] = KM_PIECE;
}

static void hide_all(denoiser *self, km_masks *out) {
    for (int i = 0, unit = 0; i < self->count; i++) {
        if (self->masks[i] >= 0) {
            hide(self, unit, self->sizes[i], out->masks + (size_t)self->masks[i] * (size_t)out->stride);
        }
        unit += self->sizes[i];
    }
}

/* ---- What a view shows ---- */

/* A hidden token that goes on with a piece belongs to the element before. */
static int list_elements(denoiser *self, const uint8_t *mask) {
    int count = 0;
    for (int p = 0; p < self->permuted.length; p++) {
        const bool goes_on =
            p > 0 && mask[self->positions[p]] == KM_HIDDEN && mask[self->positions[p - 1]] != KM_SEEN;
        if (goes_on) {
            self->elements[count - 1].end = p + 1;
        } else {
            self->elements[count++] = (element){p, p + 1};
        }
    }
    return count;
}

/* Inserts `more` <mask>s: of all places but the first and the last, each set of so many is equally likely. */
static int insert(denoiser *self, int count, int more, km_rng *rng) {
    element *from = self->elements, *to = self->another;
    int left = more, taken = 0;
    to[0] = from[taken++];
    for (int i = 1; i < count + more - 1; i++) {
        const int places = count + more - 1 - i;
        const bool here = left > 0 && (int)km_rng_below(rng, (uint32_t)places) < left;
        to[i] = here ? (element){KM_INSERTED, KM_INSERTED} : from[taken++];
        left -= here;
    }
    to[count + more - 1] = from[taken];
    self->elements = to;
    self->another = from;
    return count + more;
}

/* Begins at another element; the first and the last stay. */
static void rotate(denoiser *self, int count, km_rng *rng) {
    const int inner = count - 2;
    if (inner < 2) {
        return;
    }
    const int offset = (int)km_rng_below(rng, (uint32_t)inner);
    for (int i = 0; i < inner; i++) {
        self->another[1 + i] = self->elements[1 + (i + offset) % inner];
    }
    memcpy(self->elements + 1, self->another + 1, (size_t)inner * sizeof *self->elements);
}

static void write_order(denoiser *self, int count, int32_t *order, int *entries) {
    *entries = 0;
    for (int i = 0; i < count; i++) {
        const element *e = &self->elements[i];
        if (e->begin == KM_INSERTED) {
            order[(*entries)++] = KM_INSERTED;
        }
        for (int p = e->begin; e->begin != KM_INSERTED && p < e->end; p++) {
            order[(*entries)++] = self->positions[p];
        }
    }
}

static void make_order(denoiser *self, int k, km_masks *out, km_rng *rng) {
    const km_mask_spec *spec = &self->masker.spec;
    int count = list_elements(self, out->masks + (size_t)k * (size_t)out->stride);
    const int room = KM_MIN(self->inserted[k], self->masker.length - count);
    if (room > 0) {
        count = insert(self, count, room, rng);
    }
    const int more = (int)ceil(spec->insert * count - rounding);
    if (more > 0) {
        count = insert(self, count, more, rng);
    }
    if (spec->rotate > 0 && km_rng_unit(rng) < spec->rotate) {
        rotate(self, count, rng);
    }
    write_order(self, count, out->orders + (size_t)k * (size_t)out->order_stride, &out->counts[k]);
}

/* ---- The policy ---- */

static km_status draw(km_masker *masker, const km_row *row, const km_mask_visit *visit, km_masks *out) {
    denoiser *self = (denoiser *)masker;
    const km_mask_spec *spec = &masker->spec;
    km_rng rng = km_visit_rng(visit, row->number);
    assert(row->length <= masker->length);
    order_sentences(self, row, &rng);
    permute_row(self, row);
    km_units_find(self->units, &self->permuted, spec->unit);
    KM_TRY(km_mask_units_check(spec, row, spec->unit, self->units->count));
    out->units = self->units->count;
    out->tau = budget(spec, self->units->count);
    draw_items(self, out->tau, &rng);
    hide_all(self, out);
    for (int k = 0; k < spec->splits; k++) {
        make_order(self, k, out, &rng);
    }
    return KM_OK;
}

static km_status create(km_masker **out, const km_mask_spec *spec, const km_corpus *corpus, int length) {
    (void)corpus;
    const size_t tokens = (size_t)length, shown = (size_t)longest_shown(spec, length);
    denoiser *self = km_new(1, sizeof *self);
    make_lengths(&self->lengths, spec->poisson_lambda);
    self->permuted.starts_word = km_new(tokens, 1);
    self->permuted.maskable = km_new(tokens, 1);
    self->positions = km_new(tokens, sizeof(int));
    self->sentences = km_new(tokens, sizeof(int));
    self->units = km_units_create(length);
    self->sizes = km_new(2 * tokens, sizeof(int));
    self->masks = self->sizes + tokens;
    self->inserted = km_new((size_t)spec->splits, sizeof(int));
    self->elements = km_new(shown, sizeof(element));
    self->another = km_new(shown, sizeof(element));
    *out = &self->masker;
    return KM_OK;
}

static void destroy(km_masker *masker) {
    denoiser *self = (denoiser *)masker;
    free(self->permuted.starts_word);
    free(self->permuted.maskable);
    free(self->positions);
    free(self->sentences);
    km_units_destroy(self->units);
    free(self->sizes);
    free(self->inserted);
    free(self->elements);
    free(self->another);
    free(self);
}

const km_mask_policy km_mask_denoise = {.name = "denoise",
                                        .help = "BART's noise: spans of words, inserted masks, permuted sentences",
                                        .unit = KM_UNIT_WORD,
                                        .splits = 1,
                                        .ratio = 0.3,
                                        .disjoint = true,
                                        .needs_sentences = true,
                                        .needs_merge = true,
                                        .check = check,
                                        .most_hidden = most_hidden,
                                        .longest_shown = longest_shown,
                                        .longest_order = longest_order,
                                        .create = create,
                                        .draw = draw,
                                        .destroy = destroy};
