/* verbs: the list of all verbs. A new one is a file like cmd_score.c, its name in cli.h, and a line here. */
#include "cli.h"

const cli_verb *const cli_verbs[] = {
    &cmd_tokenizer, &cmd_corpus,   &cmd_pretrain, &cmd_policy,  &cmd_doctor, &cmd_plan,   &cmd_eval,     &cmd_fill,
    &cmd_generate,  &cmd_finetune, &cmd_predict,  &cmd_compare, &cmd_score,  &cmd_probe,  &cmd_variance, &cmd_masks,
    &cmd_bench,     &cmd_import,   &cmd_export,   &cmd_inspect, &cmd_report, &cmd_config, &cmd_manual,   NULL,
};
