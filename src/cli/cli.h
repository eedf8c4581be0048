/* cli: one cmd_<verb>.c for each verb; verbs.c has the list of verbs; main.c finds the verb and turns its status into one
 * sentence on standard error and the exit status. */
#ifndef KMASK_CLI_H
#define KMASK_CLI_H

#include "kmask/base.h"
#include "kmask/comm.h"

typedef struct cli_verb {
    const char *name;
    const char *arguments; /* "CONFIG.json [--set section.key=value ...]" */
    const char *summary;   /* one line */
    const char
        *help; /* usage, what it does, an example; the keys of a config are added where `schema` is this verb's */
    /* argv[0] is the verb; --help was not asked for. A command parses its options with cli_parse, prints results to standard output,
     * talks to standard error (km_log), and returns a status, of which main prints the message. */
    km_status (*run)(int argc, char **argv);
    bool computes; /* it makes matrix products: OpenBLAS's kernel for this CPU is chosen before it starts */
    const km_schema *schema; /* the config that it reads, or of which --set takes keys; NULL: none */
} cli_verb;

extern const cli_verb cmd_tokenizer, cmd_corpus, cmd_pretrain, cmd_doctor, cmd_plan, cmd_eval, cmd_fill, cmd_score,
    cmd_probe, cmd_variance, cmd_bench, cmd_import, cmd_export, cmd_inspect, cmd_report, cmd_manual;
/* All of them, NULL at the end (verbs.c). */
extern const cli_verb *const cli_verbs[];

const cli_verb *cli_verb_named(const char *name); /* NULL when there is none */
/* The schemas that verbs explain, each once, NULL at the end. */
const km_schema *const *cli_schemas(void);

/* What an exit status means; the last one has no meaning. */
typedef struct cli_exit {
    int status;
    const char *meaning;
} cli_exit;
extern const cli_exit cli_exits[];
extern const char cli_examples[]; /* from text to a model, a command a line */

void cli_help(FILE *stream);                            /* of the program */
void cli_help_verb(const cli_verb *verb, FILE *stream); /* with the keys of its config */

/* Options of a command, walked by one parser: unknown options name the nearest known one (KM_USAGE). */
typedef enum cli_kind { CLI_FLAG, CLI_TEXT, CLI_INTEGER, CLI_NUMBER, CLI_LIST } cli_kind;
typedef struct cli_list {
    char **items;
    int count;
} cli_list;
typedef struct cli_option {
    const char *name; /* without dashes */
    cli_kind kind;
    void *out;           /* bool *, const char **, int64_t *, double *, cli_list * (repeatable) */
    double low, high;    /* range of integers and numbers, both included; low == high: no limits */
    const char *choices; /* of texts: "wordpiece|bpe"; NULL: any */
} cli_option;
/* Takes options from argv (also --name=value, and anywhere between arguments; "--" ends them); what remains, the
 * positional arguments, is moved to argv[1..] and counted in *argc. */
km_status cli_parse(int *argc, char **argv, const cli_option *options, int count) KM_NODISCARD;
/* A config file (NULL: none) and --set; sections of all other verbs may be in the file. */
km_config_source cli_config_source(const char *path, const cli_list *set);
/* The names that an option of a config may have, for an option of the command line. */
const char *cli_choices(const km_section *section, const char *name);
/* Ends a command that opened ranks: prints the message of a failure, closes, returns `status`. Collective. */
km_status cli_close(km_comm *comm, km_status status);
/* True when argv has --help or -h before any "--". */
bool cli_wants_help(int argc, char **argv);
/* Prints the lists of a km_import's account. */
void cli_print_import(const km_json *account);
/* Prints a JSON document and a newline to standard output; destroys it. */
void cli_print_json(km_json *json);

#endif
