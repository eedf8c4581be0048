/* log: lines to standard error, and times and quantities as text for people. */
#include "kmask/base.h"

#include "progress.h"

#include <math.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>

static atomic_bool is_muted;

void km_log_mute(bool muted) {
    atomic_store(&is_muted, muted);
}

bool km_log_muted(void) {
    return atomic_load(&is_muted);
}

static void write_line(const char *head, const char *format, va_list list) KM_PRINTF(2, 0);
static void write_line(const char *head, const char *format, va_list list) {
    char *text = NULL;
    if (km_log_muted() || vasprintf(&text, format, list) < 0) {
        return;
    }
    char *shown = km_printable(text), *line = km_format("%s%s\n", head, shown);
    km_log_write(line);
    free(line);
    free(shown);
    free(text);
}

void km_log(const char *format, ...) {
    va_list list;
    va_start(list, format);
    write_line("", format, list);
    va_end(list);
}

void km_warn(const char *format, ...) {
    va_list list;
    va_start(list, format);
    write_line("kmask: warning: ", format, list);
    va_end(list);
}

const char *km_duration(char out[32], double seconds) {
    const double most = 1e12;
    if (!(seconds >= 0 && seconds < most)) {
        snprintf(out, 32, "?");
        return out;
    }
    long long s = llround(seconds), minute = 60, hour = 3600, day = 86400;
    if (s < minute) {
        snprintf(out, 32, "%llds", s);
    } else if (s < hour) {
        snprintf(out, 32, "%lldm%02llds", s / minute, s % minute);
    } else if (s < day) {
        snprintf(out, 32, "%lldh%02lldm", s / hour, s % hour / minute);
    } else {
        snprintf(out, 32, "%lldd%02lldh", s / day, s % day / hour);
    }
    return out;
}

/* Prints up to three digits and a unit. A number that rounds to 1000 is printed in the next unit. */
const char *km_quantity(char out[32], double value) {
    static const char units[] = " kMGTPE";
    const double step = 1000, round_up = 999.5;
    size_t unit = 0;
    while (fabs(value) >= round_up && unit + 2 < sizeof units) {
        value /= step;
        unit++;
    }
    if (unit == 0) {
        snprintf(out, 32, "%.3g", value);
        return out;
    }
    int digits = fabs(value) < 9.995 ? 2 : fabs(value) < 99.95 ? 1 : 0;
    snprintf(out, 32, "%.*f %c", digits, value, units[unit]);
    return out;
}
