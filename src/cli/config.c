/* config: what all verbs with a config have in common. */
#include "cli.h"
#include "kmask/run.h"
#include "kmask/study.h"

km_config_source cli_config_source(const char *path, const cli_list *set) {
    static const km_schema *const all[] = {&km_config_schema, &km_variance_schema, NULL};
    return (km_config_source){.path = path, .set_count = set->count, .set = set->items, .others = all};
}
