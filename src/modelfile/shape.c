/* shape: the section `model` of the config that a file holds. */
#include "shape.h"

#include <stdlib.h>
#include <string.h>

static const km_part part = {&km_model_section, 0};
static const km_schema schema = {.verb = "pretrain", .size = sizeof(km_model_config), .parts = &part, .count = 1};

km_status km_shape_parse(km_model_config *out, const char *json, int64_t length, const char *origin) {
    KM_TRY(km_schema_parse(&schema, out, json, origin));
    KM_TRY(km_schema_fill(&schema, out));
    km_model_resolve(out);
    return km_model_config_check(out, length) == KM_OK ? KM_OK : km_context(KM_USAGE, "%s", origin);
}

char *km_shape_print(const km_model_config *shape, int64_t length) {
    char *text = km_schema_print(&schema, shape), *whole = NULL;
    km_json *json = NULL, *data = km_json_object();
    km_json_set_number(data, "length", (double)length);
    if (km_json_parse(&json, text, strlen(text), "config") == KM_OK) {
        km_json_set(json, "data", data);
        whole = km_json_print(json, true);
    }
    km_json_destroy(json);
    free(text);
    return whole;
}
