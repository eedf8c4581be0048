/* Errors: this thread's last failure, and failures that are carried from one thread to another. */
#include "kmask/base.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { MESSAGE = 4096 };

static _Thread_local char message[MESSAGE];
static _Thread_local km_error_kind kind;

/* Sets this thread's message. The new text is made before the old one is freed, since arguments may point into the old message. */
static void set_message(const char *format, va_list list) KM_PRINTF(1, 0);
static void set_message(const char *format, va_list list) {
    char text[MESSAGE];
    vsnprintf(text, sizeof text, format, list);
    memcpy(message, text, sizeof message);
}

static km_error_kind kind_of_status(km_status code) {
    switch (code) {
    case KM_USAGE:
        return KM_ERROR_USAGE;
    case KM_STOPPED:
        return KM_ERROR_STOPPED;
    case KM_NO_CHECKPOINT:
        return KM_ERROR_DAMAGED;
    default:
        return KM_ERROR_OTHER;
    }
}

km_status km_fail(km_status code, const char *format, ...) {
    va_list list;
    va_start(list, format);
    set_message(format, list);
    va_end(list);
    kind = kind_of_status(code);
    return code;
}

km_status km_fail_kind(km_error_kind its_kind, const char *format, ...) {
    va_list list;
    va_start(list, format);
    set_message(format, list);
    va_end(list);
    kind = its_kind;
    return KM_FAILED;
}

km_status km_fail_errno(int number, const char *format, ...) {
    va_list list;
    va_start(list, format);
    set_message(format, list);
    va_end(list);
    kind = km_errno_kind(number);
    return km_rephrase(KM_FAILED, "%s: %s", message, strerror(number));
}

km_error_kind km_errno_kind(int number) {
    switch (number) {
    case ENOSPC:
        return KM_ERROR_NO_SPACE;
    case EDQUOT:
        return KM_ERROR_QUOTA;
    case EIO:
    case EREMOTEIO:
    case ESTALE:
    case ENXIO:
    case ENODEV:
        return KM_ERROR_IO;
    case ENOENT:
    case ENOTDIR:
        return KM_ERROR_MISSING;
    case EACCES:
    case EPERM:
    case EROFS:
        return KM_ERROR_DENIED;
    case ENOMEM:
        return KM_ERROR_MEMORY;
    default:
        return KM_ERROR_OTHER;
    }
}

km_status km_context(km_status code, const char *format, ...) {
    char head[MESSAGE / 2];
    va_list list;
    va_start(list, format);
    vsnprintf(head, sizeof head, format, list);
    va_end(list);
    return km_rephrase(code, "%.2000s: %.2000s", head, message);
}

km_status km_rephrase(km_status code, const char *format, ...) {
    va_list list;
    va_start(list, format);
    set_message(format, list);
    va_end(list);
    return code;
}

const char *km_message(void) {
    return message;
}

km_error_kind km_message_kind(void) {
    return kind;
}

/* ---- Failures as values ---- */

void km_error_copy(km_error *out, km_status status) {
    km_error_clear(out);
    if (status != KM_OK) {
        *out = (km_error){.status = status, .kind = kind, .message = km_strdup(message)};
    }
}

km_status km_error_raise(const km_error *error) {
    if (error->status != KM_OK) {
        kind = error->kind;
        return km_rephrase(error->status, "%s", error->message);
    }
    return KM_OK;
}

void km_error_clear(km_error *error) {
    free(error->message);
    *error = (km_error){0};
}
