/* safe_output: standard output through a filter that escapes control characters. It stands where people read: on a terminal always,
 * elsewhere where the output is no data. */
#include "safe_output.h"

#include "kmask/base.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#ifdef __GLIBC__

enum { PENDING = 4 };

/* Bytes of a character whose rest has not been written yet. */
static char pending[PENDING];
static size_t pending_count;

static bool write_all(const char *bytes, size_t count) {
    while (count > 0) {
        ssize_t put = write(STDOUT_FILENO, bytes, count);
        if (put < 0 && errno != EINTR) {
            return false;
        }
        bytes += put > 0 ? put : 0;
        count -= put > 0 ? (size_t)put : 0;
    }
    return true;
}

static ssize_t write_filtered(void *cookie, const char *bytes, size_t count) {
    km_buffer raw = {0}, shown = {0};
    (void)cookie;
    km_buffer_add(&raw, pending, pending_count);
    km_buffer_add(&raw, bytes, count);
    const size_t used = km_printable_add(&shown, raw.data, raw.size, false);
    pending_count = KM_MIN(raw.size - used, sizeof pending);
    memcpy(pending, raw.data + used, pending_count);
    const bool good = write_all(shown.data != NULL ? shown.data : "", shown.size);
    const int failed = errno;
    km_buffer_free(&raw);
    km_buffer_free(&shown);
    errno = failed;
    return good ? (ssize_t)count : 0;
}

void cli_filter_output(bool data) {
    const bool terminal = isatty(STDOUT_FILENO) == 1;
    if (data && !terminal) {
        return;
    }
    FILE *filtered = fopencookie(NULL, "w", (cookie_io_functions_t){.write = write_filtered});
    if (filtered != NULL) {
        fflush(stdout);
        if (terminal) {
            setvbuf(filtered, NULL, _IOLBF, BUFSIZ);
        }
        stdout = filtered;
    }
}

#else

void cli_filter_output(bool data) {
    (void)data;
}

#endif
