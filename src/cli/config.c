/* config: finding a verb, the schemas of all verbs, where a verb's config comes from, and verbs of one config. */
#include "cli.h"
#include "kmask/run.h"

#include <stdlib.h>
#include <string.h>

const cli_verb *cli_verb_named(const char *name) {
    for (const cli_verb *const *verb = cli_verbs; *verb != NULL; verb++) {
        if (strcmp((*verb)->name, name) == 0) {
            return *verb;
        }
    }
    return NULL;
}

const km_schema *const *cli_schemas(void) {
    enum { MOST = 32 };
    static const km_schema *all[MOST + 1];
    int count = 0;
    for (const cli_verb *const *verb = cli_verbs; *verb != NULL && count < MOST; verb++) {
        const km_schema *schema = (*verb)->schema;
        if (schema != NULL && strcmp(schema->verb, (*verb)->name) == 0) {
            all[count++] = schema;
        }
    }
    all[count] = NULL;
    return all;
}

km_config_source cli_config_source(const char *path, const cli_list *set) {
    return (km_config_source){.path = path, .set_count = set->count, .set = set->items, .others = cli_schemas()};
}

const char *cli_choices(const km_section *section, const char *name) {
    return km_option_choices(km_section_option(section, name));
}

/* ---- Verbs of one config ---- */

km_status cli_check_config_argument(const char *verb, int argc, char **argv) {
    char *hint = NULL;
    for (int i = 1; i < argc && argc > 2 && hint == NULL;
         i++) { /* keys that were given without --set, or without = */
        hint = strchr(argv[i], '=') != NULL ? km_format("Did you mean --set %.200s?", argv[i]) : NULL;
    }
    if (hint == NULL) {
        hint = km_format("See `kmask %.*s --help`.", (int)strcspn(verb, " "), verb);
    }
    km_status status =
        argc == 2 ? KM_OK : km_fail(KM_USAGE, "%s takes one config file, found %d. %s", verb, argc - 1, hint);
    free(hint);
    return status;
}

static km_status load_and_run(km_comm *comm, const cli_config_job *job, void *input, const km_config_source *source,
                              bool json) {
    KM_TRY(km_comm_agree(comm, km_comm_rank(comm) == 0 ? job->load(input, source) : KM_OK));
    km_comm_broadcast(comm, input, job->size);
    return job->run(comm, input, json);
}

km_status cli_run_config(int argc, char **argv, const cli_config_job *job) {
    cli_list set = {0};
    bool json = false;
    const cli_option options[] = {{.name = "set", .kind = CLI_LIST, .out = &set},
                                  {.name = "json", .kind = CLI_FLAG, .out = &json}};
    KM_TRY(cli_parse(&argc, argv, options, KM_COUNT(options)));
    KM_TRY(cli_check_config_argument(job->verb, argc, argv));
    km_signals_catch();
    km_comm *comm = NULL;
    KM_TRY(km_comm_open(&comm, &argc, &argv));
    void *input = km_new(1, job->size);
    const km_config_source source = cli_config_source(argv[1], &set);
    km_status status = load_and_run(comm, job, input, &source, json);
    free(input);
    free(set.items);
    return cli_close(comm, status);
}

void cli_log_saved(const char *folder) {
    km_log("%s%s", folder != NULL ? "saved in " : "without run.dir or --out nothing is saved",
           folder != NULL ? folder : "");
}
