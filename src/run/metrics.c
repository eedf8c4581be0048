/* metrics: the log of steps, which is kept whole across crashes, and the status of a run. */
#include "metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- The log is opened ---- */

struct km_metrics {
    int fd;
    char *path;
    uint64_t size;     /* bytes in the file */
    km_buffer pending; /* lines that are not in it yet */
    bool warned;       /* that lines could not be written */
    double first_eval;
};

typedef enum line_kind { LINE_KEPT, LINE_DAMAGED, LINE_LATER } line_kind;

/* The line as JSON and its step; NULL where it is not whole, or has no step. The caller destroys. */
static km_json *parse_line(double *step, const char *text, size_t length, const char *path) {
    km_json *line = NULL;
    if (text[length - 1] == '\n' && km_json_parse(&line, text, length - 1, path) == KM_OK &&
        km_json_number(step, km_json_get(line, "step"))) {
        return line;
    }
    km_json_destroy(line);
    return NULL;
}

int64_t km_metrics_missing(const km_json *line, int64_t *last) {
    const double step = km_json_number_or(line, "step", 0), tokens = km_json_number_or(line, "tokens", 0);
    const double own = km_json_number_or(line, "tokens_per_s", 0) * km_json_number_or(line, "seconds", 0);
    const int64_t before = *last;
    if (!(step > 0) || !(tokens > 0) || !(own > 0)) {
        return 0;
    }
    *last = (int64_t)step;
    const double steps = KM_MAX(own / tokens * step, 1.0); /* that the line stands for */
    const int64_t first = (int64_t)(step - steps + 0.5);   /* the step before these */
    return KM_MAX(first - before, 0);
}

/* Whether the line belongs to a step up to `step`, to a later one, or is damaged. */
static line_kind read_line(km_metrics *metrics, const char *text, size_t length, int64_t step) {
    double at = 0, loss = 0;
    km_json *line = parse_line(&at, text, length, metrics->path);
    line_kind kind = line == NULL ? LINE_DAMAGED : at <= (double)step ? LINE_KEPT : LINE_LATER;
    if (kind == LINE_KEPT && at == 0 && km_json_number(&loss, km_json_get(line, "eval_loss"))) {
        metrics->first_eval = loss;
    }
    km_json_destroy(line);
    return kind;
}

/* metrics->size becomes the end of what is kept: the last good line up to `step`. Damaged lines before it stay where they are. The file is
 * read line by line, so that a long log takes no memory. */
static void find_end(km_metrics *metrics, FILE *file, int64_t step) {
    char *line = NULL;
    size_t room = 0;
    ssize_t length = 0;
    uint64_t end = 0;
    int damaged = 0, passed = 0;
    metrics->size = 0;
    while (step >= 0 && (length = getline(&line, &room, file)) > 0) {
        line_kind kind = read_line(metrics, line, (size_t)length, step);
        if (kind == LINE_LATER) {
            break;
        }
        end += (uint64_t)length;
        damaged += kind == LINE_DAMAGED;
        if (kind == LINE_KEPT) {
            metrics->size = end;
            passed = damaged;
        }
    }
    free(line);
    if (passed > 0) {
        km_warn("%s: %d damaged line(s) are left as they are; charts pass over them", metrics->path, passed);
    }
}

static km_status cut(km_metrics *metrics, int64_t step) {
    FILE *file = fopen(metrics->path, "r");
    if (file == NULL) {
        return km_fail_errno(errno, "%s: cannot open", metrics->path);
    }
    find_end(metrics, file, step);
    fclose(file);
    return ftruncate(metrics->fd, (off_t)metrics->size) == 0
               ? KM_OK
               : km_fail_errno(errno, "%s: cannot cut", metrics->path);
}

km_status km_metrics_open(km_metrics **out, const char *dir, int64_t step) {
    km_metrics *metrics = km_new(1, sizeof *metrics);
    metrics->path = km_format("%s/metrics.jsonl", dir);
    metrics->first_eval = NAN;
    metrics->fd = open(metrics->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666);
    struct stat info;
    km_status status = KM_OK;
    if (metrics->fd < 0) {
        status = km_fail_errno(errno, "%s: cannot open", metrics->path);
    } else if (fstat(metrics->fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        status = km_fail(KM_FAILED, "%s: found a device or pipe, expected a file", metrics->path);
    } else {
        status = cut(metrics, step);
    }
    if (status ==
        KM_OK) { /* otherwise a power cut could take the whole file, although its lines are synced before a save */
        status = km_file_sync_folder(metrics->path);
    }
    if (status != KM_OK) {
        km_metrics_close(metrics);
        metrics = NULL;
    }
    *out = metrics;
    return status;
}

/* ---- Lines are added ---- */

/* Writes the pending lines; where that fails they stay pending. */
static km_status flush(km_metrics *metrics) {
    if (metrics->pending.size == 0) {
        return KM_OK;
    }
    KM_TRY(km_pwrite_all(metrics->fd, metrics->pending.data, metrics->pending.size, metrics->size, metrics->path));
    metrics->size += metrics->pending.size;
    metrics->pending.size = 0;
    metrics->warned = false;
    return KM_OK;
}

static void flush_or_warn(km_metrics *metrics) {
    if (flush(metrics) != KM_OK && !metrics->warned) {
        km_warn("%s; the lines are kept and written later", km_message());
        metrics->warned = true;
    }
}

void km_metrics_add(km_metrics *metrics, km_json *line) {
    char *text = km_json_print(line, false);
    km_json_destroy(line);
    km_buffer_print(&metrics->pending, "%s\n", text);
    free(text);
    flush_or_warn(metrics);
}

km_status km_metrics_sync(km_metrics *metrics) {
    KM_TRY(flush(metrics));
    return km_file_sync(metrics->fd, metrics->path);
}

/* ---- An evaluation is added to a line that is there ---- */

/* The last line of `step`, and *at where it begins in the file; NULL where there is none. The caller destroys. */
static km_json *find_line(uint64_t *at, const char *path, int64_t step) {
    FILE *file = km_file_stream(path);
    char *text = NULL;
    size_t room = 0;
    ssize_t length = 0;
    uint64_t end = 0;
    km_json *found = NULL;
    while (file != NULL && (length = getline(&text, &room, file)) > 0) {
        double of = 0;
        km_json *line = parse_line(&of, text, (size_t)length, path);
        if (line != NULL && of == (double)step) {
            km_json_destroy(found);
            found = line;
            *at = end;
        } else {
            km_json_destroy(line);
        }
        end += (uint64_t)length;
    }
    free(text);
    if (file != NULL) {
        fclose(file);
    }
    return found;
}

void km_metrics_each(const char *dir, km_metrics_hook *hook, void *payload) {
    char *path = km_format("%s/metrics.jsonl", dir), *text = NULL;
    FILE *file = km_file_stream(path);
    size_t room = 0;
    ssize_t length = 0;
    while (file != NULL && (length = getline(&text, &room, file)) > 0) {
        double step = 0;
        km_json *line = parse_line(&step, text, (size_t)length, path);
        if (line != NULL) {
            hook(payload, line, (int64_t)step);
        }
        km_json_destroy(line);
    }
    free(text);
    if (file != NULL) {
        fclose(file);
    }
    free(path);
}

typedef struct holes {
    int64_t last, missing;
} holes;

static void count_missing(void *payload, const km_json *line, int64_t step) {
    holes *h = payload;
    (void)step;
    h->missing += km_metrics_missing(line, &h->last);
}

void km_metrics_warn_of_holes(const char *dir) {
    holes h = {0};
    km_metrics_each(dir, count_missing, &h);
    if (h.missing > 0) {
        km_warn(
            "%s/metrics.jsonl: %lld step(s) have no line; what they had is not known to charts, eval.patience and "
            "checkpoint.best",
            dir, (long long)h.missing);
    }
}

bool km_metrics_lacks_eval(const char *dir, int64_t step) {
    char *path = km_format("%s/metrics.jsonl", dir);
    uint64_t at = 0;
    km_json *line = find_line(&at, path, step);
    bool lacks = line != NULL ? km_json_get(line, "eval_loss") == NULL : step == 0;
    km_json_destroy(line);
    free(path);
    return lacks;
}

/* Writes the first `count` bytes of the log and then `text` to a new file. */
static km_status copy_with(const km_metrics *metrics, uint64_t count, const char *text, const char *path) {
    char piece[1 << 16];
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        return km_fail_errno(errno, "%s: cannot create", path);
    }
    km_status status = KM_OK;
    for (uint64_t done = 0; status == KM_OK && done < count;) {
        size_t some = (size_t)KM_MIN((uint64_t)sizeof piece, count - done);
        status = km_pread_all(metrics->fd, piece, some, done, metrics->path);
        if (status == KM_OK) {
            status = km_pwrite_all(fd, piece, some, done, path);
        }
        done += some;
    }
    if (status == KM_OK) {
        status = km_pwrite_all(fd, text, strlen(text), count, path);
    }
    close(fd);
    return status;
}

/* Replaces what follows byte `at` by `text`. A new file takes the place of the old one, so that a crash leaves one of the two. */
static km_status replace_end(km_metrics *metrics, uint64_t at, const char *text) {
    char *temporary = km_format("%s.tmp", metrics->path);
    km_status status = copy_with(metrics, at, text, temporary);
    if (status == KM_OK) {
        status = km_file_commit(temporary, metrics->path);
    }
    int fd = status == KM_OK ? open(metrics->path, O_RDWR | O_CLOEXEC) : -1;
    if (status == KM_OK && fd < 0) {
        status = km_fail_errno(errno, "%s: cannot open", metrics->path);
    }
    if (status == KM_OK) {
        close(metrics->fd);
        metrics->fd = fd;
        metrics->size = at + strlen(text);
    } else {
        (void)unlink(temporary);
    }
    free(temporary);
    return status;
}

void km_metrics_set_eval(km_json *line, const km_eval_result *result) {
    km_json_set_number(line, "eval_loss", result->loss);
    km_json_set_number(line, "eval_accuracy", result->accuracy);
    km_json_set_number(line, "unigram_entropy", result->unigram_entropy);
}

km_status km_metrics_add_eval(km_metrics *metrics, int64_t step, const km_eval_result *result) {
    uint64_t at = 0;
    km_json *line = find_line(&at, metrics->path, step);
    bool amends = line != NULL;
    if (!amends) {
        line = km_json_object();
        km_json_set_number(line, "step", (double)step);
    }
    km_metrics_set_eval(line, result);
    if (!amends) {
        km_metrics_add(metrics, line);
        return KM_OK;
    }
    char *text = km_json_print(line, false), *whole = km_format("%s\n", text);
    km_status status = replace_end(metrics, at, whole);
    free(whole);
    free(text);
    km_json_destroy(line);
    return status;
}

double km_metrics_first_eval(const km_metrics *metrics) {
    return metrics->first_eval;
}

void km_metrics_close(km_metrics *metrics) {
    if (metrics == NULL) {
        return;
    }
    if (metrics->fd >= 0) {
        flush_or_warn(metrics);
        close(metrics->fd);
    }
    km_buffer_free(&metrics->pending);
    free(metrics->path);
    free(metrics);
}

void km_status_write(const char *dir, km_status status, const char *reason, int64_t step, bool lost) {
    km_json *json = km_json_object();
    km_json_set_number(json, "status", status);
    km_json_set_string(json, "reason", reason);
    km_json_set_number(json, "step", (double)step);
    km_json_set_boolean(json, "retry", lost || status == KM_STOPPED);
    char *text = km_json_print(json, true), *path = km_format("%s/status.json", dir);
    if (km_file_replace(path, text, strlen(text)) != KM_OK) {
        km_warn("%s", km_message());
    }
    free(path);
    free(text);
    km_json_destroy(json);
}
