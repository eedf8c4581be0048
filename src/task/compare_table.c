/* compare_table: models by tasks, with the best of each task and those that are not significantly worse. */
#include "kmask/task.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 1 << 28 };
static const double SIGNIFICANT = 0.1; /* Ye et al. 2021, Tables 1 to 3 */

/* One model on one task: the scores of what was chosen for it, by seed. */
typedef struct cell {
    int row, column;
    double *seeds, *scores; /* (count) */
    size_t count;
    double mean;
} cell;

typedef struct table {
    const char *split; /* "" or NULL: test where there is one, else dev */
    km_json **files;   /* (columns) whose texts the names are */
    const char **rows, **tasks, **metrics, **splits;
    int row_count, column_count;
    cell *cells;
    int cell_count;
} table;

static void free_table(table *t) {
    for (int i = 0; i < t->cell_count; i++) {
        free(t->cells[i].seeds);
        free(t->cells[i].scores);
    }
    for (int i = 0; i < t->column_count; i++) {
        km_json_destroy(t->files[i]);
    }
    free(t->cells);
    free(t->files);
    free(t->rows);
    free(t->tasks);
    free(t->metrics);
    free(t->splits);
}

/* ---- Reading ---- */

static int row_of(table *t, const char *init) {
    for (int i = 0; i < t->row_count; i++) {
        if (strcmp(t->rows[i], init) == 0) {
            return i;
        }
    }
    t->rows = km_grow(t->rows, (size_t)t->row_count + 1, sizeof *t->rows);
    t->rows[t->row_count] = init;
    return t->row_count++;
}

static bool is_of(const km_json *run, const km_json *chosen) {
    return strcmp(km_json_text(run, "init"), km_json_text(chosen, "init")) == 0 &&
           km_json_number_or(run, "lr", -1) == km_json_number_or(chosen, "lr", -2) &&
           km_json_number_or(run, "batch", -1) == km_json_number_or(chosen, "batch", -2) &&
           km_json_get(run, "diverged") == NULL;
}

/* The scores of the runs like `chosen`. */
static void add_cell(table *t, int column, const km_json *chosen) {
    const km_json *runs = km_json_get(t->files[column], "runs");
    cell c = {.row = row_of(t, km_json_text(chosen, "init")), .column = column};
    c.seeds = km_new(km_json_size(runs) + 1, sizeof *c.seeds);
    c.scores = km_new(km_json_size(runs) + 1, sizeof *c.scores);
    for (const km_json *run = km_json_first(runs); run != NULL; run = km_json_next(run)) {
        if (is_of(run, chosen)) {
            const km_json *scores = km_json_get(run, t->splits[column]);
            c.seeds[c.count] = km_json_number_or(run, "seed", NAN);
            c.scores[c.count] = km_json_number_or(scores, t->metrics[column], NAN);
            c.mean += c.scores[c.count++];
        }
    }
    c.mean = c.count > 0 ? c.mean / (double)c.count : NAN;
    t->cells = km_grow(t->cells, (size_t)t->cell_count + 1, sizeof *t->cells);
    t->cells[t->cell_count++] = c;
}

static km_status read_file(table *t, const char *path) {
    const int column = t->column_count;
    KM_TRY(km_json_load(&t->files[column], path, MOST));
    t->column_count++;
    const km_json *json = t->files[column], *all = km_json_get(json, "chosen_by_init");
    const bool tested = km_json_size(km_json_get(km_json_get(json, "chosen"), "test")) > 0;
    t->tasks[column] = km_json_text(json, "task");
    t->metrics[column] = km_json_text(json, "metric");
    t->splits[column] = t->split != NULL && t->split[0] != '\0' ? t->split : tested ? "test" : "dev";
    if (km_json_size(all) == 0 || t->metrics[column][0] == '\0') {
        return km_fail(KM_FAILED, "%s: no chosen runs, expected a results.json of `kmask finetune`.", path);
    }
    for (const km_json *chosen = km_json_first(all); chosen != NULL; chosen = km_json_next(chosen)) {
        add_cell(t, column, chosen);
        if (isnan(t->cells[t->cell_count - 1].mean)) {
            return km_fail(KM_FAILED, "%s: no scores of %s for %s, expected some for each model.", path,
                           t->splits[column], km_json_text(chosen, "init"));
        }
    }
    return KM_OK;
}

/* Files of one task, as when each model was searched by itself, are one column. */
static void join_columns(table *t) {
    for (int i = 0; i < t->cell_count; i++) {
        cell *c = &t->cells[i];
        for (int column = 0; column < c->column; column++) {
            if (strcmp(t->tasks[column], t->tasks[c->column]) == 0 &&
                strcmp(t->metrics[column], t->metrics[c->column]) == 0 &&
                strcmp(t->splits[column], t->splits[c->column]) == 0) {
                c->column = column;
            }
        }
    }
}

static cell *find(const table *t, int row, int column) {
    for (int i = 0; i < t->cell_count; i++) {
        if (t->cells[i].row == row && t->cells[i].column == column) {
            return &t->cells[i];
        }
    }
    return NULL;
}

static bool has_seed(const cell *c, double seed) {
    for (size_t i = 0; i < c->count; i++) {
        if (c->seeds[i] == seed) {
            return true;
        }
    }
    return false;
}

/* Appends the seeds of `from`, which `into` may not have. */
static km_status add_seeds(const table *t, cell *into, const cell *from) {
    const size_t count = into->count + from->count;
    into->seeds = km_grow(into->seeds, count, sizeof *into->seeds);
    into->scores = km_grow(into->scores, count, sizeof *into->scores);
    into->mean = (into->mean * (double)into->count + from->mean * (double)from->count) / (double)count;
    for (size_t i = 0; i < from->count; i++) {
        if (has_seed(into, from->seeds[i])) {
            return km_fail(KM_FAILED,
                           "%s has two results for %s with seed %.0f, expected one. Give tasks names of their own "
                           "(task.name).",
                           t->rows[into->row], t->tasks[into->column], from->seeds[i]);
        }
        into->seeds[into->count] = from->seeds[i];
        into->scores[into->count++] = from->scores[i];
    }
    return KM_OK;
}

/* Results of a model for a task from several files, each with seeds of its own, are one cell. */
static km_status join_seeds(table *t) {
    for (int i = t->cell_count - 1; i > 0; i--) {
        cell *c = &t->cells[i], *first = find(t, c->row, c->column);
        if (first != c) {
            KM_TRY(add_seeds(t, first, c));
            free(c->seeds);
            free(c->scores);
            *c = t->cells[--t->cell_count];
        }
    }
    return KM_OK;
}

/* ---- Tests ---- */

static const cell *best_of(const table *t, int column) {
    const cell *best = NULL;
    for (int i = 0; i < t->cell_count; i++) {
        const cell *c = &t->cells[i];
        if (c->column == column && (best == NULL || c->mean > best->mean)) {
            best = c;
        }
    }
    return best;
}

/* p of the seeds that both have; NaN where there are fewer than two. Scores that are all equal have p 1. */
static double compare_cells(const cell *a, const cell *b) {
    double *x = km_new(a->count + 1, sizeof *x), *y = km_new(a->count + 1, sizeof *y), t = 0;
    size_t count = 0;
    bool equal = true;
    for (size_t i = 0; i < a->count; i++) {
        for (size_t j = 0; j < b->count; j++) {
            if (a->seeds[i] == b->seeds[j] && count <= i) {
                equal = equal && a->scores[i] == b->scores[j];
                x[count] = a->scores[i];
                y[count++] = b->scores[j];
            }
        }
    }
    const double p = count < 2 ? NAN : equal ? 1 : km_paired_t_test(&t, x, y, count);
    free(x);
    free(y);
    return p;
}

static double deviation_of(const cell *c) {
    double squares = 0;
    for (size_t i = 0; i < c->count; i++) {
        squares += (c->scores[i] - c->mean) * (c->scores[i] - c->mean);
    }
    return c->count > 1 ? sqrt(squares / (double)(c->count - 1)) : NAN;
}

/* ---- Results ---- */

static km_json *describe_cell(const cell *c, const cell *best) {
    km_json *json = km_json_object();
    const double p = c == best ? NAN : compare_cells(c, best);
    km_json_set_number(json, "n", (double)c->count);
    km_json_set_number(json, "mean", c->mean);
    km_json_set_number(json, "sd", deviation_of(c));
    km_json_set_boolean(json, "best", c == best);
    km_json_set_number(json, "p", p);
    km_json_set_boolean(json, "not_worse", c == best || p > SIGNIFICANT);
    return json;
}

static bool has_cells(const table *t, int column) {
    return best_of(t, column) != NULL;
}

static km_json *describe_tasks(const table *t) {
    km_json *list = km_json_array();
    for (int column = 0; column < t->column_count; column++) {
        if (has_cells(t, column)) {
            km_json *json = km_json_object();
            km_json_set_string(json, "task", t->tasks[column]);
            km_json_set_string(json, "metric", t->metrics[column]);
            km_json_set_string(json, "split", t->splits[column]);
            km_json_push(list, json);
        }
    }
    return list;
}

/* A row has a cell for each task, without scores where the model has no results. */
static km_json *describe_row(const table *t, int row) {
    km_json *json = km_json_object(), *cells = km_json_array();
    for (int column = 0; column < t->column_count; column++) {
        if (has_cells(t, column)) {
            const cell *c = find(t, row, column);
            km_json_push(cells, c != NULL ? describe_cell(c, best_of(t, column)) : km_json_object());
        }
    }
    km_json_set_string(json, "init", t->rows[row]);
    km_json_set(json, "cells", cells);
    return json;
}

static km_json *describe(const table *t) {
    km_json *out = km_json_object(), *rows = km_json_array();
    for (int row = 0; row < t->row_count; row++) {
        km_json_push(rows, describe_row(t, row));
    }
    km_json_set(out, "tasks", describe_tasks(t));
    km_json_set(out, "rows", rows);
    return out;
}

km_status km_compare_table(km_json **out, const char *const *paths, int count, const char *split) {
    const size_t room = (size_t)count;
    table t = {.split = split, .files = km_new(room, sizeof *t.files)};
    t.tasks = km_new(room, sizeof *t.tasks);
    t.metrics = km_new(room, sizeof *t.metrics);
    t.splits = km_new(room, sizeof *t.splits);
    km_status status = KM_OK;
    *out = NULL;
    for (int i = 0; i < count && status == KM_OK; i++) {
        status = read_file(&t, paths[i]);
    }
    if (status == KM_OK) {
        join_columns(&t);
        status = join_seeds(&t);
    }
    *out = status == KM_OK ? describe(&t) : NULL;
    free_table(&t);
    return status;
}
