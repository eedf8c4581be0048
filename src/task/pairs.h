/* pairs: private to task. Questions and answers as an encoder-decoder reads them. */
#ifndef KMASK_TASK_PAIRS_H
#define KMASK_TASK_PAIRS_H

#include "kmask/task.h"

typedef struct km_pairs_options {
    int length, target_length; /* tokens of a source and of a target, at most */
    bool context;              /* the source has the question's context */
    bool lower;                /* both are in lower case */
} km_pairs_options;

/* Makes out->pairs of records: <s> source </s> and <s> target </s>, where the target is the first accepted answer; without one it is
 * empty. What is longer than the options allow is cut at its end and counted, a source with a marked mention
 * (KM_MENTION_BEGINS) on both sides of the mention. */
void km_pairs_make(km_examples *out, const km_bundle *bundle, const km_records *records,
                   const km_pairs_options *options);

#endif
