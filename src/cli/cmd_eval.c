/* cmd_eval: the loss of a model on a corpus. */
#include "cli.h"
#include "kmask/kernel.h"
#include "kmask/modelfile.h"
#include "kmask/run.h"

#include <stdlib.h>

static const char help[] =
    "kmask eval MODEL --corpus FILE.h5 [--length N] [--packing NAME] [--ratio R] [--seed N] [--threads N]\n"
    "            [--names] [--json]\n"
    "\n"
    "Loss, perplexity and accuracy of a model or checkpoint under frozen masks: every row is masked in\n"
    "ceil(1/ratio) parts, each token once. Defaults come from the model's config. Works under mpirun.\n"
    "--names: names, dates and numbers alone are hidden, each once, as mask.policy salient hides them.\n"
    "\n"
    "  kmask eval runs/first/checkpoints/step-00001000.h5 --corpus corpus.holdout.h5\n"
    "\n"
    "The unigram entropy is what a model reaches that knows only how frequent each token is in this text.\n";

typedef struct arguments {
    const char *corpus, *packing;
    int64_t length, seed, threads;
    double ratio;
    bool names, json;
} arguments;

/* Sets the options of the evaluation. Those that are not given are as in the run that made the model. */
static km_status choose(km_eval_options *out, const km_config *config, const arguments *given) {
    const char *packing = given->packing != NULL ? given->packing : config->data.packing;
    KM_TRY(km_config_evaluation(out, config));
    out->length = (int)(given->length > 0 ? given->length : config->data.length);
    out->views.ratio = given->ratio > 0 ? given->ratio : config->eval.ratio;
    out->views.seed = (uint64_t)(given->seed >= 0 ? given->seed : config->run.seed);
    out->views.unit = given->names ? KM_UNIT_SALIENT : out->views.unit;
    if (!km_packing_named(&out->packing, packing)) {
        return km_fail(KM_USAGE, "--packing: found %s, expected one of %s", packing, km_packing_names());
    }
    return KM_OK;
}

static km_status options_of(km_eval_options *out, const km_bundle *bundle, const char *path,
                            const arguments *given) {
    km_config *config = km_new(1, sizeof *config);
    km_status status = km_config_parse(config, bundle->config, path);
    status = status == KM_OK ? choose(out, config, given) : status;
    free(config);
    KM_TRY(status);
    int64_t room = km_model_longest(&bundle->shape);
    if (out->length > room) {
        return km_fail(KM_USAGE, "--length: %d is more than the %lld positions of the model", out->length,
                       (long long)room);
    }
    return KM_OK;
}

static km_status check_tokenizers(const km_bundle *bundle, const km_corpus *corpus) {
    if (!km_hash_equal(km_tokenizer_hash(bundle->tokenizer), km_tokenizer_hash(km_corpus_tokenizer(corpus)))) {
        return km_fail(KM_USAGE,
                       "%s: built with another tokenizer than the model's. Build the corpus again with the model's "
                       "tokenizer.",
                       km_corpus_path(corpus));
    }
    return KM_OK;
}

static void print(const km_eval_result *result, bool json) {
    if (!json) {
        printf("loss %.6f  perplexity %.4f  accuracy %.4f  masked %lld tokens in %llu rows  unigram entropy %.4f\n",
               result->loss, result->perplexity, result->accuracy, (long long)result->masked,
               (unsigned long long)result->rows, result->unigram_entropy);
        return;
    }
    km_json *object = km_json_object();
    km_json_set_number(object, "loss", result->loss);
    km_json_set_number(object, "perplexity", result->perplexity);
    km_json_set_number(object, "accuracy", result->accuracy);
    km_json_set_number(object, "masked", (double)result->masked);
    km_json_set_number(object, "rows", (double)result->rows);
    km_json_set_number(object, "unigram_entropy", result->unigram_entropy);
    cli_print_json(object);
}

static km_status open_both(km_bundle **bundle, km_corpus **corpus, km_eval_options *options, const char *model,
                           const arguments *given) {
    KM_TRY(km_threads_check(given->threads));
    KM_TRY(km_bundle_open(bundle, model));
    KM_TRY(km_corpus_open(corpus, given->corpus));
    KM_TRY(check_tokenizers(*bundle, *corpus));
    return options_of(options, *bundle, model, given);
}

static km_status evaluate(km_comm *comm, const char *model, const arguments *given) {
    km_kernel_start();
    km_bundle *bundle = NULL;
    km_corpus *corpus = NULL;
    km_eval_options options;
    km_eval_result result;
    km_status status = km_comm_agree(comm, open_both(&bundle, &corpus, &options, model, given));
    if (status == KM_OK) {
        status = km_evaluate(comm, bundle->model, bundle->weights, corpus, &options, (int)given->threads, &result);
    }
    if (status == KM_OK && km_comm_rank(comm) == 0) {
        print(&result, given->json);
        km_metrics_warn_of_holes(model); /* a model file has no log */
        km_evaluation_warn(&result);
    }
    if (corpus != NULL) {
        km_corpus_close(corpus);
    }
    km_bundle_close(bundle);
    return status;
}

static km_status command(int argc, char **argv) {
    arguments given = {.seed = -1, .threads = 1};
    const cli_option options[] = {
        {.name = "corpus", .kind = CLI_TEXT, .out = &given.corpus},
        {.name = "packing", .kind = CLI_TEXT, .out = &given.packing, .choices = km_packing_names()},
        {.name = "length", .kind = CLI_INTEGER, .out = &given.length, .low = 3, .high = 65535},
        {.name = "seed", .kind = CLI_INTEGER, .out = &given.seed, .low = 0, .high = 0x1p53},
        {.name = "threads", .kind = CLI_INTEGER, .out = &given.threads, .low = 1, .high = 1024},
        {.name = "ratio", .kind = CLI_NUMBER, .out = &given.ratio, .low = 0.001, .high = 1},
        {.name = "names", .kind = CLI_FLAG, .out = &given.names},
        {.name = "json", .kind = CLI_FLAG, .out = &given.json},
    };
    KM_TRY(cli_parse(&argc, argv, options, KM_COUNT(options)));
    if (argc != 2 || given.corpus == NULL) {
        return km_fail(KM_USAGE, "eval takes one model file and --corpus FILE.h5. See `kmask eval --help`.");
    }
    km_comm *comm = NULL;
    KM_TRY(km_comm_open(&comm, &argc, &argv));
    km_status status = evaluate(comm, argv[1], &given);
    return cli_close(comm, status);
}

const cli_verb cmd_eval = {.name = "eval",
                           .arguments = "MODEL --corpus FILE.h5",
                           .also = "evaluate|evaluation|test|perplexity|validate",
                           .summary = "loss, perplexity and accuracy under frozen masks",
                           .help = help,
                           .run = command,
                           .computes = true};
