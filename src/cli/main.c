/* main: finds the verb that is asked for, and turns its status into one sentence on standard error and the exit status. */
#include "cli.h"
#include "safe_output.h"

#include "kmask/kernel.h"
#include "kmask/policy.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Whether the launcher's environment says that this is the first rank. It is asked before MPI has started, so that a wrong
 * command line is reported once and not by every rank. */
static bool is_first_rank(void) {
    static const char *const names[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"};
    for (size_t i = 0; i < KM_COUNT(names); i++) {
        const char *rank = getenv(names[i]);
        if (rank != NULL) {
            return strcmp(rank, "0") == 0;
        }
    }
    return true;
}

/* Whether `name` is one of the words "a|b"; NULL has none. */
static bool is_among(const char *words, const char *name) {
    size_t length = strlen(name);
    for (; words != NULL && *words != '\0'; words += words[0] == '|') {
        size_t word = strcspn(words, "|");
        if (word == length && strncmp(words, name, length) == 0) {
            return true;
        }
        words += word;
    }
    return false;
}

/* The verb that was meant: one that other programs call so, or the nearest; NULL where nothing is like it. */
static const char *verb_like(const char *name) {
    int count = 0;
    for (; cli_verbs[count] != NULL; count++) {
        if (is_among(cli_verbs[count]->also, name)) {
            return cli_verbs[count]->name;
        }
    }
    const char **names = km_new((size_t)count + 2, sizeof *names);
    for (int i = 0; i < count; i++) {
        names[i] = cli_verbs[i]->name;
    }
    names[count] = "help";
    const char *near = km_nearest(name, names);
    free(names);
    return near;
}

static km_status unknown_verb(const char *name) {
    const char *near = verb_like(name + strspn(name, "-"));
    struct stat info;
    if (near == NULL && stat(name, &info) == 0) {
        return km_fail(
            KM_USAGE, "%.200s: a file or folder, where a verb was expected: kmask VERB %.200s. See `kmask --help`.",
            name, name);
    }
    if (near != NULL) {
        return km_fail(KM_USAGE, "%.200s: unknown verb. Did you mean %s?", name, near);
    }
    return km_fail(KM_USAGE, "%.200s: unknown verb. See `kmask --help`.", name);
}

static km_status run_verb(int argc, char **argv) {
    const cli_verb *verb = cli_verb_named(argv[0]);
    if (verb == NULL) {
        return unknown_verb(argv[0]);
    }
    if (!cli_wants_help(argc, argv)) {
        if (verb->computes) {
            km_kernel_start();
        }
        return verb->run(argc, argv);
    }
    if (!km_log_muted()) { /* the first rank alone prints it */
        cli_help_verb(verb, stdout);
    }
    return KM_OK;
}

static bool is_one_of(const char *word, const char *a, const char *b) {
    return strcmp(word, a) == 0 || strcmp(word, b) == 0;
}

static km_status run(int argc, char **argv) {
    if (argc < 2) {
        if (!km_log_muted()) {
            cli_help(stderr);
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
            cli_help(stdout);
        } else if (!km_log_muted()) {
            puts("kmask " KM_VERSION);
        }
        return KM_OK;
    }
    return run_verb(argc - 1, argv + 1);
}

/* Fails where standard output could not be written. A reader that has closed the pipe early, such as head, is no failure. */
static km_status finish_output(void) {
    errno = 0;
    if ((fflush(stdout) != 0 || ferror(stdout)) && errno != EPIPE) {
        return errno != 0 ? km_fail_errno(errno, "standard output")
                          : km_fail_kind(KM_ERROR_IO, "standard output: not everything could be written");
    }
    return KM_OK;
}

/* Starts the program again with a faster kernel of OpenBLAS, where there is one. OpenBLAS selects a slow kernel on CPUs that it
 * does not know, and reads OPENBLAS_CORETYPE only when it is loaded. Where the user has set that variable, this only warns. */
static void choose_blas_kernel(char **argv) {
    const cli_verb *verb = argv[0] != NULL && argv[1] != NULL ? cli_verb_named(argv[1]) : NULL;
    const char *better = verb != NULL && verb->computes ? km_kernel_better_core() : NULL;
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

/* Prints the message of the failure, once and on one rank. */
static void complain(km_status status) {
    static bool said;
    if (status != KM_OK && !said && !km_log_muted()) {
        char *text = km_printable(km_message()[0] != '\0' ? km_message() : "failed without a message");
        fprintf(stderr, "kmask: %s\n", text);
        free(text);
    }
    said = said || status != KM_OK;
}

/* The message is printed before any rank ends, since a launcher kills all ranks once one has ended with a failure. */
km_status cli_close(km_comm *comm, km_status status) {
    complain(status);
    km_comm_close(comm);
    return status;
}

/* Whether what the verb prints is for programs: JSON, or text itself, which must stay what it is. */
static bool prints_data(int argc, char **argv) {
    static const char *const verbs[] = {"tokenizer", "generate", "manual", "config"};
    bool data = false;
    for (int i = 1; i < argc; i++) {
        data = data || strcmp(argv[i], "--json") == 0;
    }
    for (size_t i = 0; i < KM_COUNT(verbs) && argc > 1; i++) {
        data = data || strcmp(argv[1], verbs[i]) == 0;
    }
    return data;
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);    /* a file above the user's size limit then makes write fail, which is reported */
    prctl(PR_SET_NAME, "kmask"); /* for ps and top, which show "exe" after choose_blas_kernel */
    km_log_mute(!is_first_rank());
    choose_blas_kernel(argv);
    cli_filter_output(prints_data(argc, argv));
    km_run_set_marker(km_policy_mark);
    km_status status = run(argc, argv);
    status = status == KM_OK ? finish_output() : status;
    complain(status);
    if (status != KM_OK && km_log_muted()) {
        /* A failure before MPI has started: the first rank prints its message before another rank ends. */
        km_sleep(0.3);
    }
    return (int)status;
}
