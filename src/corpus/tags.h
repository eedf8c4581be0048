/* tags: the names of tags, such as parts of speech. Records give a tag for ranges of their text; a corpus has one number a token. */
#ifndef KMASK_CORPUS_TAGS_H
#define KMASK_CORPUS_TAGS_H

#include "kmask/base.h"
#include "kmask/comm.h"

/* A corpus stores a tag in one byte, and 0 is no tag. */
enum { KM_MOST_TAGS = 255, KM_TAG_BYTES = 63 };

/* Different names, numbered from 1. Zero-initialize; free with km_tag_names_free. */
typedef struct km_tag_names {
    char **names; /* (count) name of tag 1, 2, ... */
    int count;
} km_tag_names;
void km_tag_names_free(km_tag_names *names);

/* The number of a name, which is added where it is new; 0 where it is empty or longer than KM_TAG_BYTES; -1 where it would be one
 * more than KM_MOST_TAGS. */
int km_tag_number(km_tag_names *names, const char *name);

/* The names of all ranks, in the order of their bytes, so that numbers follow from the text alone. number[i] is the new number of
 * this rank's tag i. More than KM_MOST_TAGS names are KM_FAILED. Collective. */
km_status km_tag_names_join(km_comm *comm, const km_tag_names *mine, km_tag_names *all,
                            uint8_t number[KM_MOST_TAGS + 1]) KM_NODISCARD;

/* The names as a JSON array; the caller frees. */
char *km_tag_names_print(const km_tag_names *names);
/* Reads what km_tag_names_print wrote. False where the text is something else. */
bool km_tag_names_parse(km_tag_names *out, const char *text);

#endif
