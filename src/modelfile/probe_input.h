/* probe_input: the ids, masks and labels that `kmask probe` reads from a JSON file, as rows of one length. Private to
 * src/modelfile. */
#ifndef KMASK_MODELFILE_PROBE_INPUT_H
#define KMASK_MODELFILE_PROBE_INPUT_H

#include "kmask/model.h"

enum { KM_NO_LABEL = -100 };

/* An encoder predicts at its own positions, and U is T; an encoder-decoder at those of the target. A classifier predicts one class, or
 * one number, of each row. */
typedef struct km_probe_input {
    int rows, length, target; /* B; T and U: of the longest row */
    bool classifier;
    int64_t labelled;     /* labels other than KM_NO_LABEL */
    int32_t *ids, *types; /* (B,T) types: NULL for an encoder-decoder */
    uint8_t *seen;        /* (B,T) the attention mask; 0 in the padding of a shorter row */
    int32_t *decoder;     /* (B,U) the decoder's input; NULL for an encoder */
    int32_t *labels;      /* (B,U); of a classifier (B) classes */
    float *numbers;       /* (B) of a classifier with one label; else NULL */
    void *block;          /* the allocation that holds all these arrays */
} km_probe_input;

/* Reads the file and checks it against the model; km_probe (kmask/modelfile.h) describes the format. After a failure `out` is
 * empty. The caller frees. */
km_status km_probe_input_read(km_probe_input *out, const char *path, const km_model *model) KM_NODISCARD;
void km_probe_input_free(km_probe_input *input);

#endif
