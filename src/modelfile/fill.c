/* fill: the most probable tokens for blanks in a text. */
#include "fill.h"

#include <stdlib.h>
#include <string.h>

/* Replaces each "<mask>" and "[MASK]" in the text by the mask token of the tokenizer, so that either can be written. The caller
 * frees. */
static char *with_own_mask(const km_tokenizer *tokenizer, const char *text) {
    static const char *const blanks[] = {"<mask>", "[MASK]"};
    const char *own = km_tokenizer_piece(tokenizer, km_tokenizer_specials(tokenizer).mask);
    km_buffer out = {0};
    km_buffer_add(&out, "", 0);
    while (*text != '\0') {
        size_t found = 0;
        for (size_t i = 0; i < KM_COUNT(blanks); i++) {
            if (strncmp(text, blanks[i], strlen(blanks[i])) == 0) {
                found = strlen(blanks[i]);
            }
        }
        km_buffer_add(&out, found > 0 ? own : text, found > 0 ? strlen(own) : 1);
        text += found > 0 ? found : 1;
    }
    return out.data;
}

static km_status encode(km_sentence *s, const km_bundle *bundle, km_ids *ids) {
    const km_tokenizer *tokenizer = bundle->tokenizer;
    km_specials special = km_tokenizer_specials(tokenizer);
    km_encode(tokenizer, s->text, strlen(s->text), true, ids, NULL);
    int64_t room = km_model_longest(km_model_shape(bundle->model));
    if ((int64_t)ids->count + 2 > room) {
        return km_fail(KM_USAGE, "the text has %zu tokens, the model takes %lld. Shorten it.", ids->count,
                       (long long)room - 2);
    }
    for (size_t i = 0; i < ids->count; i++) {
        s->blanks += ids->ids[i] == special.mask;
    }
    if (s->blanks == 0) {
        return km_fail(KM_USAGE,
                       "the text has no blank. Write [MASK] (or <mask>) where a word is to be filled in.");
    }
    return KM_OK;
}

static void make_batch(km_sentence *s, const km_tokenizer *tokenizer, const km_ids *text) {
    km_specials special = km_tokenizer_specials(tokenizer);
    int tokens = (int)text->count + 2;
    s->ids = km_new((size_t)tokens, sizeof *s->ids);
    s->keys = km_new((size_t)tokens, sizeof *s->keys);
    s->at = km_new((size_t)s->blanks, sizeof *s->at);
    s->labels = km_new((size_t)s->blanks, sizeof *s->labels);
    s->ids[0] = special.cls;
    memcpy(s->ids + 1, text->ids, text->count * sizeof *s->ids);
    s->ids[tokens - 1] = special.sep;
    int found = 0;
    for (int i = 0; i < tokens; i++) {
        s->keys[i] = (uint64_t)i;
        if (s->ids[i] == special.mask) {
            s->at[found++] = i;
        }
    }
    s->starts[1] = tokens;
    s->batch = (km_batch){.views = 1,
                          .input.tokens = tokens,
                          .labelled = s->blanks,
                          .input.longest = tokens,
                          .input.starts = s->starts,
                          .input.ids = s->ids,
                          .at = s->at,
                          .labels = s->labels,
                          .input.keys = s->keys,
                          .rows = &s->row};
}

km_status km_sentence_make(km_sentence *out, const km_bundle *bundle, const char *text) {
    *out = (km_sentence){0};
    km_ids ids = {0};
    KM_TRY(km_tokenizer_can_mask(bundle->tokenizer, "the model's tokenizer"));
    out->text = with_own_mask(bundle->tokenizer, text);
    km_status status = encode(out, bundle, &ids);
    if (status == KM_OK) {
        make_batch(out, bundle->tokenizer, &ids);
    }
    km_ids_free(&ids);
    return status;
}

void km_sentence_free(km_sentence *s) {
    free(s->text);
    free(s->ids);
    free(s->keys);
    free(s->at);
    free(s->labels);
}

/* Finds the `top` largest probabilities of p (V); special tokens are left out. */
static void best(km_candidate *out, int top, const float *p, const km_tokenizer *tokenizer) {
    km_specials s = km_tokenizer_specials(tokenizer);
    int count = 0;
    for (int32_t id = 0; id < km_tokenizer_size(tokenizer); id++) {
        if (id == s.pad || id == s.unk || id == s.cls || id == s.sep || id == s.mask) {
            continue;
        }
        int place = count < top ? count++ : p[id] > out[top - 1].p ? top - 1 : -1;
        if (place < 0) {
            continue;
        }
        for (; place > 0 && out[place - 1].p < p[id]; place--) {
            out[place] = out[place - 1];
        }
        out[place] = (km_candidate){.id = id, .p = p[id]};
    }
}

static km_status predict(const km_bundle *bundle, const km_sentence *s, int top, km_candidate *candidates) {
    const km_work_options limits = {.limits.views = 1,
                                    .limits.tokens = s->batch.input.tokens,
                                    .limits.labelled = s->batch.labelled,
                                    .limits.longest = s->batch.input.longest};
    km_work *work = NULL;
    KM_TRY(km_work_create(&work, bundle->model, &limits));
    km_loss_sum loss;
    const float *p = NULL;
    km_model_forward(bundle->model, bundle->weights, &s->batch, work, &loss, &p);
    int64_t width = km_model_shape(bundle->model)->vocab_size;
    for (int i = 0; i < s->batch.labelled; i++) {
        best(candidates + (size_t)i * (size_t)top, top, p + (int64_t)i * width, bundle->tokenizer);
    }
    km_work_destroy(work);
    return KM_OK;
}

km_status km_fill_blanks(const km_bundle *bundle, const char *text, int top, km_candidate **candidates,
                         int *blanks) {
    *candidates = NULL;
    km_sentence s;
    km_stack_shape stack;
    if (km_model_stack(&stack, bundle->model, KM_DECODER)) {
        return km_fail(KM_USAGE, "an encoder-decoder answers with a text: it has no fillers for each blank.");
    }
    km_status status = km_sentence_make(&s, bundle, text);
    *blanks = s.blanks;
    if (status == KM_OK) {
        *candidates = km_new((size_t)s.blanks * (size_t)top, sizeof **candidates);
        status = predict(bundle, &s, top, *candidates);
    }
    if (status != KM_OK) {
        free(*candidates);
        *candidates = NULL;
    }
    km_sentence_free(&s);
    return status;
}
