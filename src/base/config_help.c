/* The help on config keys: a column each for key and default, then meaning and range, wrapped. */
#include "config_option.h"

#include <string.h>

enum { INDENT = 48, WIDTH = 110 };

static void range_text(const km_option *option, km_buffer *out) {
    static const char *const before[] = {[KM_INT] = "int ",
                                         [KM_DOUBLE] = "",
                                         [KM_BOOL] = "true|false",
                                         [KM_FILE] = "path",
                                         [KM_CHOICE] = "",
                                         [KM_RATIO] = "partition|",
                                         [KM_EVERY] = "N or [N, ...], each ",
                                         [KM_NUMBER_LIST] = "N or [N, ...], each ",
                                         [KM_TEXT_LIST] = "one or a list of "};
    km_buffer_print(out, "[%s%s]", before[option->kind], option->range == NULL ? "" : option->range);
}

/* The words of `text` and then `last`, which stays in one piece; what follows the first line starts at INDENT. */
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

void km_config_help(FILE *stream) {
    fprintf(stream, "  %-*s%s\n", INDENT - 2, "  key                          default",
            "meaning [range]      (*: may differ on resume)");
    for (int i = 0; i < km_option_count; i++) {
        const km_option *option = &km_options[i];
        const char *dot = strchr(option->key, '.');
        int section = (int)(dot - option->key);
        if (i == 0 || strncmp(km_options[i - 1].key, option->key, (size_t)section + 1) != 0) {
            fprintf(stream, "%.*s\n", section, option->key);
        }
        fprintf(stream, "  %c %-28s", option->resume == KM_MAY_CHANGE ? '*' : ' ', dot + 1);
        fprintf(stream, " %-*s", INDENT - 33, option->standard == NULL ? "-" : option->standard);
        km_buffer text = {0};
        range_text(option, &text);
        print_wrapped(stream, option->help, text.data);
        km_buffer_free(&text);
    }
}
