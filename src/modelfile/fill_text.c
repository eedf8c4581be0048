/* fill_text: lets an encoder-decoder fill the blanks of a text, which it does by answering it. */
#include "fill.h"

#include <stdlib.h>
#include <string.h>

enum { BEAMS = 4, TOKENS_OF_A_BLANK = 16 };

/* Whether the model learned to answer with what was hidden, and not with the whole text: its run's mask.target. */
static bool answers_with_pieces(const km_bundle *bundle) {
    km_json *json = NULL;
    if (km_json_parse(&json, bundle->config, strlen(bundle->config), "config") != KM_OK) {
        return false;
    }
    const char *target = km_json_string(km_json_get(km_json_get(json, "mask"), "target"));
    const bool pieces = target != NULL && strcmp(target, "masked") == 0;
    km_json_destroy(json);
    return pieces;
}

/* Room for the text and for what its blanks may hold, as far as the model has positions. */
static km_generate_options options_of(const km_bundle *bundle, const km_sentence *s) {
    const int64_t positions = km_model_longest(&bundle->shape), vocabulary = bundle->shape.vocab_size;
    const int64_t longest = s->batch.input.tokens + 1 + TOKENS_OF_A_BLANK * (int64_t)s->blanks;
    km_generate_options options = {.beams = (int)KM_MAX(1, KM_MIN(BEAMS, vocabulary / 2)),
                                   .max_length = (int)KM_MAX(2, KM_MIN(longest, positions)),
                                   .length_penalty = 1};
    km_generate_take_tokens(&options, bundle);
    return options;
}

static km_status answer(km_filled *out, const km_bundle *bundle, const km_sentence *s) {
    const km_generate_options options = options_of(bundle, s);
    const km_batch_limits limits = {.views = 1, .tokens = s->batch.input.tokens, .longest = s->batch.input.longest};
    km_generator *generator = NULL;
    KM_TRY(km_generator_create(&generator, bundle->model, &options, &limits));
    const km_answers *answers = km_generator_run(generator, bundle->weights, &s->batch);
    out->count = answers->starts[1];
    out->score = answers->scores[0];
    out->ids = km_new((size_t)out->count, sizeof *out->ids);
    memcpy(out->ids, answers->ids, (size_t)out->count * sizeof *out->ids);
    out->answer = km_decode(bundle->tokenizer, out->ids, (size_t)out->count, true);
    km_generator_destroy(generator);
    return KM_OK;
}

/* The text with its one blank replaced by the answer. */
static char *put_in(const km_bundle *bundle, const km_sentence *s, const char *filler) {
    const char *mask = km_tokenizer_piece(bundle->tokenizer, km_tokenizer_specials(bundle->tokenizer).mask);
    const char *blank = strstr(s->text, mask);
    filler += strspn(filler, " ");
    return blank == NULL ? NULL
                         : km_format("%.*s%s%s", (int)(blank - s->text), s->text, filler, blank + strlen(mask));
}

km_status km_fill_text(km_filled *out, const km_bundle *bundle, const char *text) {
    *out = (km_filled){0};
    km_sentence s;
    km_status status = km_sentence_make(&s, bundle, text);
    status = status == KM_OK ? answer(out, bundle, &s) : status;
    if (status == KM_OK && !answers_with_pieces(bundle)) {
        out->text = km_strdup(out->answer);
    } else if (status == KM_OK && s.blanks == 1) {
        out->text = put_in(bundle, &s, out->answer);
    }
    km_sentence_free(&s);
    return status;
}

void km_filled_free(km_filled *filled) {
    free(filled->text);
    free(filled->answer);
    free(filled->ids);
    *filled = (km_filled){0};
}
