/* help: what `kmask --help` and `kmask VERB --help` print. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

const cli_exit cli_exits[] = {
    {KM_OK, "done"},
    {KM_FAILED, "failed"},
    {KM_USAGE, "wrong usage or config"},
    {KM_NO_CHECKPOINT, "checkpoints exist but none is valid"},
    {KM_STOPPED, "stopped early with a checkpoint saved: run the same command again to go on"},
    {0, NULL},
};

const char cli_examples[] = "kmask tokenizer train --type wordpiece --vocab-size 8000 --out tok text.txt\n"
                            "kmask corpus build --tokenizer tok --holdout 0.01 --out corpus.h5 text.txt\n"
                            "mpirun -n 2 kmask pretrain config.json\n"
                            "kmask fill runs/first/checkpoints/step-00001000.h5 \"see the [MASK] page\"\n";

void cli_help(FILE *stream) {
    fputs("kmask: pre-training of masked language models on CPU clusters, with fully-explored masks.\n\n"
          "  kmask VERB [arguments]        kmask VERB --help        kmask --version\n\n",
          stream);
    for (const cli_verb *const *verb = cli_verbs; *verb != NULL; verb++) {
        fprintf(stream, "  %-10s %s\n  %-10s   %s\n", (*verb)->name, (*verb)->arguments, "", (*verb)->summary);
    }
    fputs("\nFrom text to a model:\n\n", stream);
    for (const char *line = cli_examples; *line != '\0'; line += strcspn(line, "\n") + 1) {
        fprintf(stream, "  %.*s\n", (int)strcspn(line, "\n"), line);
    }
    fputs("\nExit status:\n\n", stream);
    for (const cli_exit *way = cli_exits; way->meaning != NULL; way++) {
        fprintf(stream, "  %2d  %s\n", way->status, way->meaning);
    }
}

void cli_help_verb(const cli_verb *verb, FILE *stream) {
    fputs(verb->help, stream);
    if (verb->schema != NULL && strcmp(verb->schema->verb, verb->name) == 0) {
        fputs("\nKeys:\n\n", stream);
        km_schema_help(verb->schema, stream);
    } else if (verb->schema != NULL) {
        fprintf(stream, "\nThe keys of the config are explained by `kmask %s --help`.\n", verb->schema->verb);
    }
}

bool cli_wants_help(int argc, char **argv) {
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            return true;
        }
    }
    return false;
}
