/* log: reading run folders. Logs are read line by line, so that a log of a million lines takes little memory. */
#include "log.h"

#include "kmask/run.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    LINE = 1 << 16,        /* longer lines are none of a log's */
    MOST_WITHOUT = 1 << 24 /* bytes without a line end: then the file is no log */
};

run *report_run_create(const char *folder) {
    run *r = km_new(1, sizeof *r);
    r->folder = folder;
    r->loss = r->best_eval_loss = r->best_eval_step = r->best_eval_accuracy = r->weights_hash_step = NAN;
    return r;
}

void report_run_destroy(run *r) {
    km_json_destroy(r->config);
    km_json_destroy(r->starts);
    km_buffer_free(&r->most_masked);
    free(r->rates);
    free(r->name);
    free(r);
}

static double number_of(const km_json *line, const char *key) {
    double value = NAN;
    (void)km_json_number(&value, km_json_get(line, key));
    return value;
}

static double or_zero(double value) {
    return isfinite(value) ? value : 0;
}

static void take_evaluation(run *r, const double values[FIELDS]) {
    if (!isfinite(values[EVAL_LOSS])) {
        return;
    }
    report_series_add(&r->evals, values);
    if (!(r->best_eval_loss <= values[EVAL_LOSS])) {
        r->best_eval_loss = values[EVAL_LOSS];
        r->best_eval_step = values[STEP];
        r->best_eval_accuracy = values[EVAL_ACCURACY];
    }
}

static void take_rate(run *r, double rate) {
    if (!isfinite(rate)) {
        return;
    }
    if (r->rate_count == r->rate_capacity) {
        r->rate_capacity = 2 * r->rate_capacity + 1024;
        r->rates = km_grow(r->rates, r->rate_capacity, sizeof *r->rates);
    }
    r->rates[r->rate_count++] = (float)rate;
}

static void take_line(run *r, const km_json *line) {
    double seconds = number_of(line, "seconds"), comm_seconds = number_of(line, "comm_seconds"), values[FIELDS];
    for (int f = 0; f < FIELDS; f++) {
        values[f] = number_of(line, report_fields[f]);
    }
    r->seconds += or_zero(seconds);
    r->comm_seconds += or_zero(comm_seconds);
    r->masked += or_zero(number_of(line, "masked"));
    r->step = values[STEP];
    r->tokens = isfinite(values[TOKENS]) ? values[TOKENS] : r->tokens;
    r->loss = isfinite(values[LOSS]) ? values[LOSS] : r->loss;
    values[TOKENS] = r->tokens;
    values[SECONDS] = r->seconds;
    values[COMM] = seconds > 0 ? comm_seconds / seconds : NAN;
    if (isfinite(values[LOSS])) {
        report_series_add(&r->lines, values);
    }
    take_rate(r, values[RATE]);
    take_evaluation(r, values);
    if (km_json_get(line, "most_masked") != NULL) {
        char *text = km_json_print(line, false);
        km_buffer_print(&r->most_masked, "%s%s", r->most_masked.size > 0 ? "," : "", text);
        free(text);
    }
    const char *hash = km_json_string(km_json_get(line, "weights_hash"));
    if (hash != NULL) {
        snprintf(r->weights_hash, sizeof r->weights_hash, "%s", hash);
        r->weights_hash_step = r->step;
    }
}

/* A log that is read: the bytes that it had when it was opened, since a run may go on adding to it. */
typedef struct log_reader {
    FILE *file;
    uint64_t left;
} log_reader;

static void count_missing(run *r, const km_json *line) {
    const int64_t before = r->last, missing = km_metrics_missing(line, &r->last);
    if (missing > 0 && r->missing == 0) {
        r->first_missing = before + 1;
    }
    r->missing += missing;
}

/* Reads the next line without its newline; false at the end. A line that is longer than LINE is cut, and then it is not valid
 * JSON; *taken is its whole length, or a little more than MOST_WITHOUT. */
static bool next_line(log_reader *log, char *text, size_t *length, size_t *taken) {
    *length = *taken = 0;
    int c = EOF;
    while (log->left > 0 && *taken <= MOST_WITHOUT && (c = getc_unlocked(log->file)) != EOF) {
        log->left--;
        ++*taken;
        if (c == '\n') {
            return true;
        }
        if (*length < LINE) {
            text[(*length)++] = (char)c;
        }
    }
    return *taken > 0;
}

static km_status read_lines(run *r, log_reader *log, const char *path) {
    static char text[LINE];
    size_t length = 0, taken = 0;
    for (int64_t number = 1; next_line(log, text, &length, &taken); number++) {
        km_json *line = NULL;
        if (taken > MOST_WITHOUT) {
            return km_fail_kind(KM_ERROR_DAMAGED, "%s: line %lld has more than %d MiB, expected the log of a run",
                                path, (long long)number, MOST_WITHOUT >> 20);
        }
        if (length > 0 && km_json_parse(&line, text, length, r->folder) == KM_OK &&
            isfinite(number_of(line, "step"))) {
            count_missing(r, line);
            take_line(r, line);
            r->good++;
        } else if (r->bad++ == 0) {
            r->first_bad = number;
        }
        km_json_destroy(line);
    }
    return ferror(log->file) ? km_fail_errno(errno, "%s: cannot read", path) : KM_OK;
}

static km_status open_log(log_reader *log, const run *r, const char *path) {
    struct stat info;
    log->file = km_file_stream(path);
    if (log->file == NULL) {
        const int failed = errno;
        const bool there = stat(r->folder, &info) == 0;
        return km_fail_kind(km_errno_kind(failed), "%s: cannot open: %s.%s", there ? path : r->folder,
                            strerror(failed), there ? " A run folder has one once the run has made a step." : "");
    }
    if (fstat(fileno(log->file), &info) == 0 &&
        S_ISREG(info.st_mode)) { /* another may have taken its name meanwhile */
        log->left = (uint64_t)info.st_size;
    }
    return KM_OK;
}

static km_status read_metrics(run *r) {
    char *path = km_format("%s/metrics.jsonl", r->folder);
    log_reader log = {0};
    km_status status = open_log(&log, r, path);
    status = status == KM_OK ? read_lines(r, &log, path) : status;
    if (status == KM_OK && r->good == 0) {
        status = km_fail(KM_FAILED, "%s: found no line of a step in it. Has the run made one yet?", path);
    } else if (status == KM_OK && r->bad > 0) {
        km_warn("%s: %lld of %lld lines cannot be read and are left out, the first is line %lld", path,
                (long long)r->bad, (long long)(r->good + r->bad), (long long)r->first_bad);
    }
    if (status == KM_OK && r->missing > 0) {
        km_warn("%s: %lld step(s) have no line, the first is step %lld; charts draw across them", path,
                (long long)r->missing, (long long)r->first_missing);
    }
    if (log.file != NULL) {
        fclose(log.file);
    }
    free(path);
    return status;
}

/* Reads starts.jsonl, which older runs do not have. A torn line is left out. */
static void read_starts(run *r) {
    enum { MOST = 1 << 20 };
    char *path = km_format("%s/starts.jsonl", r->folder), *text = NULL;
    size_t size = 0;
    r->starts = km_json_array();
    if (km_file_exists(path) && km_file_read(&text, &size, path, MOST) == KM_OK) {
        for (const char *line = text, *end = text + size; line < end;) {
            const char *stop = memchr(line, '\n', (size_t)(end - line));
            size_t length = (size_t)((stop != NULL ? stop : end) - line);
            km_json *json = NULL;
            if (length > 0 && km_json_parse(&json, line, length, path) == KM_OK && km_json_is_object(json)) {
                km_json_push(r->starts, json);
            } else {
                km_json_destroy(json);
            }
            line += length + 1;
        }
    }
    free(text);
    free(path);
}

/* What stands in place of a run's file and is none would be waited for. */
static km_status check_files(const char *folder) {
    static const char *const names[] = {"metrics.jsonl", "starts.jsonl", "config.json"};
    km_status status = KM_OK;
    for (size_t i = 0; i < KM_COUNT(names) && status == KM_OK; i++) {
        char *path = km_format("%s/%s", folder, names[i]);
        status = km_file_check_regular(path);
        free(path);
    }
    return status;
}

km_status report_run_read(run *r) {
    KM_TRY(check_files(r->folder));
    read_starts(r);
    KM_TRY(read_metrics(r));
    char *path = km_format("%s/config.json", r->folder);
    if (km_json_load(&r->config, path, 1 << 20) != KM_OK) {
        km_warn("%s; the page does without it", km_message());
    }
    free(path);
    return KM_OK;
}

static char *last_part(const char *folder) {
    char *whole = realpath(folder, NULL);
    const char *path = whole != NULL ? whole : folder, *slash = strrchr(path, '/');
    char *name = km_strdup(slash != NULL && slash[1] != '\0' ? slash + 1 : path);
    free(whole);
    return name;
}

void report_run_name_all(run *const *runs, int count) {
    for (int i = 0; i < count; i++) {
        runs[i]->name = last_part(runs[i]->folder);
        for (int j = 0; j < count; j++) {
            char *other = last_part(runs[j]->folder);
            if (j != i && strcmp(runs[i]->name, other) == 0) {
                free(runs[i]->name);
                runs[i]->name = km_strdup(runs[i]->folder);
            }
            free(other);
        }
    }
}

static int by_value(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double median(float *values, size_t count) {
    if (count == 0) {
        return NAN;
    }
    qsort(values, count, sizeof *values, by_value);
    return count % 2 == 1 ? (double)values[count / 2]
                          : 0.5 * ((double)values[count / 2 - 1] + (double)values[count / 2]);
}

static km_json *final_of(run *r) {
    km_json *json = km_json_object();
    const struct {
        const char *key;
        double value;
    } numbers[] = {
        {"step", r->step},
        {"tokens", r->tokens},
        {"masked", r->masked},
        {"loss", r->loss},
        {"best_eval_loss", r->best_eval_loss},
        {"best_eval_step", r->best_eval_step},
        {"best_eval_accuracy", r->best_eval_accuracy},
        {"tokens_per_s", median(r->rates, r->rate_count)},
        {"seconds", r->seconds},
        {"comm_share", r->seconds > 0 ? r->comm_seconds / r->seconds : NAN},
        {"weights_hash_step", r->weights_hash_step},
    };
    for (size_t i = 0; i < KM_COUNT(numbers); i++) {
        km_json_set_number(json, numbers[i].key, numbers[i].value);
    }
    km_json_set_string(json, "weights_hash", r->weights_hash);
    km_json_set_number(json, "lines", (double)r->good);
    km_json_set_number(json, "bad_lines", (double)r->bad);
    km_json_set_number(json, "missing_steps", (double)r->missing);
    return json;
}

void report_run_print(km_buffer *out, run *r) {
    km_json *head = km_json_object();
    km_json_set_string(head, "name", r->name);
    km_json_set_string(head, "folder", r->folder);
    km_json_set(head, "final", final_of(r));
    km_json_set(head, "starts", r->starts);
    r->starts = NULL; /* the document owns it now */
    if (r->config != NULL) {
        km_json_set(head, "config", r->config);
        r->config = NULL; /* the document owns it now */
    }
    char *text = km_json_print(head, false);
    km_buffer_add(out, text, strlen(text) - 1); /* without the last brace: the series follow inside the object */
    km_buffer_print(out, ",\"lines\":");
    report_series_print(out, &r->lines, LOSS, EVAL_LOSS - 1);
    km_buffer_print(out, ",\"evals\":");
    report_series_print(out, &r->evals, EVAL_LOSS, EVAL_AMONG_5);
    km_buffer_print(out, ",\"masked_over_time\":[%s]}", r->most_masked.size > 0 ? r->most_masked.data : "");
    free(text);
    km_json_destroy(head);
}
