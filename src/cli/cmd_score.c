/* cmd_score: metrics of predictions that any program has made. */
#include "cli.h"
#include "kmask/metric.h"

static const char help[] =
    "kmask score --metrics NAME[,NAME...] --gold FILE --pred FILE [--json]\n"
    "\n"
    "Metrics of predictions against what was expected; both files have a line for each example.\n"
    "\n"
    "  accuracy, f1, f1_macro, f1_micro, matthews   a label a line; f1 is that of label 1, else of the second "
    "label\n"
    "  pearson, spearman                            a number a line\n"
    "  em, f1_token, rouge_l                        an answer a line; FILE of --gold: accepted answers, tabs "
    "between them\n"
    "  em_regex                                     likewise; accepted answers are regular expressions\n"
    "  has_answer                                   likewise; 1 where the prediction holds an accepted answer "
    "(DPR)\n"
    "  choice                                       likewise, the right option first, then the others\n"
    "\n"
    "  kmask score --metrics accuracy,f1 --gold dev.labels --pred dev.predictions\n"
    "  kmask score --metrics em,f1_token --gold answers.tsv --pred predictions.txt --json\n";

static void print(const km_json *scores) {
    for (const km_json *score = km_json_first(scores); score != NULL; score = km_json_next(score)) {
        double value = 0;
        if (km_json_number(&value, score)) {
            printf("%-10s %.6f\n", km_json_key(score), value);
        } else {
            printf("%-10s undefined: one side is constant, or there are fewer than two examples\n",
                   km_json_key(score));
        }
    }
}

static km_status command(int argc, char **argv) {
    const char *metrics = NULL, *gold = NULL, *predicted = NULL;
    bool json = false;
    const cli_option options[] = {
        {.name = "metrics", .kind = CLI_TEXT, .out = &metrics},
        {.name = "gold", .kind = CLI_TEXT, .out = &gold},
        {.name = "pred", .kind = CLI_TEXT, .out = &predicted},
        {.name = "json", .kind = CLI_FLAG, .out = &json},
    };
    KM_TRY(cli_parse(&argc, argv, options, KM_COUNT(options)));
    if (argc != 1 || metrics == NULL || gold == NULL || predicted == NULL) {
        return km_fail(KM_USAGE, "score takes --metrics, --gold and --pred. See `kmask score --help`.");
    }
    km_json *scores = NULL;
    KM_TRY(km_score_files(&scores, metrics, gold, predicted));
    if (json) {
        cli_print_json(scores);
    } else {
        print(scores);
        km_json_destroy(scores);
    }
    return KM_OK;
}

const cli_verb cmd_score = {.name = "score",
                            .arguments = "--metrics NAME,... --gold FILE --pred FILE",
                            .summary = "metrics of predictions that anyone made",
                            .help = help,
                            .run = command};
