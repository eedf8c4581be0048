/* main: finds the verb, and turns its status into one sentence and the exit status. */
#include "cli.h"

#include "kmask/kernel.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static const cli_verb verbs[] = {
    {"tokenizer", "train|encode|decode ...", "learns a vocabulary; text to ids and back", cmd_tokenizer},
    {"corpus", "build|show ...", "turns text into a corpus; shows rows and their masks", cmd_corpus},
    {"pretrain", "CONFIG.json [--set section.key=value ...]", "trains, or resumes what is in the run folder",
     cmd_pretrain},
    {"doctor", "[CONFIG.json]", "looks whether a job can run well on these hosts; also under mpirun and srun",
     cmd_doctor},
    {"plan", "CONFIG.json [--set section.key=value ...]",
     "all checks before a job; memory, disk, hours by number of nodes", cmd_plan},
    {"eval", "MODEL --corpus FILE.h5", "loss, perplexity and accuracy under frozen masks", cmd_eval},
    {"fill", "MODEL \"text with [MASK]\"", "best fillers of blanks, with probabilities", cmd_fill},
    {"score", "--metrics NAME,... --gold FILE --pred FILE", "metrics of predictions that anyone made", cmd_score},
    {"probe", "MODEL --input IDS.json --out OUT.h5", "loss, logits, hidden states and all gradients of given ids",
     cmd_probe},
    {"variance", "CONFIG.json [--set section.key=value ...]",
     "gradient variance by policy and K; covariance against Hamming distance", cmd_variance},
    {"bench", "[--preset bert-base --length 512 ...]", "tokens a second, share of the GEMM rate, time by operation",
     cmd_bench},
    {"import", "DIR --out MODEL.h5", "a published BERT or RoBERTa (safetensors) becomes a model file", cmd_import},
    {"export", "MODEL --out DIR", "a model becomes safetensors, config.json and tokenizer files", cmd_export},
    {"inspect", "FILE [--json]", "what a corpus, model or checkpoint holds; verifies it", cmd_inspect},
    {"report", "RUN... --out FILE.html", "charts of runs on one page", cmd_report},
};

static void print_help(FILE *stream) {
    fputs("kmask: pre-training of masked language models on CPU clusters, with fully-explored masks.\n\n"
          "  kmask VERB [arguments]        kmask VERB --help        kmask --version\n\n",
          stream);
    for (size_t i = 0; i < KM_COUNT(verbs); i++) {
        fprintf(stream, "  %-10s %s\n  %-10s   %s\n", verbs[i].name, verbs[i].arguments, "", verbs[i].summary);
    }
    fputs(
        "\nFrom text to a model:\n\n"
        "  kmask tokenizer train --type wordpiece --vocab-size 8000 --out tok text.txt\n"
        "  kmask corpus build --tokenizer tok --holdout 0.01 --out corpus.h5 text.txt\n"
        "  mpirun -n 2 kmask pretrain config.json\n"
        "  kmask fill runs/first/checkpoints/step-00001000.h5 \"see the [MASK] page\"\n\n"
        "Exit status: 0 done; 1 failed; 2 wrong usage or config; 3 checkpoints exist but none is valid; 75 stopped "
        "early\nwith a checkpoint saved: run it again to go on.\n",
        stream);
}

/* Before MPI is there: what the launcher says, so that a wrong command line is one sentence and not one a rank. */
static bool is_first_rank(void) {
    static const char *const names[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID"};
    for (size_t i = 0; i < KM_COUNT(names); i++) {
        const char *rank = getenv(names[i]);
        if (rank != NULL) {
            return strcmp(rank, "0") == 0;
        }
    }
    return true;
}

static km_status unknown_verb(const char *name) {
    const char *names[KM_COUNT(verbs) + 2] = {NULL};
    for (size_t i = 0; i < KM_COUNT(verbs); i++) {
        names[i] = verbs[i].name;
    }
    names[KM_COUNT(verbs)] = "help";
    const char *near = km_nearest(name + strspn(name, "-"), names);
    if (near != NULL) {
        return km_fail(KM_USAGE, "%.200s: unknown verb. Did you mean %s?", name, near);
    }
    return km_fail(KM_USAGE, "%.200s: unknown verb. See `kmask --help`.", name);
}

static km_status run_verb(int argc, char **argv) {
    for (size_t i = 0; i < KM_COUNT(verbs); i++) {
        if (strcmp(argv[0], verbs[i].name) == 0) {
            bool quiet = km_log_muted() && cli_wants_help(argc, argv); /* help is printed once, not once a rank */
            return quiet ? KM_OK : verbs[i].run(argc, argv);
        }
    }
    return unknown_verb(argv[0]);
}

static bool is_one_of(const char *word, const char *a, const char *b) {
    return strcmp(word, a) == 0 || strcmp(word, b) == 0;
}

static km_status run(int argc, char **argv) {
    if (argc < 2) {
        if (!km_log_muted()) {
            print_help(stderr);
        }
        return km_fail(KM_USAGE, "no verb is given");
    }
    if (strcmp(argv[1], "help") == 0 && argc > 2) {
        char help[] = "--help";
        char *of[] = {argv[2], help, NULL};
        return run_verb(2, of);
    }
    bool help = is_one_of(argv[1], "--help", "-h") || strcmp(argv[1], "help") == 0;
    if (help || is_one_of(argv[1], "--version", "version")) {
        if (!km_log_muted() && help) {
            print_help(stdout);
        } else if (!km_log_muted()) {
            puts("kmask " KM_VERSION);
        }
        return KM_OK;
    }
    return run_verb(argc - 1, argv + 1);
}

/* What was printed must have arrived; a reader that has seen enough (head) is no failure. */
static km_status finish_output(void) {
    errno = 0;
    if ((fflush(stdout) != 0 || ferror(stdout)) && errno != EPIPE) {
        return errno != 0 ? km_fail_errno(errno, "standard output")
                          : km_fail_kind(KM_ERROR_IO, "standard output: not everything could be written");
    }
    return KM_OK;
}

/* OpenBLAS takes a weak kernel on CPUs that it does not know, and reads its choice only when it is loaded: start again
 * with the right one. What the user has forced is left, and said. */
static void choose_blas_kernel(char **argv) {
    static const char *const computing[] = {"pretrain", "eval",  "fill",   "probe",
                                            "variance", "bench", "doctor", "plan"};
    bool computes = false;
    for (size_t i = 0; argv[0] != NULL && argv[1] != NULL && i < KM_COUNT(computing); i++) {
        computes = computes || strcmp(argv[1], computing[i]) == 0;
    }
    const char *better = computes ? km_kernel_better_core() : NULL;
    if (better == NULL) {
        return;
    }
    if (getenv("OPENBLAS_CORETYPE") == NULL && setenv("OPENBLAS_CORETYPE", better, 0) == 0) {
        execv("/proc/self/exe", argv); /* returns only where there is no /proc */
    }
    km_warn("OpenBLAS runs its kernel %s, this CPU could run %s, which is faster: unset OPENBLAS_CORETYPE, or set "
            "it to %s",
            km_kernel_core(), better, better);
}

/* The message, once, from one rank. */
static void complain(km_status status) {
    static bool said;
    if (status != KM_OK && !said && !km_log_muted()) {
        fprintf(stderr, "kmask: %s\n", km_message()[0] != '\0' ? km_message() : "failed without a message");
    }
    said = said || status != KM_OK;
}

/* A launcher kills all ranks once one has ended with a failure: the sentence comes before anyone can. */
km_status cli_close(km_comm *comm, km_status status) {
    complain(status);
    km_comm_close(comm);
    return status;
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);    /* a file over the user's limit is an error of write, with a sentence */
    prctl(PR_SET_NAME, "kmask"); /* for ps and top, which show "exe" after choose_blas_kernel */
    km_log_mute(!is_first_rank());
    choose_blas_kernel(argv);
    km_status status = run(argc, argv);
    status = status == KM_OK ? finish_output() : status;
    complain(status);
    if (status != KM_OK && km_log_muted()) {
        usleep(300000); /* likewise for what fails before MPI is there: the first rank speaks first */
    }
    return (int)status;
}
