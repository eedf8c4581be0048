/* cmd_pretrain: trains a model, or resumes a run. */
#include "cli.h"
#include "kmask/run.h"

#include <stdlib.h>

static const char help[] =
    "kmask pretrain CONFIG.json [--set section.key=value ...]\n"
    "\n"
    "Trains a masked language model, or goes on with what is in run.dir. Started by mpirun or srun it\n"
    "uses all ranks; the result has the same bits on any number of them.\n"
    "\n"
    "  mpirun -n 2 kmask pretrain config.json --set optimizer.lr=1e-4\n"
    "\n"
    "The smallest config:\n"
    "\n"
    "  {\"run\": {\"dir\": \"runs/first\"},\n"
    "   \"model\": {\"type\": \"bert\", \"preset\": \"tiny\"},\n"
    "   \"data\": {\"train\": \"corpus.h5\"},\n"
    "   \"train\": {\"steps\": 1000, \"sequences\": 8},\n"
    "   \"optimizer\": {\"lr\": 1e-3}}\n"
    "\n"
    "--set wins over the file. Exit status: 0 done, 1 failed, 2 wrong config, 3 checkpoints exist but\n"
    "none is valid, 75 stopped early with a checkpoint saved: run the same command again. SIGUSR1,\n"
    "SIGTERM and SIGINT ask for that; to mpirun send SIGUSR1, which it passes on (SIGTERM and SIGINT make\n"
    "it kill its ranks a second later).\n";

/* Reads the config on rank 0 and broadcasts it, so that all ranks have the same. */
static km_status load(km_comm *comm, km_config *config, const char *path, const cli_list *set) {
    bool root = km_comm_rank(comm) == 0;
    const km_config_source source = cli_config_source(path, set);
    KM_TRY(km_comm_agree(comm, root ? km_config_load(config, &source, false) : KM_OK));
    km_comm_broadcast(comm, config, sizeof *config);
    return KM_OK;
}

static km_status command(int argc, char **argv) {
    cli_list set = {0};
    const cli_option options[] = {{.name = "set", .kind = CLI_LIST, .out = &set}};
    KM_TRY(cli_parse(&argc, argv, options, KM_COUNT(options)));
    KM_TRY(cli_check_config_argument("pretrain", argc, argv));
    km_signals_catch();
    km_comm *comm = NULL;
    KM_TRY(km_comm_open(&comm, &argc, &argv));
    km_config *config = km_new(1, sizeof *config);
    km_status status = load(comm, config, argv[1], &set);
    if (status == KM_OK) {
        status = km_pretrain(comm, config);
    }
    free(config);
    free(set.items);
    return cli_close(comm, status);
}

const cli_verb cmd_pretrain = {.name = "pretrain",
                               .arguments = "CONFIG.json [--set section.key=value ...]",
                               .also = "train|training|run|run_mlm|mlm|learn",
                               .summary = "trains, or resumes what is in the run folder",
                               .help = help,
                               .run = command,
                               .computes = true,
                               .schema = &km_config_schema};
