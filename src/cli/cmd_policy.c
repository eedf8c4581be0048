/* cmd_policy: masking policies that are learned from a task's examples. */
#include "cli.h"
#include "kmask/kernel.h"
#include "kmask/policy.h"

#include <stdlib.h>
#include <string.h>

static const char help[] =
    "kmask policy train CONFIG.json [--json] [--set section.key=value ...]\n"
    "kmask policy probe --net NET --kind supervised|meta [--model MODEL] --input JSON --out OUT.h5\n"
    "\n"
    "A policy decides what pre-training hides. It is learned from examples of a task, a JSON object a\n"
    "line: {\"context\": ..., \"source\": ..., \"target\": ...}.\n"
    "\n"
    "train makes run.dir/policy.h5, which `kmask pretrain` uses with mask.policy and mask.model, on any\n"
    "corpus of its tokenizer. supervised: an LSTM learns where answers stand in contexts; examples whose\n"
    "target is not in the context are counted and left out. meta: a convolution learns which tokens to\n"
    "mask so that pre-training on the context lowers the loss of the task; policy.init is then an\n"
    "encoder-decoder. Under mpirun the ranks share each step, and the policy is the same to the bit on\n"
    "any number of them; run it again to go on after a stop. `kmask report` draws its losses and what it\n"
    "masks over time.\n"
    "\n"
    "  mpirun -n 2 kmask policy train policy.json\n"
    "  kmask corpus show corpus.h5 --row 0 --mask policy=supervised,model=runs/policy/policy.h5,top=5\n"
    "\n"
    "where policy.json is\n"
    "\n"
    "  {\"run\": {\"dir\": \"runs/policy\"},\n"
    "   \"policy\": {\"kind\": \"supervised\", \"examples\": \"triples.jsonl\", \"init\": \"bart.h5\"}}\n"
    "\n"
    "probe writes what a policy makes of given ids, for comparison with another program. NET is a\n"
    "policy file, or a safetensors file with embed.weight and the tensors of PyTorch's nn.LSTM as lstm.*,\n"
    "start.*, end.*. Input: input_ids, attention_mask, start, end; output: /start_logits, /end_logits,\n"
    "/loss and /grad/<tensor>. meta: embed.weight, conv.*, linear1.*, linear2.*; MODEL is what the inner\n"
    "steps train. Input: context, source, target, gumbel and the options of a step; output: /decisions,\n"
    "/loss_pretrain, /loss_before, /loss_after, /meta_loss, /regularizer and /grad/<tensor>.\n";

/* ---- train ---- */

static km_status load(void *input, const km_config_source *source) {
    return km_policy_load(input, source);
}

static void print(const km_json *result) {
    printf("%s: step %.0f, %.0f examples, %.0f left out, weights %s\n", km_json_text(result, "policy"),
           km_json_number_or(result, "step", 0), km_json_number_or(result, "examples", 0),
           km_json_number_or(result, "left_out", 0), km_json_text(result, "weights_hash"));
}

static km_status run_training(km_comm *comm, void *input, bool json) {
    km_json *result = NULL;
    const km_status status = km_policy_train(comm, input, &result);
    if (result != NULL && json) {
        cli_print_json(result);
    } else if (result != NULL) {
        print(result);
        km_json_destroy(result);
    }
    return status;
}

static km_status train(int argc, char **argv) {
    static const cli_config_job job = {
        .verb = "policy train", .size = sizeof(km_policy_input), .load = load, .run = run_training};
    return cli_run_config(argc, argv, &job);
}

/* ---- probe ---- */

static km_status probe(int argc, char **argv) {
    const char *net = NULL, *kind = "supervised", *model = NULL, *input = NULL, *output = NULL;
    const cli_option options[] = {
        {.name = "net", .kind = CLI_TEXT, .out = &net},
        {.name = "kind", .kind = CLI_TEXT, .out = &kind, .choices = cli_choices(&km_policy_section, "kind")},
        {.name = "model", .kind = CLI_TEXT, .out = &model},
        {.name = "input", .kind = CLI_TEXT, .out = &input},
        {.name = "out", .kind = CLI_TEXT, .out = &output}};
    km_policy_kind which = KM_POLICY_SUPERVISED;
    KM_TRY(cli_parse(&argc, argv, options, KM_COUNT(options)));
    if (argc != 1 || net == NULL || input == NULL || output == NULL || !km_policy_kind_named(&which, kind)) {
        return km_fail(KM_USAGE, "policy probe takes --net, --kind, --input and --out. See `kmask policy --help`.");
    }
    if (which == KM_POLICY_META && model == NULL) {
        return km_fail(KM_USAGE, "policy probe --kind meta needs --model, which its inner steps train.");
    }
    km_kernel_start();
    km_comm *comm = NULL;
    KM_TRY(km_comm_open(&comm, &argc, &argv));
    km_status status = km_policy_probe(comm, net, which, model, input, output);
    if (status == KM_OK) {
        printf("wrote %s\n", output);
    }
    return cli_close(comm, status);
}

static km_status command(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "train") == 0) {
        return train(argc - 1, argv + 1);
    }
    if (strcmp(what, "probe") == 0) {
        return probe(argc - 1, argv + 1);
    }
    return km_fail(KM_USAGE, "policy: found \"%.200s\", expected train or probe. See `kmask policy --help`.", what);
}

const cli_verb cmd_policy = {.name = "policy",
                             .arguments = "train CONFIG.json | probe --net NET --input JSON --out OUT.h5",
                             .summary = "learns from a task's examples what pre-training is to hide",
                             .help = help,
                             .run = command,
                             .computes = true,
                             .schema = &km_policy_schema};
