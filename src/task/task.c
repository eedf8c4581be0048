/* task: a task's data, read and checked, and shared out among the splits. */
#include "kind.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const km_split_names[KM_SPLITS] = {"train", "dev", "test", "matched"};

/* ---- Splits ---- */

static km_status read_splits(km_task *task, const km_task_config *config) {
    const char *const paths[] = {config->train, config->dev, config->test};
    for (int split = 0; split < (int)KM_COUNT(paths); split++) {
        if (paths[split][0] != '\0') {
            KM_TRY(task->kind->read(&task->records[split], config, split));
        }
    }
    return KM_OK;
}

/* Copies records number `from` to `to`-1 of a random order. */
static void pick(km_records *out, const km_record *items, size_t count, size_t from, size_t to, uint64_t seed) {
    out->items = km_new(KM_MAX(to - from, 1), sizeof *out->items);
    for (size_t i = from; i < to; i++) {
        out->items[out->count++] = items[km_order(i, count, seed, 0)];
    }
    out->capacity = out->count;
}

/* What dev and test take of train where they have no files, and how much of the rest is trained on. */
static km_status share_train(km_task *task, const km_task_config *config) {
    km_records *train = &task->records[KM_TRAIN];
    const size_t count = train->count;
    const double shares[KM_SPLITS] = {[KM_DEV] = config->dev[0] == '\0' ? config->dev_share : 0,
                                      [KM_TEST] = config->test[0] == '\0' ? config->test_share : 0,
                                      [KM_MATCHED] = config->matched_share};
    size_t from = 0;
    for (int split = KM_DEV; split < KM_SPLITS; split++) {
        if (shares[split] > 0) {
            const size_t number = (size_t)llrint(shares[split] * (double)count);
            pick(&task->records[split], train->items, count, from, from + number, (uint64_t)config->train_seed);
            from += number;
        }
    }
    const size_t rest = (size_t)llrint(config->train_share * (double)(count - from));
    if (rest == 0 || (shares[KM_DEV] > 0 && task->records[KM_DEV].count == 0)) {
        return km_fail(KM_FAILED, "%s: %zu examples are too few for task.train_share %g and dev_share %g.",
                       config->train, count, config->train_share, config->dev_share);
    }
    if (from > 0 || rest < count) {
        km_record *items = train->items;
        train->count = 0;
        pick(train, items, count, from, from + rest, (uint64_t)config->train_seed);
        free(items);
    }
    return KM_OK;
}

/* ---- Metrics ---- */

static km_status read_metrics(km_task *task, const km_task_config *config) {
    const km_task_kind *kind = task->kind;
    for (int i = 0; i < config->metrics.count; i++) {
        const char *name = km_texts_at(&config->metrics, i);
        km_metric metric;
        if (!km_metric_named(&metric, name) || km_metric_kind(metric) != kind->measures ||
            task->metric_count == KM_METRICS) {
            return km_fail(KM_USAGE, "task.metrics: found %s, expected metrics of %s: %s", name, kind->measured,
                           kind->fitting);
        }
        task->metrics[task->metric_count++] = metric;
    }
    return KM_OK;
}

/* ---- All of it ---- */

km_status km_task_open(km_task *task, const km_task_config *config) {
    *task = (km_task){.kind = km_task_kind_named(config->kind)};
    KM_TRY(read_metrics(task, config));
    KM_TRY(read_splits(task, config));
    KM_TRY(share_train(task, config));
    return task->kind->label(task, config);
}

void km_task_free(km_task *task) {
    for (int i = 0; task->labels != NULL && i < task->label_count; i++) {
        free(task->labels[i]);
    }
    free(task->labels);
    for (int split = 0; split < KM_SPLITS; split++) {
        km_records_free(&task->records[split]);
        free(task->classes[split]);
        free(task->values[split]);
    }
    *task = (km_task){0};
}
