/* cli: the command line. Each verb has a file cmd_<verb>.c; verbs.c lists the verbs; main.c finds the verb that is asked for,
 * and turns its status into one sentence on standard error and the exit status. */
#ifndef KMASK_CLI_H
#define KMASK_CLI_H

#include "kmask/base.h"
#include "kmask/comm.h"
#include "kmask/corpus.h"

typedef struct cli_verb {
    const char *name;
    const char *arguments; /* "CONFIG.json [--set section.key=value ...]" */
    const char *summary;   /* one line */
    const char
        *also; /* "a|b": what other programs call it, for the answer to a verb that is not there; may be NULL */
    /* Usage, what the verb does, and an example. Where schema->verb is this verb, --help adds the keys of the config. */
    const char *help;
    /* Runs the verb; argv[0] is its name. Where --help is given, it is not called. A command parses its options with cli_parse,
     * prints results to standard output, logs to standard error (km_log), and returns a status, whose message main prints. */
    km_status (*run)(int argc, char **argv);
    bool computes; /* it makes products: before it starts, OpenBLAS gets the kernel for this CPU, and one thread */
    const km_schema *schema; /* of the config that it reads, or whose keys --set takes; NULL: none */
} cli_verb;

extern const cli_verb cmd_tokenizer, cmd_corpus, cmd_pretrain, cmd_doctor, cmd_plan, cmd_eval, cmd_fill,
    cmd_generate, cmd_score, cmd_finetune, cmd_predict, cmd_compare, cmd_probe, cmd_variance, cmd_masks, cmd_bench,
    cmd_import, cmd_export, cmd_inspect, cmd_report, cmd_manual, cmd_policy, cmd_config;
/* All verbs, NULL at the end (verbs.c). */
extern const cli_verb *const cli_verbs[];

const cli_verb *cli_verb_named(const char *name); /* NULL when there is none */
/* The schemas of all verbs, each once, NULL at the end. */
const km_schema *const *cli_schemas(void);

/* What an exit status means. In the last element of cli_exits `meaning` is NULL. */
typedef struct cli_exit {
    int status;
    const char *meaning;
} cli_exit;
extern const cli_exit cli_exits[];
extern const char cli_examples[]; /* the commands that lead from text to a model, one a line */

void cli_help(FILE *stream);                            /* prints the help of the program */
void cli_help_verb(const cli_verb *verb, FILE *stream); /* prints the help of a verb, with the keys of its config */

/* An option of a command line, such as --steps. cli_parse reads all of them; for an unknown option its message (KM_USAGE) names the
 * nearest known one. */
typedef enum cli_kind { CLI_FLAG, CLI_TEXT, CLI_INTEGER, CLI_NUMBER, CLI_LIST } cli_kind;
typedef struct cli_list {
    char **items;
    int count;
} cli_list;
typedef struct cli_option {
    const char *name; /* without dashes */
    cli_kind kind;
    void *out; /* where the value goes: bool *, const char **, int64_t *, double *, cli_list * (may be repeated) */
    double low, high;    /* range of integers and numbers, both included; low == high: no limits */
    const char *choices; /* the texts that are allowed: "wordpiece|bpe"; NULL: any text */
} cli_option;
/* Reads the options in argv and removes them. They may be written --name=value, and may stand anywhere between arguments; "--" ends
 * them. The positional arguments that remain are moved to argv[1..], and *argc counts them with argv[0]. */
km_status cli_parse(int *argc, char **argv, const cli_option *options, int count) KM_NODISCARD;
/* The config of a verb comes from the file at `path` (NULL: none) and from --set. The file may have sections of other verbs. */
km_config_source cli_config_source(const char *path, const cli_list *set);
/* Whether one argument, a config file, is left of a verb's command line. */
km_status cli_check_config_argument(const char *verb, int argc, char **argv) KM_NODISCARD;
/* The names that a key of a config allows, for an option of the command line that takes the same names (cli_option.choices). */
const char *cli_choices(const km_section *section, const char *name);
/* Options of the verbs that read text, and their values. */
#define CLI_FORMATS "auto|text|jsonl|csv|tsv"
#define CLI_INVALID "replace|skip|refuse"
#define CLI_DOCUMENTS "blank|line|file"
km_form cli_form(const char *name);
km_invalid cli_invalid(const char *name); /* "": KM_INVALID_JUDGE */
km_document cli_document(const char *name);
/* What a verb does with one config file on all ranks. */
typedef struct cli_config_job {
    const char *verb; /* as messages name it: "finetune" */
    size_t size;      /* of the verb's input, plain bytes that rank 0 broadcasts */
    km_status (*load)(void *input, const km_config_source *source); /* on rank 0 */
    km_status (*run)(km_comm *comm, void *input, bool json);        /* Collective. */
} cli_config_job;
/* Runs a verb whose arguments are CONFIG.json, --set and --json: signals ask for an orderly stop, rank 0 reads the config, all ranks run. */
km_status cli_run_config(int argc, char **argv, const cli_config_job *job) KM_NODISCARD;
/* Says where the results of a measurement were saved; NULL: nowhere. */
void cli_log_saved(const char *folder);
/* Ends a command that has opened a communicator: prints the message of a failure, closes it, and returns `status`. Collective. */
km_status cli_close(km_comm *comm, km_status status);
/* True when argv has --help or -h before any "--". */
bool cli_wants_help(int argc, char **argv);
/* Prints the account of km_import, which says what became of each tensor. */
void cli_print_import(const km_json *account);
/* Prints a JSON document and a newline to standard output; destroys it. */
void cli_print_json(km_json *json);

#endif
