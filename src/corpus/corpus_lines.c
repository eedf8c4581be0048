/* The lines of texts, for who wants no corpus: a tokenizer is trained on what a corpus would be made of. */
#include <stdlib.h>

#include "corpus_read.h"

km_input_options km_input_options_of(const km_corpus_options *options) {
    return (km_input_options){
        .form = options->form, .encoding = options->encoding, .invalid = options->invalid, .field = options->field};
}

static km_status read_pieces(km_reading *reading, const km_inputs *inputs) {
    size_t count = 0;
    km_input_piece *pieces = km_inputs_cut(inputs, 0, &count);
    uint64_t total = 0;
    bool known = true;
    for (size_t i = 0; i < inputs->count; i++) {
        total += inputs->files[i].size;
        known = known && !inputs->files[i].pipe;
    }
    reading->progress = known ? km_progress_create("reading", 0, total) : NULL;
    km_status status = KM_OK;
    for (size_t i = 0; i < count && status == KM_OK; i++) {
        status = km_reading_piece(reading, &pieces[i]);
    }
    km_progress_clear(reading->progress);
    km_progress_destroy(reading->progress);
    free(pieces);
    return status;
}

/* What is wrong with some of the text is a warning; with all or much of it, an error. */
static km_status judge(const km_reading *reading) {
    size_t file = 0;
    bool refused = false;
    if (reading->counts != NULL && km_reading_judge(reading, reading->counts, &file, &refused)) {
        km_status status = km_reading_tell_invalid(reading, reading->counts, file, refused);
        if (refused) {
            return status;
        }
        km_warn("%s", km_message());
    }
    if (reading->bad_records > 0) {
        (void)!km_reading_complain(reading);
        km_warn("%llu records are left out; the first: %s", (unsigned long long)reading->bad_records, km_message());
    }
    return KM_OK;
}

km_status km_corpus_each_line(const km_corpus_options *options, km_text_taker take, void *context,
                              km_corpus_report *report) {
    km_inputs inputs = {0};
    km_reading reading = {.inputs = &inputs,
                          .input = km_input_options_of(options),
                          .document = options->document,
                          .field = options->field,
                          .spans = KM_SPANS_NONE,
                          .take = take,
                          .context = context};
    km_status status = km_inputs_find(&inputs, options->inputs, options->input_count, NULL, 0, &reading.input);
    status = status == KM_OK ? read_pieces(&reading, &inputs) : status;
    status = status == KM_OK ? km_reading_check_seen(&reading) : status;
    status = status == KM_OK ? judge(&reading) : status;
    *report = (km_corpus_report){.files = inputs.count,
                                 .bytes = reading.bytes,
                                 .cut_lines = reading.cut_lines,
                                 .bad_records = reading.bad_records,
                                 .skipped_lines = reading.skipped_lines};
    km_reading_end(&reading);
    km_inputs_free(&inputs);
    return status;
}
