/* cmd_fill: the most probable words for blanks in a text. */
#include "cli.h"
#include "kmask/kernel.h"
#include "kmask/modelfile.h"

#include <stdlib.h>
#include <string.h>

static const char help[] =
    "kmask fill MODEL \"text with [MASK]\" [--top N] [--json]\n"
    "\n"
    "The likeliest fillers of each blank with their probabilities; [MASK] and <mask> are both understood.\n"
    "An encoder-decoder answers with the text, its blanks filled; --json has the ids of the answer as\n"
    "generate has them, and its score. A model that was pre-trained with mask.target=masked answers with\n"
    "what was hidden, which is put in where the text has one blank.\n"
    "\n"
    "  kmask fill runs/first/checkpoints/step-00001000.h5 \"see the [MASK] page\" --top 5\n";

static void print(const km_bundle *bundle, const km_candidate *candidates, int blanks, int top) {
    for (int b = 0; b < blanks; b++) {
        printf("blank %d:\n", b + 1);
        for (int i = 0; i < top; i++) {
            const km_candidate *c = &candidates[b * top + i];
            char *text = km_decode(bundle->tokenizer, &c->id, 1, false);
            printf("  %6.2f %%  %s\n", 100.0 * (double)c->p, text + strspn(text, " "));
            free(text);
        }
    }
}

static void print_json(const km_bundle *bundle, const km_candidate *candidates, int blanks, int top) {
    km_json *masks = km_json_array();
    for (int b = 0; b < blanks; b++) {
        km_json *list = km_json_array();
        for (int i = 0; i < top; i++) {
            const km_candidate *c = &candidates[b * top + i];
            km_json *item = km_json_object();
            km_json_set_string(item, "token", km_tokenizer_piece(bundle->tokenizer, c->id));
            km_json_set_number(item, "id", c->id);
            char *text = km_decode(bundle->tokenizer, &c->id, 1, false);
            km_json_set_string(item, "text", text + strspn(text, " "));
            free(text);
            km_json_set_number(item, "p", (double)c->p);
            km_json_push(list, item);
        }
        km_json_push(masks, list);
    }
    km_json *object = km_json_object();
    km_json_set(object, "masks", masks);
    cli_print_json(object);
}

static km_status fill_blanks(const km_bundle *bundle, const char *text, int top, bool json) {
    km_candidate *candidates = NULL;
    int blanks = 0, count = KM_MIN(top, km_tokenizer_size(bundle->tokenizer) - 5);
    km_status status = km_fill_blanks(bundle, text, count, &candidates, &blanks);
    if (status == KM_OK) {
        (json ? print_json : print)(bundle, candidates, blanks, count);
    }
    free(candidates);
    return status;
}

static void print_filled(const km_filled *filled) {
    km_json *object = km_json_object(), *ids = km_json_array();
    for (int i = 0; i < filled->count; i++) {
        km_json_push_number(ids, filled->ids[i]);
    }
    if (filled->text != NULL) {
        km_json_set_string(object, "text", filled->text);
    }
    km_json_set_string(object, "answer", filled->answer);
    km_json_set(object, "output_ids", ids);
    km_json_set_number(object, "score", (double)filled->score);
    cli_print_json(object);
}

static km_status fill_text(const km_bundle *bundle, const char *text, bool json) {
    km_filled filled;
    km_status status = km_fill_text(&filled, bundle, text);
    if (status == KM_OK && json) {
        print_filled(&filled);
    } else if (status == KM_OK) {
        puts(filled.text != NULL ? filled.text : filled.answer);
    }
    km_filled_free(&filled);
    return status;
}

static km_status command(int argc, char **argv) {
    int64_t top = 5;
    bool json = false;
    const cli_option options[] = {
        {.name = "top", .kind = CLI_INTEGER, .out = &top, .low = 1, .high = 1000},
        {.name = "json", .kind = CLI_FLAG, .out = &json},
    };
    KM_TRY(cli_parse(&argc, argv, options, KM_COUNT(options)));
    if (argc != 3) {
        return km_fail(KM_USAGE, "fill takes a model file and one text in quotes. See `kmask fill --help`.");
    }
    km_kernel_start();
    km_bundle *bundle = NULL;
    KM_TRY(km_bundle_open(&bundle, argv[1]));
    km_stack_shape stack;
    const bool two = km_model_stack(&stack, bundle->model, KM_DECODER);
    km_status status = two ? fill_text(bundle, argv[2], json) : fill_blanks(bundle, argv[2], (int)top, json);
    km_bundle_close(bundle);
    return status;
}

const cli_verb cmd_fill = {.name = "fill",
                           .arguments = "MODEL \"text with [MASK]\"",
                           .also = "fill-mask|fill_mask|unmask|mask",
                           .summary = "best fillers of blanks, with probabilities",
                           .help = help,
                           .run = command,
                           .computes = true};
