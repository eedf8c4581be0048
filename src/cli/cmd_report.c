/* cmd_report: charts of one or several runs, and of measured variances, on one page. The page is report.html, in which markers
 * are replaced by the figures and by the script that draws variances. Logs are read line by line, and consecutive lines are
 * averaged, so that a log of a million lines takes little memory. */
#include "cli.h"
#include "page_policy.h"
#include "report_html.h"
#include "report_variance_js.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { LINE = 1 << 16, POINTS = 2000, VARIANCE_BYTES = 1 << 28 };

static const char help[] =
    "kmask report RUN... --out FILE.html\n"
    "\n"
    "Charts of one or several run folders on one self-contained page: loss, learning rate, gradient norm,\n"
    "throughput, share of communication, evaluations, final figures, and how the configs differ. It opens\n"
    "in any browser, without a network. Runs whose configs differ in nothing but the seed are one arm:\n"
    "its mean, with a band of one deviation, and differences between arms paired by seed; arms of one\n"
    "parent folder share a panel. A variance.json, or a folder with one (kmask variance), adds its\n"
    "figures.\n"
    "\n"
    "  kmask report runs/first runs/second --out report.html\n"
    "  kmask report runs/seeds/* runs/variance --out report.html\n";

/* ---- Series: a bounded number of points, however many lines there are ---- */

enum {
    STEP,
    TOKENS,
    SECONDS, /* the time of all steps so far, without what lies between them */
    LOSS,
    LR,
    GRAD_NORM,
    RATE,
    COMM,
    EVAL_LOSS,
    EVAL_ACCURACY,
    FIELDS
};
static const char *const FIELD_NAMES[FIELDS] = {"step",      "tokens",       "seconds",      "loss",
                                                "lr",        "grad_norm",    "tokens_per_s", "comm_share",
                                                "eval_loss", "eval_accuracy"};

/* The sums of consecutive lines. A field that a line lacks is not counted. */
typedef struct point {
    double sum[FIELDS];
    int64_t count[FIELDS];
    double low, high; /* the smallest and largest loss of the lines, which an average would hide */
} point;

/* A series of at most 2*POINTS points. When it is full, each two neighbours are merged, and a point then holds twice as many
 * lines. */
typedef struct series {
    point points[2 * POINTS];
    int count;
    int64_t width, filled; /* how many lines a point holds; how many the last point has so far */
} series;

static void merge(point *into, const point *other) {
    for (int f = 0; f < FIELDS; f++) {
        into->sum[f] += other->sum[f];
        into->count[f] += other->count[f];
    }
    into->low = fmin(into->low, other->low);
    into->high = fmax(into->high, other->high);
}

static void halve(series *s) {
    for (int i = 0; i < POINTS; i++) {
        point pair = s->points[2 * i];
        merge(&pair, &s->points[2 * i + 1]);
        s->points[i] = pair;
    }
    s->count = POINTS;
    s->width *= 2;
}

static void series_add(series *s, const double values[FIELDS]) {
    if (s->width == 0 || s->filled == s->width) {
        if (s->count == 2 * POINTS) {
            halve(s);
        }
        s->width = KM_MAX(s->width, 1);
        s->points[s->count++] = (point){.low = NAN, .high = NAN};
        s->filled = 0;
    }
    point one = {.low = values[LOSS], .high = values[LOSS]};
    for (int f = 0; f < FIELDS; f++) {
        one.count[f] = isfinite(values[f]);
        one.sum[f] = one.count[f] ? values[f] : 0;
    }
    merge(&s->points[s->count - 1], &one);
    s->filled++;
}

/* ---- Runs ---- */

typedef struct run {
    const char *folder;
    char *name;
    km_json *config; /* NULL where there is none */
    series lines, evals;
    float *rates; /* of all lines, for the median */
    size_t rate_count, rate_capacity;
    int64_t good, bad, first_bad; /* lines */
    double step, tokens, loss, seconds, comm_seconds, masked;
    double best_eval_loss, best_eval_step, best_eval_accuracy;
    char weights_hash[33];
    double weights_hash_step;
} run;

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
    series_add(&r->evals, values);
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
        values[f] = number_of(line, FIELD_NAMES[f]);
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
        series_add(&r->lines, values);
    }
    take_rate(r, values[RATE]);
    take_evaluation(r, values);
    const char *hash = km_json_string(km_json_get(line, "weights_hash"));
    if (hash != NULL) {
        snprintf(r->weights_hash, sizeof r->weights_hash, "%s", hash);
        r->weights_hash_step = r->step;
    }
}

/* Reads the next line without its newline; false at the end. A line that is longer than LINE is cut, and then it is not valid
 * JSON. */
static bool next_line(FILE *file, char *text, size_t *length) {
    int c = getc_unlocked(file);
    *length = 0;
    if (c == EOF) {
        return false;
    }
    for (; c != EOF && c != '\n'; c = getc_unlocked(file)) {
        if (*length < LINE) {
            text[(*length)++] = (char)c;
        }
    }
    return true;
}

static void read_lines(run *r, FILE *file) {
    static char text[LINE];
    size_t length = 0;
    for (int64_t number = 1; next_line(file, text, &length); number++) {
        km_json *line = NULL;
        if (length > 0 && km_json_parse(&line, text, length, r->folder) == KM_OK &&
            isfinite(number_of(line, "step"))) {
            take_line(r, line);
            r->good++;
        } else if (r->bad++ == 0) {
            r->first_bad = number;
        }
        km_json_destroy(line);
    }
}

static km_status read_metrics(run *r) {
    char *path = km_format("%s/metrics.jsonl", r->folder);
    FILE *file = fopen(path, "r");
    struct stat info;
    km_status status = KM_OK;
    if (file == NULL) {
        bool there = stat(r->folder, &info) == 0;
        status = km_fail_kind(km_errno_kind(errno), "%s: cannot open: %s.%s", there ? path : r->folder,
                              strerror(errno), there ? " A run folder has one once the run has made a step." : "");
    } else {
        read_lines(r, file);
        if (ferror(file)) {
            status = km_fail_errno(errno, "%s: cannot read", path);
        } else if (r->good == 0) {
            status = km_fail(KM_FAILED, "%s: found no line of a step in it. Has the run made one yet?", path);
        } else if (r->bad > 0) {
            km_warn("%s: %lld of %lld lines cannot be read and are left out, the first is line %lld", path,
                    (long long)r->bad, (long long)(r->good + r->bad), (long long)r->first_bad);
        }
        fclose(file);
    }
    free(path);
    return status;
}

static km_status read_run(run *r) {
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

/* Names each run by its folder's name, or by its path where several folders have the same name. */
static void name_runs(run *const *runs, int count) {
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

/* ---- The page's data ---- */

static void print_value(km_buffer *out, double value) {
    if (isfinite(value)) {
        km_buffer_print(out, fabs(value) < 1e15 && value == floor(value) ? "%.0f" : "%.6g", value);
    } else {
        km_buffer_print(out, "null");
    }
}

typedef double (*reader)(const point *p, int field);

static double mean_of(const point *p, int field) {
    return p->count[field] > 0 ? p->sum[field] / (double)p->count[field] : NAN;
}

static double low_of(const point *p, int field) {
    (void)field;
    return p->low;
}

static double high_of(const point *p, int field) {
    (void)field;
    return p->high;
}

static void print_column(km_buffer *out, const series *s, const char *name, reader read, int field) {
    km_buffer_print(out, "\"%s\":[", name);
    for (int i = 0; i < s->count; i++) {
        km_buffer_print(out, i > 0 ? "," : "");
        print_value(out, read(&s->points[i], field));
    }
    km_buffer_print(out, "]");
}

static void print_series(km_buffer *out, const series *s, int first, int last) {
    km_buffer_print(out, "{\"width\":%lld", (long long)s->width);
    for (int f = 0; f <= last; f++) {
        if (f <= SECONDS || f >= first) {
            km_buffer_print(out, ",");
            print_column(out, s, FIELD_NAMES[f], mean_of, f);
        }
    }
    if (first == LOSS && s->width > 1) {
        km_buffer_print(out, ",");
        print_column(out, s, "loss_low", low_of, LOSS);
        km_buffer_print(out, ",");
        print_column(out, s, "loss_high", high_of, LOSS);
    }
    km_buffer_print(out, "}");
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
    return json;
}

static void print_run(km_buffer *out, run *r) {
    km_json *head = km_json_object();
    km_json_set_string(head, "name", r->name);
    km_json_set_string(head, "folder", r->folder);
    km_json_set(head, "final", final_of(r));
    if (r->config != NULL) {
        km_json_set(head, "config", r->config);
        r->config = NULL; /* the document owns it now */
    }
    char *text = km_json_print(head, false);
    km_buffer_add(out, text, strlen(text) - 1); /* without the last brace: the series follow inside the object */
    km_buffer_print(out, ",\"lines\":");
    print_series(out, &r->lines, LOSS, COMM);
    km_buffer_print(out, ",\"evals\":");
    print_series(out, &r->evals, EVAL_LOSS, EVAL_ACCURACY);
    km_buffer_print(out, "}");
    free(text);
    km_json_destroy(head);
}

/* Adds JSON with "<" escaped, since it stands inside <script>. JSON has "<" only in strings, where an escape means the same. */
static void add_escaped(km_buffer *out, const char *json, size_t size) {
    const char *from = json, *end = json + size;
    while (from < end) {
        const char *less = memchr(from, '<', (size_t)(end - from));
        km_buffer_add(out, from, (size_t)((less != NULL ? less : end) - from));
        if (less != NULL) {
            km_buffer_print(out, "\\u003c");
        }
        from = less != NULL ? less + 1 : end;
    }
}

static void add_runs(km_buffer *out, run *const *runs, int count) {
    km_buffer json = {0};
    km_buffer_print(&json, "[");
    for (int i = 0; i < count; i++) {
        km_buffer_print(&json, i > 0 ? ",\n" : "");
        print_run(&json, runs[i]);
    }
    km_buffer_print(&json, "]");
    add_escaped(out, json.data, json.size);
    km_buffer_free(&json);
}

/* What the page shows: runs, and results of `kmask variance`. */
typedef struct sources {
    run **runs;
    int run_count;
    km_json *variances; /* an array of documents, each a variance.json */
} sources;

static km_status write_page(const sources *from, const char *path) {
    static const char *const markers[] = {"@RUNS@", "@VARIANCES@", "@VARIANCE_SCRIPT@"};
    const char *page = (const char *)report_html;
    km_buffer out = {0};
    for (size_t i = 0; i < KM_COUNT(markers); i++) {
        const char *marker = strstr(page, markers[i]);
        if (marker == NULL) {
            km_buffer_free(&out);
            return km_fail(KM_FAILED, "report.html: the marker %s is missing; this kmask is built wrongly",
                           markers[i]);
        }
        km_buffer_add(&out, page, (size_t)(marker - page));
        if (i == 0) {
            add_runs(&out, from->runs, from->run_count);
        } else if (i == 1) {
            char *json = km_json_print(from->variances, false);
            add_escaped(&out, json, strlen(json));
            free(json);
        } else {
            km_buffer_add(&out, report_variance_js, strlen((const char *)report_variance_js));
        }
        page = marker + strlen(markers[i]);
    }
    km_buffer_add(&out, page, strlen(page));
    km_status status = cli_add_policy(&out);
    if (status == KM_OK) {
        status = km_file_replace(path, out.data, out.size);
    }
    km_buffer_free(&out);
    return status;
}

static run *run_create(const char *folder) {
    run *r = km_new(1, sizeof *r);
    r->folder = folder;
    r->loss = r->best_eval_loss = r->best_eval_step = r->best_eval_accuracy = r->weights_hash_step = NAN;
    return r;
}

static void run_destroy(run *r) {
    km_json_destroy(r->config);
    free(r->rates);
    free(r->name);
    free(r);
}

/* Adds a file of `kmask variance`: the whole document, and the name of its folder. */
static km_status read_variance(km_json *variances, const char *path, const char *name) {
    km_json *json = NULL;
    KM_TRY(km_json_load(&json, path, VARIANCE_BYTES));
    if (km_json_get(json, "estimates") == NULL || km_json_get(json, "distance") == NULL) {
        km_json_destroy(json);
        return km_fail(KM_FAILED, "%s: found no estimates in it, expected what `kmask variance` wrote", path);
    }
    km_json_set_string(json, "name", name);
    km_json_push(variances, json);
    return KM_OK;
}

/* Finds variance.json in a run folder (<run.dir>/variance, where `kmask variance` writes it) or in that folder itself. */
static char *variance_in(const char *folder) {
    char *inner = km_format("%s/variance/variance.json", folder);
    if (km_file_exists(inner)) {
        return inner;
    }
    free(inner);
    return km_format("%s/variance.json", folder);
}

/* Reads a source, which is a run folder, a folder with a variance.json, a folder with both, or a variance.json. */
static km_status read_source(sources *out, const char *path) {
    struct stat info;
    if (stat(path, &info) == 0 && S_ISREG(info.st_mode)) {
        return read_variance(out->variances, path, path);
    }
    char *variance = variance_in(path), *metrics = km_format("%s/metrics.jsonl", path);
    bool has_variance = km_file_exists(variance), has_metrics = km_file_exists(metrics);
    km_status status = has_variance ? read_variance(out->variances, variance, path) : KM_OK;
    free(variance);
    free(metrics);
    if (status == KM_OK && (has_metrics || !has_variance)) {
        run *r = run_create(path);
        out->runs[out->run_count++] = r;
        status = read_run(r);
    }
    return status;
}

static km_status report(char *const *paths, int count, const char *out) {
    sources from = {.runs = km_new((size_t)count, sizeof *from.runs), .variances = km_json_array()};
    km_status status = KM_OK;
    for (int i = 0; status == KM_OK && i < count; i++) {
        status = read_source(&from, paths[i]);
    }
    if (status == KM_OK) {
        name_runs(from.runs, from.run_count);
        status = write_page(&from, out);
    }
    for (int i = 0; i < from.run_count; i++) {
        run_destroy(from.runs[i]);
    }
    free(from.runs);
    km_json_destroy(from.variances);
    return status;
}

static km_status command(int argc, char **argv) {
    const char *out = NULL;
    const cli_option options[] = {{.name = "out", .kind = CLI_TEXT, .out = &out}};
    KM_TRY(cli_parse(&argc, argv, options, KM_COUNT(options)));
    if (argc < 2) {
        return km_fail(KM_USAGE, "report needs at least one run folder or variance.json (see kmask report --help)");
    }
    if (out == NULL) {
        return km_fail(KM_USAGE, "report needs --out FILE.html (see kmask report --help)");
    }
    KM_TRY(report(argv + 1, argc - 1, out));
    km_log("%s: %d folder%s on one page; open it in a browser", out, argc - 1, argc > 2 ? "s" : "");
    return KM_OK;
}

const cli_verb cmd_report = {.name = "report",
                             .arguments = "RUN... --out FILE.html",
                             .summary = "charts of runs on one page",
                             .help = help,
                             .run = command};
