/* cmd_compare: results of fine-tunings side by side. */
#include "cli.h"
#include "kmask/task.h"

#include <math.h>

static const char help[] =
    "kmask compare RESULTS RESULTS... [--json]\n"
    "\n"
    "Compares results.json files of `kmask finetune` on the first metric of test, or of dev where there is\n"
    "no test: mean and deviation over the seeds of what each has chosen, and for every two of them a\n"
    "two-sided paired t-test over the seeds that both have.\n"
    "\n"
    "  kmask compare runs/mlm/results.json runs/fully-explored/results.json\n";

static void print(const km_json *found) {
    const km_json *results = km_json_get(found, "results"), *pairs = km_json_get(found, "pairs");
    printf("%s of %s\n\n%-40s %4s %8s %8s\n", km_json_text(found, "metric"), km_json_text(found, "split"),
           "results", "n", "mean", "sd");
    for (const km_json *r = km_json_first(results); r != NULL; r = km_json_next(r)) {
        printf("%-40s %4.0f %8.4f %8.4f\n", km_json_text(r, "path"), km_json_number_or(r, "n", NAN),
               km_json_number_or(r, "mean", NAN), km_json_number_or(r, "sd", NAN));
    }
    puts("");
    for (const km_json *p = km_json_first(pairs); p != NULL; p = km_json_next(p)) {
        const double value = km_json_number_or(p, "p", NAN);
        printf("%s - %s: %+.4f over %.0f seeds", km_json_text(p, "a"), km_json_text(p, "b"),
               km_json_number_or(p, "difference", NAN), km_json_number_or(p, "n", NAN));
        if (isnan(value)) {
            puts(", no test: fewer than two seeds in common, or no difference");
        } else {
            printf(", t %.3f, p %.4f\n", km_json_number_or(p, "t", NAN), value);
        }
    }
}

static km_status command(int argc, char **argv) {
    bool json = false;
    const cli_option options[] = {{.name = "json", .kind = CLI_FLAG, .out = &json}};
    KM_TRY(cli_parse(&argc, argv, options, KM_COUNT(options)));
    if (argc < 3) {
        return km_fail(KM_USAGE, "compare takes two or more results.json files. See `kmask compare --help`.");
    }
    km_json *found = NULL;
    KM_TRY(km_compare(&found, (const char *const *)(argv + 1), argc - 1));
    if (json) {
        cli_print_json(found);
    } else {
        print(found);
        km_json_destroy(found);
    }
    return KM_OK;
}

const cli_verb cmd_compare = {.name = "compare",
                              .arguments = "RESULTS RESULTS...",
                              .summary = "results of fine-tunings side by side, with a paired t-test",
                              .help = help,
                              .run = command};
