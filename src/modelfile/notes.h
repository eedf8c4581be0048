/* notes: private to modelfile. What a model's file says beside its weights (km_bundle.source). */
#ifndef KMASK_MODELFILE_NOTES_H
#define KMASK_MODELFILE_NOTES_H

#include "kmask/modelfile.h"

/* bundle->source without one of its keys; NULL where there is none. The caller frees. */
char *km_notes_without(const km_bundle *bundle, const char *key);

#endif
