/* cmd_probe: writes what a model computes from given token ids to a file. */
#include "cli.h"
#include "kmask/kernel.h"
#include "kmask/modelfile.h"
#include "kmask/train.h"

#include <math.h>
#include <string.h>

static const char help[] =
    "kmask probe MODEL --input IDS.json --out OUT.h5 [--precision fp32|bf16] [--json]\n"
    "\n"
    "All that a model makes of given ids, with dropout off. The input is\n"
    "\n"
    "  {\"input_ids\": [[...]], \"attention_mask\": [[...]], \"token_type_ids\": [[...]], \"labels\": "
    "[[...]]}\n"
    "\n"
    "of which only input_ids must be there; label -100 is none. The output is an HDF5 file:\n"
    "\n"
    "  /loss                    mean over labelled positions\n"
    "  /logits                  rows x positions x vocabulary\n"
    "  /hidden_states/<layer>   rows x positions x width; 0: the embeddings'\n"
    "  /grad/<tensor name>      gradient of the loss\n"
    "\n"
    "An encoder-decoder takes no token_type_ids. Its labels are the target's, from which the decoder's\n"
    "input is made unless decoder_input_ids gives it; logits are at target positions, and hidden states\n"
    "are /encoder_hidden_states/<layer> and /decoder_hidden_states/<layer>.\n"
    "\n"
    "A classifier's labels are one class a row, [1, 0, ...], or with one label one number a row; its\n"
    "logits are rows x labels, and the loss is the mean over labelled rows.\n"
    "\n"
    "Without labels there is no loss and no gradient. Shorter rows are padded at their end. Where\n"
    "attention_mask is 0 no token attends; states and logits are there all the same.\n"
    "\n"
    "--precision bf16 multiplies as a run with that train.precision does.\n"
    "\n"
    "  kmask probe runs/first/checkpoints/step-00001000.h5 --input ids.json --out probe.h5\n";

static km_status check_output(const char *output, const char *model, const char *input) {
    const char *over = km_file_is_same(output, model) ? model : km_file_is_same(output, input) ? input : NULL;
    return over == NULL ? KM_OK
                        : km_fail(KM_USAGE, "--out: %s is %s, which would be overwritten. Name another file.",
                                  output, over == model ? "the model" : "the input");
}

static void print(const km_probe_result *r, const char *output) {
    printf("%lld rows of %lld positions, %lld labelled\n", (long long)r->rows, (long long)r->length,
           (long long)r->labelled);
    if (r->labelled > 0) {
        printf("loss %.6f", r->loss);
        if (!isnan(r->accuracy)) {
            printf(", accuracy %.4f", r->accuracy);
        }
        puts("");
    }
    printf("wrote %s\n", output);
}

static void print_json(const km_probe_result *r) {
    km_json *object = km_json_object();
    km_json_set_number(object, "rows", (double)r->rows);
    km_json_set_number(object, "length", (double)r->length);
    km_json_set_number(object, "labelled", (double)r->labelled);
    if (r->labelled > 0) {
        km_json_set_number(object, "loss", r->loss);
        km_json_set_number(object, "accuracy", r->accuracy);
    }
    cli_print_json(object);
}

static km_status command(int argc, char **argv) {
    const char *input = NULL, *output = NULL, *precision = "fp32";
    bool json = false;
    const cli_option options[] = {{.name = "input", .kind = CLI_TEXT, .out = &input},
                                  {.name = "out", .kind = CLI_TEXT, .out = &output},
                                  {.name = "precision",
                                   .kind = CLI_TEXT,
                                   .out = &precision,
                                   .choices = cli_choices(&km_train_section, "precision")},
                                  {.name = "json", .kind = CLI_FLAG, .out = &json}};
    KM_TRY(cli_parse(&argc, argv, options, KM_COUNT(options)));
    if (argc != 2 || input == NULL || output == NULL) {
        return km_fail(KM_USAGE, "probe takes one model, --input and --out. See `kmask probe --help`.");
    }
    KM_TRY(check_output(output, argv[1], input));
    km_kernel_start();
    const bool bf16 = strcmp(precision, "bf16") == 0;
    if (bf16) {
        KM_TRY(km_bf16_check("--precision", true));
    }
    km_bundle *bundle = NULL;
    km_probe_result result = {0};
    KM_TRY(km_bundle_open_any(&bundle, argv[1]));
    km_status status = km_probe(bundle, input, output, bf16, &result);
    km_bundle_close(bundle);
    KM_TRY(status);
    if (json) {
        print_json(&result);
    } else {
        print(&result, output);
    }
    return KM_OK;
}

const cli_verb cmd_probe = {.name = "probe",
                            .arguments = "MODEL --input IDS.json --out OUT.h5",
                            .summary = "loss, logits, hidden states and all gradients of given ids",
                            .help = help,
                            .run = command,
                            .computes = true};
