/* cli: one cmd_<verb>.c for each verb; main.c has the table of verbs, finds the verb and turns its status into one
 * sentence on standard error and the exit status. */
#ifndef KMASK_CLI_H
#define KMASK_CLI_H

#include "kmask/base.h"
#include "kmask/comm.h"

/* argv[0] is the verb. A command parses its options with cli_parse, prints results to standard
 * output, talk to standard error (km_log), and returns a status; main prints the message. `--help` prints the
 * command's help with an example to standard output and returns KM_OK. */
typedef struct cli_verb {
    const char *name;
    const char *arguments; /* "CONFIG.json [--set key=value ...]" */
    const char *summary;   /* one line */
    km_status (*run)(int argc, char **argv);
} cli_verb;

km_status cmd_tokenizer(int argc, char **argv);
km_status cmd_corpus(int argc, char **argv);
km_status cmd_pretrain(int argc, char **argv);
km_status cmd_doctor(int argc, char **argv);
km_status cmd_plan(int argc, char **argv);
km_status cmd_eval(int argc, char **argv);
km_status cmd_fill(int argc, char **argv);
km_status cmd_score(int argc, char **argv);
km_status cmd_probe(int argc, char **argv);
km_status cmd_variance(int argc, char **argv);
km_status cmd_bench(int argc, char **argv);
km_status cmd_import(int argc, char **argv);
km_status cmd_export(int argc, char **argv);
km_status cmd_inspect(int argc, char **argv);
km_status cmd_report(int argc, char **argv);

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
/* Ends a command that opened ranks: prints the message of a failure, closes, returns `status`. Collective. */
km_status cli_close(km_comm *comm, km_status status);
/* True when argv has --help or -h before any "--". */
bool cli_wants_help(int argc, char **argv);
/* Prints the lists of a km_import's account. */
void cli_print_import(const km_json *account);
/* Prints a JSON document and a newline to standard output; destroys it. */
void cli_print_json(km_json *json);

#endif
