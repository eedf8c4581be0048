/* cmd_config: the value of one key of a config, for scripts. A script that looks for a key in a JSON file itself goes wrong at the
 * first escape, nested brace or --set. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

static const char help[] =
    "kmask config KEY CONFIG.json [--set section.key=value ...]\n"
    "\n"
    "Prints the value that a verb would use for one key: the file's, or that of --set, or the default. A text\n"
    "is printed as it is, anything else as JSON; a key without a value prints an empty line. The whole config\n"
    "is checked; keys that are required need not be there.\n"
    "\n"
    "  dir=$(kmask config run.dir config.json)\n"
    "  kmask config train.steps config.json --set train.steps=2000\n";

/* The first schema that has the key "section.name"; NULL where none has. */
static const km_schema *schema_of(const char *key) {
    for (const km_schema *const *schema = cli_schemas(); *schema != NULL; schema++) {
        km_field field;
        for (int i = 0; km_schema_field(&field, *schema, i); i++) {
            const size_t section = strlen(field.section->name);
            if (strncmp(key, field.section->name, section) == 0 && key[section] == '.' &&
                strcmp(key + section + 1, field.option->name) == 0) {
                return *schema;
            }
        }
    }
    return NULL;
}

static void print_value(const km_json *value) {
    const char *text = km_json_string(value);
    if (text != NULL) {
        puts(text);
    } else if (value == NULL || km_json_is_null(value)) {
        puts("");
    } else {
        char *json = km_json_print(value, false);
        puts(json);
        free(json);
    }
}

static km_status print_key(const km_schema *schema, const char *key, const km_config_source *source) {
    void *config = km_new(1, schema->size);
    km_json *json = NULL;
    km_status status = km_schema_read(schema, config, source);
    status = status == KM_OK ? km_schema_fill(schema, config) : status;
    if (status == KM_OK) {
        char *text = km_schema_print(schema, config), *section = km_format("%.*s", (int)strcspn(key, "."), key);
        status = km_json_parse(&json, text, strlen(text), "config");
        if (status == KM_OK) {
            print_value(km_json_get(km_json_get(json, section), key + strlen(section) + 1));
        }
        free(section);
        free(text);
    }
    km_json_destroy(json);
    free(config);
    return status;
}

static km_status command(int argc, char **argv) {
    cli_list set = {0};
    const cli_option options[] = {{.name = "set", .kind = CLI_LIST, .out = &set}};
    KM_TRY(cli_parse(&argc, argv, options, KM_COUNT(options)));
    if (argc != 3) {
        return km_fail(KM_USAGE, "config takes a key and a config file. See `kmask config --help`.");
    }
    const km_schema *schema = schema_of(argv[1]);
    const km_config_source source = cli_config_source(argv[2], &set);
    km_status status = schema != NULL
                           ? print_key(schema, argv[1], &source)
                           : km_fail(KM_USAGE, "%s: no verb has such a key; kmask-config(5) lists all", argv[1]);
    free(set.items);
    return status;
}

const cli_verb cmd_config = {.name = "config",
                             .arguments = "KEY CONFIG.json [--set section.key=value ...]",
                             .summary = "the value of a key of a config, for scripts",
                             .help = help,
                             .run = command};
