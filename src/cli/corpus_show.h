/* corpus_show: `kmask corpus show`, and rows as text. */
#ifndef KMASK_CLI_CORPUS_SHOW_H
#define KMASK_CLI_CORPUS_SHOW_H

#include "kmask/data.h"

km_status cli_corpus_show(int argc, char **argv) KM_NODISCARD;
/* Prints decoded text in one line: at most `limit` bytes of it; 0: all. */
void cli_print_ids(const km_tokenizer *tokenizer, const int32_t *ids, int count, size_t limit);

#endif
