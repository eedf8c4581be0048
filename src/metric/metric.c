/* metric: the list of metrics, and their names. */
#include "kmask/metric.h"

#include <string.h>

static const struct {
    const char *name;
    km_metric_of kind;
} metrics[KM_METRICS] = {
    [KM_METRIC_ACCURACY] = {"accuracy", KM_METRIC_OF_CLASSES},
    [KM_METRIC_F1] = {"f1", KM_METRIC_OF_CLASSES},
    [KM_METRIC_F1_MACRO] = {"f1_macro", KM_METRIC_OF_CLASSES},
    [KM_METRIC_F1_MICRO] = {"f1_micro", KM_METRIC_OF_CLASSES},
    [KM_METRIC_MATTHEWS] = {"matthews", KM_METRIC_OF_CLASSES},
    [KM_METRIC_PEARSON] = {"pearson", KM_METRIC_OF_NUMBERS},
    [KM_METRIC_SPEARMAN] = {"spearman", KM_METRIC_OF_NUMBERS},
    [KM_METRIC_EM] = {"em", KM_METRIC_OF_ANSWERS},
    [KM_METRIC_F1_TOKEN] = {"f1_token", KM_METRIC_OF_ANSWERS},
    [KM_METRIC_ROUGE_L] = {"rouge_l", KM_METRIC_OF_ANSWERS},
    [KM_METRIC_CHOICE] = {"choice", KM_METRIC_OF_ANSWERS},
    [KM_METRIC_EM_REGEX] = {"em_regex", KM_METRIC_OF_ANSWERS},
    [KM_METRIC_HAS_ANSWER] = {"has_answer", KM_METRIC_OF_ANSWERS},
};

const char *km_metric_name(km_metric metric) {
    return metrics[metric].name;
}

km_metric_of km_metric_kind(km_metric metric) {
    return metrics[metric].kind;
}

bool km_metric_named(km_metric *out, const char *name) {
    for (int i = 0; i < KM_METRICS; i++) {
        if (strcmp(metrics[i].name, name) == 0) {
            *out = (km_metric)i;
            return true;
        }
    }
    return false;
}

const char *km_metric_names(void) {
    return "accuracy|f1|f1_macro|f1_micro|matthews|pearson|spearman|em|f1_token|rouge_l|choice|em_regex|has_answer";
}
