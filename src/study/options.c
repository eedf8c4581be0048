/* options: the section `variance` of a config, and the config of `kmask variance`, which has it beside the sections of a run. */
#include "kmask/study.h"

#include <string.h>

#define AT(member) offsetof(km_variance_config, member)
static const km_option variance_options[] = {
    {"model", KM_TEXT_LIST, AT(model), NULL, NULL, KM_ORIGIN,
     .help = "model files; fresh: the config's model (the default)"},
    {"rows", KM_NUMBER_LIST, AT(rows), "0..9007199254740992", NULL, KM_ORIGIN,
     .help = "rows from which mini-batches of train.sequences are drawn (default: those of the first step)"},
    {"params", KM_TEXT_LIST, AT(params), NULL, NULL, KM_ORIGIN,
     .help = "tensor names, with * and ?; or projections:N of all (default: all)"},
    {"policies", KM_TEXT_LIST, AT(policies), NULL, NULL, KM_ORIGIN, .help = "default: both",
     .choices = km_mask_policy_names},
    {"units", KM_TEXT_LIST, AT(units), NULL, NULL, KM_ORIGIN, .help = "default: mask.unit",
     .choices = km_unit_names},
    {"splits", KM_NUMBER_LIST, AT(splits), "1..1024", NULL, KM_ORIGIN,
     .help = "numbers of masks K (default: mask.splits)"},
    {"draws", KM_INT, AT(draws), "2..1000000", NULL, KM_ORIGIN,
     .help = "K-mask gradients, and pairs at each distance, of each row (default: 64)"},
    {"distances", KM_NUMBER_LIST, AT(distances), "0..131070", NULL, KM_ORIGIN,
     .help = "Hamming distances of mask pairs, even (default: nine from 0 to 2 tau)"},
    {"exhaustive", KM_FLAG, AT(exhaustive), NULL, "false", KM_ORIGIN,
     .help = "every mask instead of random ones, where they can be enumerated"},
    {"dropout", KM_FLAG, AT(dropout), NULL, "false", KM_ORIGIN, .help = "with the model's dropout"},
};
#undef AT
KM_SECTION(km_variance_section, "variance", km_variance_config, variance_options);

static const km_part part = {&km_variance_section, offsetof(km_variance_input, variance)};
const km_schema km_variance_schema = {
    .verb = "variance", .size = sizeof(km_variance_input), .parts = &part, .count = 1, .first = &km_config_schema};

/* Copies the first policy, unit and number of splits of the lists to the section `mask`, where such choices are checked
 * together. */
static void follow_lists(km_variance_input *in) {
    const km_variance_config *lists = &in->variance;
    if (lists->policies.count > 0) {
        snprintf(in->config.mask.policy, KM_WORD, "%s", km_texts_at(&lists->policies, 0));
    }
    if (lists->units.count > 0) {
        snprintf(in->config.mask.unit, KM_WORD, "%s", km_texts_at(&lists->units, 0));
    }
    if (lists->splits.count > 0) {
        in->config.mask.splits = lists->splits.list[0];
    }
}

static bool needs_model(const km_variance_config *variance) {
    bool fresh = variance->model.count == 0;
    for (int i = 0; i < variance->model.count; i++) {
        fresh = fresh || strcmp(km_texts_at(&variance->model, i), "fresh") == 0;
    }
    return fresh;
}

static km_status finish(km_variance_input *in) {
    static const char *const required[] = {"data.train", NULL};
    KM_TRY(km_schema_require(&km_variance_schema, in, required));
    if (needs_model(&in->variance)) {
        KM_TRY(km_model_config_check_given(&in->config.model));
    }
    KM_TRY(km_schema_fill(&km_variance_schema, in));
    follow_lists(in);
    return km_config_settle(&in->config);
}

km_status km_variance_load(km_variance_input *out, const km_config_source *source) {
    KM_TRY(km_schema_read(&km_variance_schema, out, source));
    km_status status = finish(out);
    return status == KM_OK || source->path == NULL ? status : km_context(status, "%s", source->path);
}
