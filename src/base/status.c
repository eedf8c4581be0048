#include "kmask/base.h"

#include <stdarg.h>
#include <string.h>

enum { MESSAGE = 4096 };

static _Thread_local char message[MESSAGE];

km_status km_fail(km_status code, const char *format, ...) {
    char text[MESSAGE]; /* arguments may point into the old message */
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    memcpy(message, text, sizeof message);
    return code;
}

km_status km_context(km_status code, const char *format, ...) {
    char head[MESSAGE / 2];
    va_list list;
    va_start(list, format);
    vsnprintf(head, sizeof head, format, list);
    va_end(list);
    return km_fail(code, "%.2000s: %.2000s", head, message);
}

const char *km_message(void) {
    return message;
}
