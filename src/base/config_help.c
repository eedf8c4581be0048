/* The help on config keys: a column each for key and default, then meaning and range, wrapped. */
#include "config_option.h"

#include <string.h>

enum { INDENT = 46, WIDTH = 110 };

static void range_text(const km_option *option, km_buffer *out) {
    static const char *const before[] = {[KM_INT] = "whole number ",
                                         [KM_DOUBLE] = "number ",
                                         [KM_BOOL] = "true|false",
                                         [KM_FILE] = "path",
                                         [KM_CHOICE] = "",
                                         [KM_RATIO] = "partition|",
                                         [KM_EVERY] = "N or [N, ...]; each "};
    km_buffer_print(out, "%s%s", before[option->kind], option->range == NULL ? "" : option->range);
}

/* Breaks at blanks; what follows the first line starts at INDENT. */
static void print_wrapped(FILE *stream, const char *text) {
    int column = INDENT;
    while (*text != '\0') {
        int word = (int)strcspn(text, " ");
        if (column > INDENT && column + 1 + word > WIDTH) {
            fprintf(stream, "\n%*s", INDENT, "");
            column = INDENT;
        }
        column += fprintf(stream, "%s%.*s", column > INDENT ? " " : "", word, text);
        text += word;
        text += *text == ' ';
    }
    fprintf(stream, "\n");
}

void km_config_help(FILE *stream) {
    fprintf(stream, "  %-*s%s\n", INDENT - 2, "key                         default",
            "meaning [range]; * may differ when a run is resumed");
    for (int i = 0; i < km_option_count; i++) {
        const km_option *option = &km_options[i];
        const char *dot = strchr(option->key, '.');
        int section = (int)(dot - option->key);
        if (i == 0 || strncmp(km_options[i - 1].key, option->key, (size_t)section + 1) != 0) {
            fprintf(stream, "%.*s\n", section, option->key);
        }
        fprintf(stream, "  %c %-26s", option->resume == KM_MAY_CHANGE ? '*' : ' ', dot + 1);
        fprintf(stream, " %-*s", INDENT - 31, option->standard == NULL ? "-" : option->standard);
        km_buffer text = {0};
        km_buffer_print(&text, "%s [", option->help);
        range_text(option, &text);
        km_buffer_print(&text, "]");
        print_wrapped(stream, text.data);
        km_buffer_free(&text);
    }
}
