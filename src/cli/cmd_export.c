/* cmd_export: writes a model as a folder for HuggingFace transformers. */
#include "cli.h"
#include "kmask/modelfile.h"

static const char help[] =
    "kmask export MODEL --out DIR [--dtype f32|f16|bf16] [--extras] [--force] [--json]\n"
    "\n"
    "A model, snapshot or checkpoint becomes a folder of model.safetensors, config.json and tokenizer\n"
    "files, which transformers loads with AutoModelForMaskedLM and AutoTokenizer. DIR is complete or\n"
    "absent; one that holds files is left alone, unless --force: then files of the same names are\n"
    "replaced and others stay. --extras: also the tensors that `kmask import` ignored (a pooler, other\n"
    "heads), with the architecture that config.json had.\n"
    "\n"
    "  kmask export runs/first/checkpoints/step-00001000.h5 --out my-model\n"
    "\n"
    "  from transformers import AutoModelForMaskedLM, AutoTokenizer\n"
    "  model = AutoModelForMaskedLM.from_pretrained(\"my-model\")\n"
    "  tokenizer = AutoTokenizer.from_pretrained(\"my-model\")\n";

static void print(const km_json *account, const char *out) {
    const km_json *left = km_json_get(account, "left_out");
    double tensors = 0;
    (void)km_json_number(&tensors, km_json_get(account, "tensors"));
    printf("%s: %.0f tensors, weights_hash %s\n", out, tensors,
           km_json_string(km_json_get(account, "weights_hash")));
    if (km_json_size(left) > 0) {
        puts("left out, since they are no part of a masked language model (--extras writes them too):");
    }
    for (const km_json *item = km_json_first(left); item != NULL; item = km_json_next(item)) {
        printf("  %s\n", km_json_string(item));
    }
}

static km_status command(int argc, char **argv) {
    const char *out = NULL;
    km_export_options how = {.dtype = "f32"};
    bool json = false;
    const cli_option options[] = {
        {.name = "out", .kind = CLI_TEXT, .out = &out},
        {.name = "dtype", .kind = CLI_TEXT, .out = &how.dtype, .choices = "f32|f16|bf16"},
        {.name = "extras", .kind = CLI_FLAG, .out = &how.extras},
        {.name = "force", .kind = CLI_FLAG, .out = &how.force},
        {.name = "json", .kind = CLI_FLAG, .out = &json},
    };
    KM_TRY(cli_parse(&argc, argv, options, KM_COUNT(options)));
    if (argc != 2 || out == NULL) {
        return km_fail(KM_USAGE, "export takes one model and --out DIR. See `kmask export --help`.");
    }
    km_json *account = NULL;
    KM_TRY(km_export(argv[1], out, &how, &account));
    if (json) {
        km_json_set_string(account, "out", out);
        cli_print_json(account);
        return KM_OK;
    }
    print(account, out);
    km_json_destroy(account);
    return KM_OK;
}

const cli_verb cmd_export = {.name = "export",
                             .arguments = "MODEL --out DIR",
                             .also = "convert|save|to-hf",
                             .summary = "a model becomes safetensors, config.json and tokenizer files",
                             .help = help,
                             .run = command};
