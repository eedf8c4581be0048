/* corpus_use: which runs use a corpus. Beside CORPUS.h5 lies CORPUS.h5.runs, in which every run notes its folder and the hash of the
 * content that it was started with, a JSON object a line. Local. */
#ifndef KMASK_CORPUS_USE_H
#define KMASK_CORPUS_USE_H

#include "kmask/base.h"

/* The folder of a run that uses the content which the corpus file at `path` has now, and that still exists; NULL where there is none. The
 * caller frees. */
char *km_corpus_user(const char *path);

#endif
