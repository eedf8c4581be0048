/* schema_help: the help on config keys. Key and default have a column each; meaning and range follow, wrapped. */
#include "option.h"

#include <string.h>

enum { INDENT = 48, WIDTH = 110 };

void km_option_type(const km_option *option, km_buffer *out) {
    static const char *const before[] = {[KM_INT] = "int ",
                                         [KM_DOUBLE] = "",
                                         [KM_FLAG] = "true|false",
                                         [KM_FILE] = "path",
                                         [KM_CHOICE] = "",
                                         [KM_RATIO] = "partition|",
                                         [KM_EVERY] = "N or [N, ...], each ",
                                         [KM_NUMBER_LIST] = "N or [N, ...], each ",
                                         [KM_DOUBLE_LIST] = "x or [x, ...], each ",
                                         [KM_TEXT_LIST] = "one or a list of "};
    const char *choices = km_option_choices(option), *range = choices != NULL ? choices : option->range;
    bool texts = option->kind == KM_TEXT_LIST && range == NULL;
    km_buffer_print(out, "%s%s", before[option->kind], texts ? "texts" : range == NULL ? "" : range);
}

/* Prints the words of `text`, then `last`, which is not broken over lines. All lines but the first begin at column INDENT. */
static void print_wrapped(FILE *stream, const char *text, const char *last) {
    int column = INDENT;
    while (last != NULL) {
        const char *from = *text != '\0' ? text : last;
        int word = from == last ? (int)strlen(last) : (int)strcspn(text, " ");
        if (column > INDENT && column + 1 + word > WIDTH) {
            fprintf(stream, "\n%*s", INDENT, "");
            column = INDENT;
        }
        column += fprintf(stream, "%s%.*s", column > INDENT ? " " : "", word, from);
        last = from == last ? NULL : last;
        text += last == NULL ? 0 : word;
        text += last != NULL && *text == ' ';
    }
    fprintf(stream, "\n");
}

void km_schema_help(const km_schema *schema, FILE *stream) {
    fprintf(stream, "  %-*s%s\n", INDENT - 2, "  key                          default",
            "meaning [range]      (*: may differ on resume)");
    km_field field;
    const km_section *last = NULL;
    for (int i = 0; km_schema_field(&field, schema, i); i++) {
        const km_option *option = field.option;
        if (field.section != last) {
            fprintf(stream, "%s\n", field.section->name);
        }
        last = field.section;
        fprintf(stream, "  %c %-28s", option->resume == KM_MAY_CHANGE ? '*' : ' ', option->name);
        fprintf(stream, " %-*s", INDENT - 33, option->standard == NULL ? "-" : option->standard);
        km_buffer type = {0};
        km_buffer_print(&type, "[");
        km_option_type(option, &type);
        km_buffer_print(&type, "]");
        print_wrapped(stream, option->help, type.data);
        km_buffer_free(&type);
    }
}
