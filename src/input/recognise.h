/* recognise: what a stream without containers is: its encoding, and the form of its lines. */
#ifndef KMASK_INPUT_RECOGNISE_H
#define KMASK_INPUT_RECOGNISE_H

#include "bytes.h"

/* Refuses what is no text; puts a conversion above *stream where it is not UTF-8 (*stream stays valid also after errors); finds the
 * form. `name` is that of the file or entry. */
km_status km_recognise_text(km_bytes **stream, km_form *form, const km_input_options *options) KM_NODISCARD;

#endif
