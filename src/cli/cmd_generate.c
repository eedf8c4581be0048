/* cmd_generate: the answers of an encoder-decoder to the sources of a file or of standard input, on any number of ranks. */
#include "cli.h"
#include "kmask/kernel.h"
#include "kmask/run.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "kmask generate MODEL --in FILE|- [--beam 4] [--min-length 1] [--max-length 20] [--length-penalty 1]\n"
    "               [--no-repeat-ngram N] [--truncate] [--json]\n"
    "\n"
    "Answers of an encoder-decoder, such as BART, to each source of a file or of standard input (-), in their "
    "order.\n"
    "A source is a line of text; or the file has JSON objects, a line each, with \"source\", a text, or "
    "\"input_ids\".\n"
    "An empty line is answered too: the model reads <s></s>. Lengths count tokens of an answer with the first "
    "(the\n"
    "decoder's start) and the last (</s>). --beam 1 is greedy search. Works under mpirun.\n"
    "\n"
    "  echo \"My friends are <mask> but they eat too many carbs.\" | kmask generate bart.h5 --in -\n"
    "  mpirun -n 2 kmask generate bart.h5 --in questions.jsonl --beam 4 --json > answers.jsonl\n"
    "\n"
    "With --json a line is {\"output\": text, \"output_ids\": ids, \"score\": number}. The score is the sum of the "
    "tokens'\n"
    "log probabilities, divided by (their number)^length-penalty. --no-repeat-ngram N: no answer has the same N "
    "tokens in a\n"
    "row twice. What is not given is as the model says: by its generation_config.json (num_beams, min_length, "
    "...), or "
    "as it\n"
    "was fine-tuned; else as above. --truncate: sources that are longer than the model's positions are cut; "
    "without it they are "
    "refused.\n"
    "\n"
    "Sources of like length are computed together, so the last bits of a score may differ when other sources are "
    "in the\n"
    "file. They do not depend on the number of ranks.\n";

/* Numbers that are not given are -1, and the penalty NaN. */
typedef struct arguments {
    const char *in;
    int64_t beam, min_length, max_length, no_repeat_ngram;
    double length_penalty;
    bool truncate, json;
} arguments;

typedef struct printer {
    const km_bundle *bundle;
    bool json;
} printer;

static void print_json(const char *text, const int32_t *ids, int count, float score) {
    km_json *object = km_json_object(), *list = km_json_array();
    for (int i = 0; i < count; i++) {
        km_json_push_number(list, ids[i]);
    }
    km_json_set_string(object, "output", text);
    km_json_set(object, "output_ids", list);
    km_json_set_number(object, "score", (double)score);
    char *line = km_json_print(object, false);
    puts(line);
    free(line);
    km_json_destroy(object);
}

/* A line of text: line ends within it become blanks. */
static void print_text(char *text) {
    for (char *at = text + strcspn(text, "\r\n"); *at != '\0'; at += strcspn(at, "\r\n")) {
        *at = ' ';
    }
    puts(text);
}

static km_status print(void *payload, const int32_t *ids, int count, float score) {
    const printer *p = payload;
    char *text = km_decode(p->bundle->tokenizer, ids, (size_t)count, true);
    if (p->json) {
        print_json(text, ids, count, score);
    } else {
        print_text(text);
    }
    free(text);
    return ferror(stdout) ? km_fail_errno(errno, "standard output") : KM_OK;
}

static void override(int *option, int64_t given) {
    *option = given >= 0 ? (int)given : *option;
}

/* The options are checked before the sources are read, which may take long or wait for someone to type. */
static km_status open_model(km_bundle **bundle, km_generate_options *options, const char *model,
                            const arguments *given) {
    KM_TRY(km_bundle_open(bundle, model));
    KM_TRY(km_generate_take_settings(options, *bundle, model));
    override(&options->beams, given->beam);
    override(&options->min_length, given->min_length);
    override(&options->max_length, given->max_length);
    override(&options->no_repeat_ngram, given->no_repeat_ngram);
    options->length_penalty = isnan(given->length_penalty) ? options->length_penalty : given->length_penalty;
    return km_generate_options_check((*bundle)->model, options);
}

static km_status generate(km_comm *comm, const char *model, const arguments *given) {
    km_kernel_start();
    km_bundle *bundle = NULL;
    km_generate_options options;
    km_sources sources = {0};
    km_status status = km_comm_agree(comm, open_model(&bundle, &options, model, given));
    if (status == KM_OK) {
        const bool first = km_comm_rank(comm) == 0;
        status = km_comm_agree(comm, first ? km_sources_read(&sources, bundle, given->in, given->truncate) : KM_OK);
    }
    if (status == KM_OK) {
        printer p = {bundle, given->json};
        const double begin = km_seconds();
        status = km_generate(comm, bundle, &sources, &options, true, print, &p);
        if (status == KM_OK && km_comm_rank(comm) == 0) {
            km_log("%llu sources answered in %.3f s", (unsigned long long)sources.count, km_seconds() - begin);
        }
    }
    if (status == KM_OK && fflush(stdout) != 0) {
        status = km_fail_errno(errno, "standard output");
    }
    km_sources_free(&sources);
    km_bundle_close(bundle);
    return status;
}

static km_status command(int argc, char **argv) {
    arguments given = {
        .beam = -1, .min_length = -1, .max_length = -1, .length_penalty = NAN, .no_repeat_ngram = -1};
    const cli_option options[] = {
        {.name = "in", .kind = CLI_TEXT, .out = &given.in},
        {.name = "beam", .kind = CLI_INTEGER, .out = &given.beam, .low = 1, .high = 256},
        {.name = "min-length", .kind = CLI_INTEGER, .out = &given.min_length, .low = 0, .high = 65536},
        {.name = "max-length", .kind = CLI_INTEGER, .out = &given.max_length, .low = 2, .high = 65536},
        {.name = "length-penalty", .kind = CLI_NUMBER, .out = &given.length_penalty, .low = -100, .high = 100},
        {.name = "no-repeat-ngram", .kind = CLI_INTEGER, .out = &given.no_repeat_ngram, .low = 0, .high = 65536},
        {.name = "truncate", .kind = CLI_FLAG, .out = &given.truncate},
        {.name = "json", .kind = CLI_FLAG, .out = &given.json},
    };
    KM_TRY(cli_parse(&argc, argv, options, KM_COUNT(options)));
    if (argc != 2 || given.in == NULL) {
        return km_fail(KM_USAGE,
                       "generate takes one model file and --in FILE, or --in - for standard input. See `kmask "
                       "generate --help`.");
    }
    km_comm *comm = NULL;
    KM_TRY(km_comm_open(&comm, &argc, &argv));
    km_status status = generate(comm, argv[1], &given);
    return cli_close(comm, status);
}

const cli_verb cmd_generate = {.name = "generate",
                               .arguments = "MODEL --in FILE|-",
                               .summary = "an encoder-decoder's answers, greedy or by beam search",
                               .help = help,
                               .run = command,
                               .computes = true};
