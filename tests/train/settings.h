/* settings: all that a step depends on, from JSON. */
#ifndef KMASK_TESTS_TRAIN_SETTINGS_H
#define KMASK_TESTS_TRAIN_SETTINGS_H

#include "kmask/train.h"

typedef struct settings {
    km_model_config model;
    km_mask_config mask;
    km_trainer_options trainer;
} settings;

/* The sections model, mask, train, optimizer, schedule and parallel; the seed is 5. */
static inline km_status settings_read(settings *out, const char *json) {
    static const km_part parts[] = {{&km_model_section, offsetof(settings, model)},
                                    {&km_mask_section, offsetof(settings, mask)},
                                    {&km_train_section, offsetof(settings, trainer.train)},
                                    {&km_optimizer_section, offsetof(settings, trainer.optimizer)},
                                    {&km_schedule_section, offsetof(settings, trainer.schedule)},
                                    {&km_parallel_section, offsetof(settings, trainer.parallel)}};
    static const km_schema schema = {
        .verb = "test", .size = sizeof(settings), .parts = parts, .count = KM_COUNT(parts)};
    KM_TRY(km_schema_parse(&schema, out, json, "test"));
    KM_TRY(km_schema_fill(&schema, out));
    km_model_resolve(&out->model);
    out->trainer.seed = 5;
    return KM_OK;
}

#endif
