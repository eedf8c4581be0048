/* examples: triples of a task (context, source, target), as a policy is trained on them. */
#ifndef KMASK_POLICY_EXAMPLES_H
#define KMASK_POLICY_EXAMPLES_H

#include "kmask/input.h"
#include "kmask/policy.h"

/* Ids with <s> and </s> around them. */
typedef struct km_ids_view {
    const int32_t *ids;
    const uint8_t *starts_word; /* 1 where a word begins; <s> and </s>: 1 */
    size_t begin;               /* among the ids of all examples */
    int length;
} km_ids_view;

typedef struct km_triple {
    km_ids_view context, source, target;
    int first, last; /* the answer's tokens in the context, both included; supervised alone */
} km_triple;

typedef struct km_triples {
    km_triple *items;
    size_t count, capacity;
    int32_t *ids; /* of all */
    uint8_t *starts_word;
    size_t used, room;
    size_t without_answer; /* left out: the context does not have it, or not within its first tokens */
    size_t cut;            /* texts that were longer than `length` */
} km_triples;

typedef struct km_triples_options {
    const km_tokenizer *tokenizer;
    int length;         /* of a context, source or target */
    bool answers;       /* find the target in the context, and leave out what has none */
    double least, most; /* contexts whose hash, as a number from 0 to 1, is at least `least` and below `most` */
} km_triples_options;

/* Appends the examples of a JSONL file, an object {"context", "source", "target"} a line; target is a text or a list of accepted ones, of
 * which the first is taken, or where answers are to be found the first that the context has. KM_FAILED names file and line of what is
 * no such object. The caller frees, also after errors. */
km_status km_triples_read(km_triples *out, const char *path, const km_triples_options *options) KM_NODISCARD;
void km_triples_free(km_triples *triples);

/* The contexts of some examples as a stream, and their answers in it. */
typedef struct km_contexts {
    km_stream stream;
    int32_t *starts, *ids, *first, *last;
    uint8_t *starts_word;
    uint64_t *keys; /* of dropout */
    int views;
} km_contexts;
void km_contexts_reserve(km_contexts *out, int tokens, int views);
void km_contexts_free(km_contexts *contexts);
void km_contexts_clear(km_contexts *contexts);
/* `place`: of the example in the training; dropout is keyed by it. */
void km_contexts_add(km_contexts *contexts, const km_triple *triple, uint64_t place);

#endif
