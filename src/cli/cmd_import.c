/* cmd_import: makes a model file from a folder of HuggingFace transformers. */
#include "cli.h"
#include "kmask/modelfile.h"

#include <string.h>

static const char help[] =
    "kmask import DIR --out MODEL.h5 [--tokenizer DIR] [--seed N] [--json]\n"
    "\n"
    "A published BERT or RoBERTa becomes a model file: DIR holds model.safetensors (or shards with their\n"
    "index; F32, F16 or BF16), config.json and the tokenizer's files. All tensors are listed: used,\n"
    "ignored (other heads; they travel in the file, see `kmask export --extras`), and fresh, which a\n"
    "folder without an MLM head lacks; --seed decides these.\n"
    "\n"
    "  kmask import bert-base-uncased --out bert.h5\n"
    "  kmask pretrain config.json --set model.init=bert.h5\n";

static const char *text_of(const km_json *object, const char *key) {
    const char *text = km_json_string(km_json_get(object, key));
    return text != NULL ? text : "";
}

/* Prints a line such as "  bert.embeddings.LayerNorm.weight  F16 12  from embeddings.LayerNorm.gamma". */
static void print_tensor(const km_json *item, bool why) {
    const char *name = text_of(item, "name"), *from = text_of(item, "from");
    printf("  %s  %s", why ? from : name, text_of(item, "dtype"));
    const km_json *shape = km_json_get(item, "shape");
    for (const km_json *size = km_json_first(shape); size != NULL; size = km_json_next(size)) {
        double number = 0;
        (void)km_json_number(&number, size);
        printf("%s%.0f", size == km_json_first(shape) ? " " : " x ", number);
    }
    if (why) {
        printf("  %s", text_of(item, "why"));
    } else if (strcmp(name, from) != 0) {
        printf("  from %s", from);
    }
    putchar('\n');
}

static void print_tensors(const km_json *account, const char *key, const char *heading) {
    const km_json *list = km_json_get(account, key);
    if (km_json_size(list) > 0) {
        printf("\n%s: %zu tensors\n", heading, km_json_size(list));
    }
    for (const km_json *item = km_json_first(list); item != NULL; item = km_json_next(item)) {
        if (km_json_is_object(item)) {
            print_tensor(item, strcmp(key, "ignored") == 0);
        } else {
            printf("  %s\n", km_json_string(item));
        }
    }
}

void cli_print_import(const km_json *account) {
    print_tensors(account, "used", "used");
    print_tensors(account, "ignored", "ignored");
    print_tensors(account, "fresh", "fresh: the folder has no MLM head");
}

static void print(const km_json *account, const char *out) {
    bool fresh = km_json_size(km_json_get(account, "fresh")) > 0;
    cli_print_import(account);
    printf("\n%s: a %s model, weights_hash %s%s\n", out, text_of(account, "model_type"),
           text_of(account, "weights_hash"), fresh ? ", its MLM head fresh" : "");
}

static km_status command(int argc, char **argv) {
    const char *out = NULL, *tokenizer = NULL;
    int64_t seed = KM_FRESH_SEED;
    bool json = false;
    const cli_option options[] = {
        {.name = "out", .kind = CLI_TEXT, .out = &out},
        {.name = "tokenizer", .kind = CLI_TEXT, .out = &tokenizer},
        {.name = "seed", .kind = CLI_INTEGER, .out = &seed, .low = 0, .high = 0x1p53},
        {.name = "json", .kind = CLI_FLAG, .out = &json},
    };
    KM_TRY(cli_parse(&argc, argv, options, KM_COUNT(options)));
    if (argc != 2 || out == NULL) {
        return km_fail(KM_USAGE, "import takes one folder and --out MODEL.h5. See `kmask import --help`.");
    }
    const km_import_options how = {.tokenizer = tokenizer, .out = out, .seed = (uint64_t)seed};
    km_json *account = NULL;
    KM_TRY(km_import(argv[1], &how, &account));
    if (json) {
        km_json_set_string(account, "out", out);
        cli_print_json(account);
        return KM_OK;
    }
    print(account, out);
    km_json_destroy(account);
    return KM_OK;
}

const cli_verb cmd_import = {.name = "import",
                             .arguments = "DIR --out MODEL.h5",
                             .also = "load|from-hf|download",
                             .summary = "a published BERT or RoBERTa (safetensors) becomes a model file",
                             .help = help,
                             .run = command};
