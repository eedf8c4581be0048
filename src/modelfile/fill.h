/* fill: a text with blanks as a batch of one view. Private to src/modelfile; fill.c makes it, fill_text.c lets a decoder read it. */
#ifndef KMASK_MODELFILE_FILL_H
#define KMASK_MODELFILE_FILL_H

#include "kmask/modelfile.h"

/* The text between [CLS] and [SEP]. The blanks are its labelled positions. */
typedef struct km_sentence {
    km_batch batch;
    char *text; /* with blanks as the tokenizer writes them */
    int blanks;
    int32_t starts[2];
    int32_t *ids, *at, *labels;
    uint64_t *keys, row;
} km_sentence;

/* KM_USAGE where the text has no blank or is too long for the model. The caller frees, also after errors. */
km_status km_sentence_make(km_sentence *out, const km_bundle *bundle, const char *text) KM_NODISCARD;
void km_sentence_free(km_sentence *sentence);

#endif
