/* cmd_finetune: what a pre-trained model is worth on labelled data. */
#include "cli.h"
#include "kmask/task.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "kmask finetune CONFIG.json [--json] [--set section.key=value ...]\n"
    "\n"
    "Trains a model as a classifier, or to predict a number, on labelled texts or pairs of texts, or an\n"
    "encoder-decoder to answer questions (task.kind seq2seq): a run\n"
    "for every model, learning rate, batch and seed of the config. A run is evaluated on dev after every\n"
    "epoch; the best step by the first metric is kept, and test is scored once with it. The learning rate\n"
    "and batch with the best mean over seeds are chosen. Under mpirun the ranks work on runs side by side;\n"
    "results are the same on any number of them, and a search that was killed goes on and repeats no run\n"
    "that has finished.\n"
    "\n"
    "  mpirun -n 2 kmask finetune rte.json\n"
    "  kmask finetune rte.json --set finetune.lr=1e-5,2e-5,3e-5 --set finetune.seeds=1..5\n"
    "\n"
    "where rte.json is\n"
    "\n"
    "  {\"run\": {\"dir\": \"runs/rte\"},\n"
    "   \"task\": {\"preset\": \"rte\", \"train\": \"glue/RTE\"},\n"
    "   \"finetune\": {\"init\": \"model.h5\", \"epochs\": 3, \"batch\": 32, \"lr\": [2e-5, 5e-5], \"seeds\": [1, "
    "2, 3]}}\n"
    "\n"
    "and for data of one's own, a CSV file with the columns review and stars:\n"
    "\n"
    "  \"task\": {\"train\": \"train.csv\", \"dev\": \"dev.csv\", \"text\": \"review\", \"label\": \"stars\", "
    "\"length\": 256}\n"
    "\n"
    "and for questions with answers, in one of their published forms or as {\"source\", \"target\"} a line:\n"
    "\n"
    "  \"task\": {\"kind\": \"seq2seq\", \"train\": \"train.jsonl\", \"dev\": \"dev.jsonl\", \"length\": 64}\n"
    "\n"
    "run.dir then has results.json, model.h5 (`kmask predict` uses it, `kmask export` gives it to\n"
    "transformers), predictions/ of dev and test, and runs/ with a record of each run.\n"
    "Exit status 75: stopped early, run it again to go on.\n";

/* "0.7103 +- 0.0121", or a dash. */
static void print_spread(const km_json *spread) {
    const double mean = km_json_number_or(spread, "mean", NAN), sd = km_json_number_or(spread, "sd", NAN);
    if (isnan(mean)) {
        printf("  %-17s", "-");
    } else if (isnan(sd)) {
        printf("  %-17.4f", mean);
    } else {
        printf("  %.4f +- %.4f ", mean, sd);
    }
}

static void print_row(const km_json *row, const char *metric, bool chosen) {
    printf("%-32s %8.2g %6.0f %4.0f", km_json_text(row, "init"), km_json_number_or(row, "lr", NAN),
           km_json_number_or(row, "batch", NAN), km_json_number_or(row, "n", NAN));
    print_spread(km_json_get(km_json_get(row, "dev"), metric));
    print_spread(km_json_get(km_json_get(row, "test"), metric));
    const double diverged = km_json_number_or(row, "diverged", 0);
    if (diverged > 0) {
        printf(" %.0f diverged", diverged);
    }
    puts(chosen ? " chosen" : "");
}

static bool is_same(const km_json *a, const km_json *b) {
    return strcmp(km_json_text(a, "init"), km_json_text(b, "init")) == 0 &&
           km_json_number_or(a, "lr", 0) == km_json_number_or(b, "lr", 1) &&
           km_json_number_or(a, "batch", 0) == km_json_number_or(b, "batch", 1);
}

static void print(const km_json *results) {
    const char *metric = km_json_text(results, "metric");
    const km_json *summary = km_json_get(results, "summary"), *chosen = km_json_get(results, "chosen");
    printf("%s, mean and deviation over n seeds\n\n%-32s %8s %6s %4s  %-17s  %s\n", metric, "model", "lr", "batch",
           "n", "dev", "test");
    for (const km_json *row = km_json_first(summary); row != NULL; row = km_json_next(row)) {
        print_row(row, metric, is_same(row, chosen));
    }
}

static km_status load(void *input, const km_config_source *source) {
    return km_finetune_load(input, source);
}

static km_status tune(km_comm *comm, void *payload, bool json) {
    const km_finetune_input *input = payload;
    km_json *results = NULL;
    KM_TRY(km_finetune(comm, input, &results));
    if (results != NULL && json) {
        cli_print_json(results);
    } else if (results != NULL) {
        print(results);
        km_log("saved in %s: results.json, model.h5, predictions/", input->run.dir);
        km_json_destroy(results);
    }
    return KM_OK;
}

static km_status command(int argc, char **argv) {
    static const cli_config_job job = {
        .verb = "finetune", .size = sizeof(km_finetune_input), .load = load, .run = tune};
    return cli_run_config(argc, argv, &job);
}

const cli_verb cmd_finetune = {.name = "finetune",
                               .arguments = "CONFIG.json [--set section.key=value ...]",
                               .also = "fine-tune|train-classifier|classify|glue",
                               .summary = "trains classifiers and answers; search, seeds, metrics with deviations",
                               .help = help,
                               .run = command,
                               .computes = true,
                               .schema = &km_finetune_schema};
