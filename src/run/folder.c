/* folder: the run folder as a whole. starts.jsonl has two lines for each start of the run: one when it begins, one when it ends. */
#include "folder.h"

#include "kmask/kernel.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- Whose folder it is ---- */

static bool begins(const char *name, const char *with) {
    return strncmp(name, with, strlen(with)) == 0;
}

static bool ends(const char *name, const char *with) {
    size_t length = strlen(name), part = strlen(with);
    return length >= part && strcmp(name + length - part, with) == 0;
}

/* What a run, or a job that runs it, puts there. Config.json is not among them: many programs have a file of that name. */
static bool is_ours(const char *name) {
    static const char *const names[] = {"checkpoints", "snapshots",    "metrics.jsonl", "status.json",
                                        "lock",        "starts.jsonl", "variance",      "restarts"};
    for (size_t i = 0; i < KM_COUNT(names); i++) {
        if (strcmp(name, names[i]) == 0) {
            return true;
        }
    }
    return begins(name, "rows-") && ends(name, ".idx");
}

static bool is_neutral(const char *name) {
    return name[0] == '.' || ends(name, ".out") || ends(name, ".err") || ends(name, ".log");
}

km_status km_run_folder_check(const char *dir) {
    DIR *folder = opendir(dir);
    if (folder == NULL) { /* missing, or no folder: that is said where the folder is made */
        return KM_OK;
    }
    char foreign[NAME_MAX + 1] = "";
    bool ours = false;
    for (const struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        ours = ours || is_ours(entry->d_name);
        if (!is_ours(entry->d_name) && !is_neutral(entry->d_name) &&
            (foreign[0] == '\0' || strcmp(entry->d_name, foreign) < 0)) {
            snprintf(foreign, sizeof foreign, "%s", entry->d_name);
        }
    }
    closedir(folder);
    return ours || foreign[0] == '\0'
               ? KM_OK
               : km_fail(KM_USAGE,
                         "run.dir: %s has files that are not a run's, such as %s, expected a run folder, an empty "
                         "folder or a new name. Give the run a folder of its own.",
                         dir, foreign);
}

/* ---- starts.jsonl ---- */

/* The time now, as ISO 8601 has it: "2026-11-29T06:03:32Z". */
static void print_now(char out[32]) {
    time_t now = time(NULL);
    struct tm parts;
    if (gmtime_r(&now, &parts) == NULL || strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0) {
        out[0] = '\0';
    }
}

/* Appends the document as one line, and destroys it. */
static void append(const char *dir, km_json *json) {
    char *path = km_format("%s/starts.jsonl", dir), *text = km_json_print(json, false);
    char *line = km_format("%s\n", text);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0666);
    if (fd < 0 || write(fd, line, strlen(line)) != (ssize_t)strlen(line)) {
        km_warn("%s: cannot write: %s", path, strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
    free(line);
    free(text);
    free(path);
    km_json_destroy(json);
}

static void set_hash(km_json *json, const char *key, km_hash hash) {
    char text[33];
    km_hash_text(text, hash);
    km_json_set_string(json, key, text);
}

void km_run_note_start(const km_run *run) {
    char now[32], *cpu = km_cpu_name();
    print_now(now);
    const km_process self = km_process_self();
    km_json *json = km_json_object();
    km_json_set_string(json, "started", now);
    km_json_set_number(json, "step", (double)KM_MAX(run->resume_step, 0));
    if (run->descent != NULL) {
        km_json_set_string(json, "starts_from", run->descent);
        km_json_set_string(json, "moments", run->config.optimizer.init ? "taken" : "new");
    }
    km_json_set_string(json, "host", self.host);
    km_json_set_string(json, "cpu", cpu);
    km_json_set_string(json, "blas", km_kernel_core());
    km_json_set_number(json, "ranks", km_comm_size(run->comm));
    km_json_set_number(json, "threads", (double)run->config.parallel.threads);
    km_json_set_string(json, "kmask", KM_VERSION);
    km_json_set_number(json, "parameters", (double)km_model_table(run->model)->elements);
    km_json_set_number(json, "vocabulary", (double)km_tokenizer_size(km_corpus_tokenizer(run->corpus)));
    km_json_set_string(json, "corpus", km_corpus_path(run->corpus));
    km_json_set_number(json, "corpus_tokens", (double)km_corpus_tokens(run->corpus));
    set_hash(json, "corpus_hash", km_corpus_hash(run->corpus));
    set_hash(json, "tokenizer_hash", km_tokenizer_hash(km_corpus_tokenizer(run->corpus)));
    append(run->config.run.dir, json);
    free(cpu);
}

void km_run_note_end(const char *dir, km_status status, int64_t step) {
    char now[32];
    print_now(now);
    km_json *json = km_json_object();
    km_json_set_string(json, "ended", now);
    km_json_set_number(json, "step", (double)step);
    km_json_set_number(json, "status", status);
    append(dir, json);
}
