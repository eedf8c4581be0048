/* cmd_manual: the man pages kmask(1) and kmask-config(5), from the tables of verbs and options, in the language of man(7). The
 * build installs what it prints. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

static const char help[] =
    "kmask manual kmask|kmask-config [--date YYYY-MM-DD] [--out FILE]\n"
    "\n"
    "Prints the man page kmask(1) or kmask-config(5). Where kmask is installed, `man kmask` finds them.\n"
    "\n"
    "  kmask manual kmask-config | man -l -\n"
    "\n"
    "  --date DATE   the page's date\n"
    "  --out FILE    writes the page into a file\n";

/* ---- Text ---------------------------------------------------------------------------------------------------- */

/* Adds text with escapes, so that no line is read as a command of man(7), and hyphens and quotes are printed as a shell reads
 * them. */
static void add_text(km_buffer *out, const char *text, size_t length) {
    static const struct {
        char plain;
        const char *escaped;
    } escapes[] = {{'\\', "\\e"},  {'-', "\\-"},  {'\'', "\\(aq"}, {'`', "\\(ga"},
                   {'"', "\\(dq"}, {'|', "|\\:"}, {'^', "\\(ha"},  {'~', "\\(ti"}};
    if (length > 0 && text[0] == '.') {
        km_buffer_print(out, "\\&");
    }
    for (size_t i = 0; i < length; i++) {
        const char *escaped = NULL;
        for (size_t e = 0; e < KM_COUNT(escapes); e++) {
            escaped = text[i] == escapes[e].plain ? escapes[e].escaped : escaped;
        }
        if (escaped != NULL) {
            km_buffer_print(out, "%s", escaped);
        } else {
            km_buffer_add(out, &text[i], 1);
        }
    }
}

static void add_line(km_buffer *out, const char *text) {
    add_text(out, text, strlen(text));
    km_buffer_print(out, "\n");
}

/* Adds lines that are printed as they are, in a font of fixed width. */
static void add_literal(km_buffer *out, const char *text) {
    km_buffer_print(out, ".nf\n");
    while (*text != '\0') {
        size_t length = strcspn(text, "\n");
        add_text(out, text, length);
        km_buffer_print(out, "\n");
        text += length + (text[length] == '\n');
    }
    km_buffer_print(out, ".fi\n");
}

static void add_item(km_buffer *out, const char *term, const char *text) {
    km_buffer_print(out, ".TP\n.B ");
    add_line(out, term);
    add_line(out, text);
}

static void add_title(km_buffer *out, const char *name, int section, const char *date, const char *what) {
    km_buffer_print(out, ".TH %s %d \"%s\" \"kmask %s\"\n.SH NAME\n", name, section, date, KM_VERSION);
    add_text(out, name, strlen(name));
    km_buffer_print(out, " \\- %s\n", what);
}

/* ---- kmask(1) ------------------------------------------------------------------------------------------------ */

static void add_environment(km_buffer *out) {
    static const char *const variables[][2] = {
        {"OPENBLAS_CORETYPE",
         "The kernel that OpenBLAS takes. Where it is not set, kmask chooses the one that is best on this CPU."},
        {"TMPDIR", "The folder for temporary files (/tmp)."},
        {"SLURM_JOB_END_TIME",
         "When the job ends: pretrain saves and stops in time. Where it is not set, squeue is asked."}};
    km_buffer_print(out, ".SH ENVIRONMENT\n");
    for (size_t i = 0; i < KM_COUNT(variables); i++) {
        add_item(out, variables[i][0], variables[i][1]);
    }
}

static void add_verbs(km_buffer *out) {
    km_buffer_print(out, ".SH VERBS\n");
    for (const cli_verb *const *verb = cli_verbs; *verb != NULL; verb++) {
        char *term = km_format("%s %s", (*verb)->name, (*verb)->arguments);
        add_item(out, term, (*verb)->summary);
        free(term);
    }
    km_buffer_print(out, ".SH USAGE\n");
    for (const cli_verb *const *verb = cli_verbs; *verb != NULL; verb++) {
        km_buffer_print(out, ".SS kmask %s\n", (*verb)->name);
        add_literal(out, (*verb)->help);
    }
}

static void print_program(km_buffer *out, const char *date) {
    add_title(out, "kmask", 1, date, "pre\\-training of masked language models on CPU clusters");
    km_buffer_print(out, ".SH SYNOPSIS\n.B kmask\n.I verb\n.RI [ arguments ]\n"
                         ".br\n.B kmask\n.I verb\n.B \\-\\-help\n.br\n.B kmask \\-\\-version\n.SH DESCRIPTION\n");
    add_line(out,
             "kmask turns text into a BERT or RoBERTa model, or continues from a published one, on 1 to thousands "
             "of MPI ranks. The weights are the same, to the bit, on any number of ranks and threads, and after "
             "any number of restarts.");
    km_buffer_print(out, ".PP\n");
    add_line(out,
             "Results go to standard output, everything else to standard error. A config is a JSON file, which "
             "kmask-config(5) describes; --set section.key=value wins over it.");
    add_verbs(out);
    km_buffer_print(out, ".SH EXIT STATUS\n");
    for (const cli_exit *way = cli_exits; way->meaning != NULL; way++) {
        char *status = km_format("%d", way->status);
        add_item(out, status, way->meaning);
        free(status);
    }
    add_environment(out);
    km_buffer_print(out, ".SH EXAMPLES\nFrom text to a model:\n.PP\n");
    add_literal(out, cli_examples);
    km_buffer_print(out, ".SH SEE ALSO\n.BR kmask\\-config (5),\n.BR mpirun (1),\n.BR sbatch (1)\n");
}

/* ---- kmask-config(5) ----------------------------------------------------------------------------------------- */

static bool has_section(const km_schema *schema, const km_section *section) {
    km_field field;
    for (int i = 0; schema != NULL && km_schema_field(&field, schema, i); i++) {
        if (field.section == section) {
            return true;
        }
    }
    return false;
}

/* Adds which verbs read a section: "Read by pretrain, plan, ...". */
static void add_readers(km_buffer *out, const km_section *section) {
    const char *before = "Read by ";
    for (const cli_verb *const *verb = cli_verbs; *verb != NULL; verb++) {
        if (has_section((*verb)->schema, section)) {
            km_buffer_print(out, "%s%s", before, (*verb)->name);
            before = ", ";
        }
    }
    km_buffer_print(out, ".\n");
}

static void add_option(km_buffer *out, const km_field *field) {
    const km_option *option = field->option;
    km_buffer type = {0};
    km_option_type(option, &type);
    km_buffer_print(out, ".TP\n.BR %s.%s \" (", field->section->name, option->name);
    add_text(out, type.data, type.size);
    if (option->standard != NULL && strcmp(option->standard, KM_REQUIRED) == 0) {
        km_buffer_print(out, "; required");
    } else if (option->standard != NULL) {
        km_buffer_print(out, "; default ");
        add_text(out, option->standard, strlen(option->standard));
    }
    km_buffer_print(out, ")\"\n");
    add_text(out, option->help, strlen(option->help));
    km_buffer_print(out, ".\n");
    if (option->resume == KM_MAY_CHANGE) {
        km_buffer_print(out, "May differ on resume.\n");
    }
    km_buffer_free(&type);
}

/* Adds the options of a schema, without those sections that the schema of an earlier verb has. */
static void add_schema(km_buffer *out, const km_schema *schema, const km_schema *const *before, int count) {
    km_field field;
    const km_section *last = NULL;
    for (int i = 0; km_schema_field(&field, schema, i); i++) {
        bool known = false;
        for (int b = 0; b < count; b++) {
            known = known || has_section(before[b], field.section);
        }
        if (known) {
            continue;
        }
        if (field.section != last) {
            km_buffer_print(out, ".SS %s\n", field.section->name);
            add_readers(out, field.section);
        }
        last = field.section;
        add_option(out, &field);
    }
}

static void print_config(km_buffer *out, const char *date) {
    add_title(out, "kmask-config", 5, date, "the config of a run of kmask");
    km_buffer_print(out, ".SH DESCRIPTION\n");
    add_line(
        out,
        "A config is JSON of two levels: sections, and in them keys. An unknown key is refused, with the nearest "
        "known one. null is as good as none. The smallest config for pretrain:");
    km_buffer_print(out, ".PP\n");
    add_literal(out, "{\"run\": {\"dir\": \"runs/first\"},\n \"model\": {\"preset\": \"tiny\"},\n"
                     " \"data\": {\"train\": \"corpus.h5\"},\n \"train\": {\"steps\": 1000, \"sequences\": 8},\n"
                     " \"optimizer\": {\"lr\": 1e-3}}\n");
    km_buffer_print(out, ".PP\n");
    add_line(out, "On the command line --set section.key=value wins over the file. A file may hold sections that "
                  "only another "
                  "verb reads: they are checked, and not used.");
    km_buffer_print(out, ".PP\n");
    add_line(
        out,
        "config.json in a run folder is the config with all defaults filled in, and can be used as a config. Its "
        "number \"version\" says which kmask can read it: a later version than the program's is refused.");
    km_buffer_print(out, ".PP\n");
    add_line(out, "When a run is resumed, keys that are marked so may have another value. The others are part of "
                  "what the run "
                  "is: for another value, start a new run folder with model.init = the newest checkpoint.");
    km_buffer_print(out, ".SH OPTIONS\n");
    const km_schema *const *all = cli_schemas();
    for (int i = 0; all[i] != NULL; i++) {
        add_schema(out, all[i], all, i);
    }
    km_buffer_print(out, ".SH SEE ALSO\n.BR kmask (1)\n");
}

/* ---- The command --------------------------------------------------------------------------------------------- */

static km_status command(int argc, char **argv) {
    static const char *const names[] = {"kmask", "kmask-config", NULL};
    static void (*const pages[])(km_buffer *, const char *) = {print_program, print_config};
    const char *date = "", *path = NULL;
    const cli_option options[] = {{.name = "date", .kind = CLI_TEXT, .out = &date},
                                  {.name = "out", .kind = CLI_TEXT, .out = &path}};
    KM_TRY(cli_parse(&argc, argv, options, KM_COUNT(options)));
    for (int i = 0; argc == 2 && names[i] != NULL; i++) {
        if (strcmp(argv[1], names[i]) == 0) {
            km_buffer page = {0};
            pages[i](&page, date);
            km_status status = KM_OK;
            if (path != NULL) {
                status = km_out_replace(path, page.data, page.size);
            } else {
                fwrite(page.data, 1, page.size, stdout);
            }
            km_buffer_free(&page);
            return status;
        }
    }
    return km_fail(KM_USAGE, "manual takes the name of a page, kmask or kmask-config. See `kmask manual --help`.");
}

const cli_verb cmd_manual = {.name = "manual",
                             .arguments = "kmask|kmask-config",
                             .also = "man",
                             .summary = "prints a man page: of the program, or of all keys of its configs",
                             .help = help,
                             .run = command};
