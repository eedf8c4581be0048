/* options: one parser for the command-line options of all verbs, which walks a table of options. */
#include "cli.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void cli_print_json(km_json *json) {
    char *text = km_json_print(json, true);
    puts(text);
    free(text);
    km_json_destroy(json);
}

/* ---- Values ---- */

static bool within(const cli_option *option, double value) {
    return option->low == option->high || (value >= option->low && value <= option->high);
}

static km_status refuse(const cli_option *option, const char *value, const char *what) {
    if (option->low == option->high) {
        return km_fail(KM_USAGE, "--%s: found %.200s, expected %s", option->name, value, what);
    }
    return km_fail(KM_USAGE, "--%s: found %.200s, expected %s from %.15g to %.15g", option->name, value, what,
                   option->low, option->high);
}

static km_status take_integer(const cli_option *option, const char *value) {
    char *end = NULL;
    errno = 0;
    long long number = strtoll(value, &end, 10);
    if (end == value || *end != '\0' || errno != 0 || !within(option, (double)number)) {
        return refuse(option, value, "a whole number");
    }
    *(int64_t *)option->out = number;
    return KM_OK;
}

static km_status take_number(const cli_option *option, const char *value) {
    char *end = NULL;
    double number = strtod(value, &end);
    if (end == value || *end != '\0' || !isfinite(number) || !within(option, number)) {
        return refuse(option, value, "a number");
    }
    *(double *)option->out = number;
    return KM_OK;
}

static km_status take_text(const cli_option *option, const char *value) {
    bool known = option->choices == NULL;
    for (const char *at = option->choices; !known && *at != '\0'; at += *at == '|') {
        size_t length = strcspn(at, "|");
        known = strlen(value) == length && strncmp(at, value, length) == 0;
        at += length;
    }
    if (!known) {
        return km_fail(KM_USAGE, "--%s: found %.200s, expected one of %s", option->name, value, option->choices);
    }
    *(const char **)option->out = value;
    return KM_OK;
}

static km_status take_item(const cli_option *option, char *value) {
    cli_list *list = option->out;
    list->items = km_grow(list->items, (size_t)list->count + 1, sizeof *list->items);
    list->items[list->count++] = value;
    return KM_OK;
}

static km_status take(const cli_option *option, char *value) {
    switch (option->kind) {
    case CLI_FLAG:
        *(bool *)option->out = true;
        return KM_OK;
    case CLI_TEXT:
        return take_text(option, value);
    case CLI_INTEGER:
        return take_integer(option, value);
    case CLI_NUMBER:
        return take_number(option, value);
    case CLI_LIST:
        return take_item(option, value);
    }
    return KM_OK;
}

/* ---- Arguments ---- */

static const cli_option *find(const cli_option *options, int count, const char *name, size_t length) {
    for (int i = 0; i < count; i++) {
        if (strlen(options[i].name) == length && strncmp(options[i].name, name, length) == 0) {
            return &options[i];
        }
    }
    return NULL;
}

static km_status unknown(const cli_option *options, int count, const char *verb, const char *argument) {
    const char **names = km_new((size_t)count + 2, sizeof *names);
    for (int i = 0; i < count; i++) {
        names[i] = options[i].name;
    }
    names[count] = "help";
    const char *word = argument + strspn(argument, "-");
    char *name = km_format("%.*s", (int)KM_MIN(strcspn(word, "="), 200), word);
    const char *near = km_nearest(name, names);
    char *hint = NULL;
    if (near != NULL) {
        hint = km_format("Did you mean --%s?", near);
    } else if (find(options, count, "set", strlen("set")) == NULL) {
        hint = km_format("See `kmask %s --help`.", verb);
    } else if (strcmp(name, "config") == 0) {
        hint = km_format("The config is given without an option: `kmask %s CONFIG.json`.", verb);
    } else {
        hint = km_format(
            "Keys of the config are set with --set, as in --set train.steps=100. See `kmask %s --help`.", verb);
    }
    km_status status = km_fail(KM_USAGE, "%s: unknown option %.200s. %s", verb, argument, hint);
    free(hint);
    free(name);
    free(names);
    return status;
}

/* Reads the option at argv[*i] and its value. Afterwards *i is the last argument that belongs to it. */
static km_status take_option(int argc, char **argv, int *i, const cli_option *options, int count) {
    char *argument = argv[*i], *name = argument + 2, *equals = strchr(name, '=');
    size_t length = equals == NULL ? strlen(name) : (size_t)(equals - name);
    const cli_option *option = argument[1] == '-' ? find(options, count, name, length) : NULL;
    if (option == NULL) {
        return unknown(options, count, argv[0], argument);
    }
    char *value = equals == NULL ? NULL : equals + 1;
    if (option->kind == CLI_FLAG && value != NULL) {
        return km_fail(KM_USAGE, "--%s: found the value %.200s, expected none", option->name, value);
    }
    if (option->kind != CLI_FLAG && value == NULL) {
        if (*i + 1 == argc || strncmp(argv[*i + 1], "--", 2) == 0) {
            return km_fail(KM_USAGE, "--%s: no value follows. See `kmask %s --help`.", option->name, argv[0]);
        }
        value = argv[++*i];
    }
    return take(option, value);
}

km_status cli_parse(int *argc, char **argv, const cli_option *options, int count) {
    int kept = 1;
    bool ended = false;
    for (int i = 1; i < *argc; i++) {
        if (!ended && strcmp(argv[i], "--") == 0) {
            ended = true;
        } else if (ended || argv[i][0] != '-' || argv[i][1] == '\0') {
            argv[kept++] = argv[i];
        } else {
            KM_TRY(take_option(*argc, argv, &i, options, count));
        }
    }
    argv[kept] = NULL;
    *argc = kept;
    return KM_OK;
}
