/* cmd_report: charts of one or several runs, of measured variances, of fine-tunings, and of what policies hide, on one page. */
#include "cli.h"
#include "kmask/report.h"

static const char help[] =
    "kmask report RUN... --out FILE.html\n"
    "\n"
    "Charts of one or several run folders on one self-contained page: loss, learning rate, gradient norm,\n"
    "throughput, share of communication, evaluations, final figures, and how the configs differ. It opens\n"
    "in any browser, without a network. Runs whose configs differ in nothing but the seed are one arm:\n"
    "its mean, with a band of one deviation, and differences between arms paired by seed; arms of one\n"
    "parent folder share a panel. A variance.json or masks.json, or a folder with one (kmask variance, kmask\n"
    "masks), adds its figures. A folder of `kmask finetune`, or its results.json, adds scores: bars for a table of "
    "models\n"
    "and tasks, and where the models are snapshots of runs, scores against pre-training steps and K.\n"
    "\n"
    "  kmask report runs/first --out report.html\n"
    "  kmask report runs/seeds/* runs/variance --out report.html\n"
    "  kmask report runs/mlm runs/fe runs/finetune-acl-arc --out report.html\n";

static km_status command(int argc, char **argv) {
    const char *out = NULL;
    const cli_option options[] = {{.name = "out", .kind = CLI_TEXT, .out = &out}};
    KM_TRY(cli_parse(&argc, argv, options, KM_COUNT(options)));
    if (argc < 2) {
        return km_fail(KM_USAGE, "report needs at least one run folder or variance.json (see kmask report --help)");
    }
    if (out == NULL) {
        return km_fail(KM_USAGE, "report needs --out FILE.html (see kmask report --help)");
    }
    KM_TRY(km_report_page(argv + 1, argc - 1, out));
    km_log("%s: %d folder%s on one page; open it in a browser", out, argc - 1, argc > 2 ? "s" : "");
    return KM_OK;
}

const cli_verb cmd_report = {.name = "report",
                             .arguments = "RUN... --out FILE.html",
                             .also = "plot|chart|charts|log|tensorboard",
                             .summary = "charts of runs on one page",
                             .help = help,
                             .run = command};
