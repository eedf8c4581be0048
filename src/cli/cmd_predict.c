/* cmd_predict: labels, numbers or answers of a fine-tuned model. */
#include "cli.h"
#include "kmask/task.h"

#include <stdlib.h>

static const char help[] =
    "kmask predict MODEL --in FILE --out FILE [--text COLUMN ...] [--text-pair COLUMN] [--no-header]\n"
    "              [--length N]\n"
    "\n"
    "Predicts the label, or the number, of every text with a fine-tuned model: a model file of `kmask\n"
    "finetune`, or a published classifier's folder. FILE is TSV, CSV or JSONL (by its name, also .gz). The\n"
    "output has a line for each text: its index, the prediction, and the probability of each label.\n"
    "An encoder-decoder answers questions, in any form that task.kind seq2seq reads; the output has an\n"
    "object for each: source, prediction, score, and the accepted answers of the file. Lengths and beams are\n"
    "those of the fine-tuning (see `kmask generate` for others).\n"
    "Columns are names, or numbers from 1; several --text are joined by a blank. --length: tokens of a\n"
    "text at most (default: as in fine-tuning).\n"
    "\n"
    "  kmask predict runs/rte/model.h5 --in dev.tsv --text sentence1 --text-pair sentence2 --out dev.out\n"
    "  kmask predict runs/webquestions/model.h5 --in questions.jsonl --out answers.jsonl\n";

/* The columns of the command line; text has room for all. */
static km_status fill_columns(km_columns *columns, const cli_list *text) {
    const int room = (int)KM_COUNT(columns->text) - 1;
    if (text->count > room) {
        return km_fail(KM_USAGE, "--text: found %d columns, expected at most %d", text->count, room);
    }
    for (int i = 0; i < text->count; i++) {
        columns->text[i] = text->items[i];
    }
    return KM_OK;
}

static km_status command(int argc, char **argv) {
    const char *in = NULL, *out = NULL, *pair = NULL;
    cli_list text = {0};
    bool no_header = false;
    int64_t length = 0;
    const cli_option options[] = {
        {.name = "in", .kind = CLI_TEXT, .out = &in},
        {.name = "out", .kind = CLI_TEXT, .out = &out},
        {.name = "text", .kind = CLI_LIST, .out = &text},
        {.name = "text-pair", .kind = CLI_TEXT, .out = &pair},
        {.name = "no-header", .kind = CLI_FLAG, .out = &no_header},
        {.name = "length", .kind = CLI_INTEGER, .out = &length, .low = 5, .high = 65535},
    };
    KM_TRY(cli_parse(&argc, argv, options, KM_COUNT(options)));
    if (argc != 2 || in == NULL || out == NULL) {
        return km_fail(KM_USAGE, "predict takes a model, --in and --out. See `kmask predict --help`.");
    }
    km_columns columns = {.header = !no_header, .pair = pair};
    KM_TRY(fill_columns(&columns, &text));
    km_comm *comm = NULL;
    KM_TRY(km_comm_open(&comm, &argc, &argv));
    km_status status = km_predict(comm, argv[1], in, out, &columns, (int)length);
    free(text.items);
    return cli_close(comm, status);
}

const cli_verb cmd_predict = {.name = "predict",
                              .arguments = "MODEL --in FILE --out FILE",
                              .also = "infer|inference",
                              .summary = "labels, numbers or answers of a fine-tuned model",
                              .help = help,
                              .run = command,
                              .computes = true};
