/* preset: the columns, labels and metrics of published tasks. */
#ifndef KMASK_TASK_PRESET_H
#define KMASK_TASK_PRESET_H

#include "kmask/task.h"

const char *km_preset_names(void); /* "cola|sst2|..." */
/* Fills in what the preset says and the config does not, and finds its files where a folder is given. KM_USAGE. */
km_status km_preset_apply(km_task_config *config) KM_NODISCARD;
/* The columns of one split's file as the config, or its preset, has them. */
km_columns km_task_columns(const km_task_config *config, int split);

#endif
