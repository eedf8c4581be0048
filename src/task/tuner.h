/* tuner: private to task. A model at work on a task: opened, with its examples, and asked for predictions. */
#ifndef KMASK_TASK_TUNER_H
#define KMASK_TASK_TUNER_H

#include "kind.h"

/* Opens a model for the task and makes the examples of all splits. `seed`: of what is fresh in the head. Local. */
km_status km_tuner_open(km_tuner *out, km_comm *comm, const km_task *task, const km_finetune_input *input,
                        const char *init, uint64_t seed) KM_NODISCARD;
void km_tuner_close(km_tuner *tuner);
/* The outputs of the model with these weights for a split, the caller's also after a failure. The same bits on any number of ranks. The
 * bundle's own weights may be other ones after it. Collective. */
km_status km_tuner_predict(const km_tuner *tuner, const float *weights, int split, km_outputs *out) KM_NODISCARD;
/* {"<metric>": value, ...} of a split. */
km_json *km_tuner_scores(const km_tuner *tuner, int split, const km_outputs *outputs);

void km_outputs_free(km_outputs *outputs);

/* For the kinds: all shares of dropout of the tuner's model become this one. */
km_status km_tuner_set_dropout(km_tuner *tuner, km_head_kind head, double share) KM_NODISCARD;
/* For the kinds: predicts classes or numbers, outputs->values (count, label_count). */
km_status km_tuner_predict_values(const km_tuner *tuner, const float *weights, int split,
                                  km_outputs *out) KM_NODISCARD;

#endif
