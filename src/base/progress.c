/* progress: a live line where standard error is a terminal, else a plain line now and then. */
#include "progress.h"

#include "kmask/base.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

typedef enum mode { NONE, PLAIN, LIVE } mode;

struct km_progress {
    char *what;
    mode mode;
    uint64_t first, total; /* how many were done before the start; how many there are */
    double start;
    double last;     /* when the last line was printed (km_seconds); negative: none yet */
    double interval; /* seconds that plain lines are apart at least */
    double share;    /* the share done at the last plain line */
    int terminal;    /* file descriptor of the terminal whose width is used; -1: unknown */
};

/* A terminal has one last line, so there is at most one live line at a time, and all that writes to standard error must wipe it
 * first. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool live_is_shown; /* under lock */

static void put(const char *text, size_t count) {
    while (count > 0) {
        ssize_t written = write(STDERR_FILENO, text, count);
        if (written <= 0) {
            return; /* standard error cannot be written to, so the failure cannot be reported */
        }
        text += written;
        count -= (size_t)written;
    }
}

static void wipe(void) {
    static const char clear[] = "\r\x1b[K";
    if (live_is_shown) {
        put(clear, sizeof clear - 1);
        live_is_shown = false;
    }
}

void km_log_write(const char *text) {
    pthread_mutex_lock(&lock);
    wipe();
    fflush(stderr);
    put(text, strlen(text));
    pthread_mutex_unlock(&lock);
}

/* ---- Who is watching ---- */

/* Opens the terminal that a person looks at. Launchers connect their ranks to pipes or to terminals of their own, so under
 * mpirun it is the launcher's standard error. */
static int open_terminal(void) {
    if (getenv("OMPI_COMM_WORLD_SIZE") == NULL) {
        return isatty(STDERR_FILENO) ? dup(STDERR_FILENO) : -1;
    }
    char *path = km_format("/proc/%ld/fd/2", (long)getppid());
    struct stat info;
    int fd = -1;
    if (stat(path, &info) == 0 && S_ISCHR(info.st_mode)) {
        fd = open(path, O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    }
    free(path);
    if (fd >= 0 && !isatty(fd)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static mode choose_mode(int terminal) {
    const char *wish = getenv("KMASK_PROGRESS"), *kind = getenv("TERM");
    if (km_log_muted() || (wish != NULL && strcmp(wish, "none") == 0)) {
        return NONE;
    }
    if (wish != NULL && (strcmp(wish, "live") == 0 || strcmp(wish, "plain") == 0)) {
        return wish[0] == 'l' ? LIVE : PLAIN;
    }
    return terminal >= 0 && (kind == NULL || strcmp(kind, "dumb") != 0) ? LIVE : PLAIN;
}

static size_t width_of(const km_progress *progress) {
    const size_t usual = 80;
    struct winsize size = {0};
    return progress->terminal >= 0 && ioctl(progress->terminal, TIOCGWINSZ, &size) == 0 && size.ws_col > 0
               ? size.ws_col
               : usual;
}

/* ---- Lines ---- */

/* Cuts the line after `columns` UTF-8 characters. */
static void cut(km_buffer *line, size_t columns) {
    size_t i = 0;
    for (size_t column = 0; i < line->size; i++) {
        bool begins = ((unsigned char)line->data[i] & 0xc0) != 0x80;
        if (begins && column++ == columns) {
            break;
        }
    }
    line->size = i;
    line->data[i] = '\0';
}

static double share_of(const km_progress *progress, uint64_t done) {
    return progress->total == 0 ? 1 : (double)KM_MIN(done, progress->total) / (double)progress->total;
}

/* Adds `before` and the time left, estimated from the rate since the start; nothing where nothing has been done yet. */
static void add_time_left(km_buffer *line, const km_progress *progress, uint64_t done, const char *before) {
    char left[32];
    double seconds = km_seconds() - progress->start;
    if (done > progress->first && done < progress->total) {
        double rate = (double)(done - progress->first) / seconds;
        km_buffer_print(line, "%s%s left", before, km_duration(left, (double)(progress->total - done) / rate));
    }
}

static void draw_live(const km_progress *progress, uint64_t done, const char *text) {
    enum { BAR = 10 }; /* short enough that the text fits into 80 columns */
    static const char full[BAR + 1] = "##########", empty[BAR + 1] = "..........";
    double share = share_of(progress, done);
    int filled = (int)(share * BAR);
    km_buffer line = {0};
    km_buffer_print(&line, "%s [%.*s%.*s] %3d %%", progress->what, filled, full, BAR - filled, empty,
                    (int)(100 * share));
    add_time_left(&line, progress, done, "  ");
    if (text[0] != '\0') {
        km_buffer_print(&line, "  %s", text);
    }
    cut(&line, width_of(progress) - 1);
    km_buffer_print(&line, "\x1b[K");
    pthread_mutex_lock(&lock);
    put("\r", 1);
    put(line.data, line.size);
    live_is_shown = true;
    pthread_mutex_unlock(&lock);
    km_buffer_free(&line);
}

static void print_plain(const km_progress *progress, uint64_t done, const char *text) {
    km_buffer line = {0};
    km_buffer_print(&line, "%s: %d %%", progress->what, (int)(100 * share_of(progress, done)));
    if (text[0] != '\0') {
        km_buffer_print(&line, "  %s", text);
    }
    add_time_left(&line, progress, done, "  ");
    km_buffer_print(&line, "\n");
    km_log_write(line.data);
    km_buffer_free(&line);
}

/* ---- Public ---- */

km_progress *km_progress_create(const char *what, uint64_t done, uint64_t total) {
    km_progress *progress = km_new(1, sizeof *progress);
    progress->what = km_strdup(what);
    progress->first = done;
    progress->total = total;
    progress->start = km_seconds();
    progress->last = -1;
    progress->interval = 2;
    progress->terminal = open_terminal();
    progress->mode = choose_mode(progress->terminal);
    return progress;
}

void km_progress_set_interval(km_progress *progress, double seconds) {
    progress->interval = seconds;
}

static bool is_due(const km_progress *progress, uint64_t done) {
    const double redraw = 0.1, patience = 30, step = 1.0 / 50;
    double now = km_seconds(), share = share_of(progress, done);
    bool begins = progress->last < 0, ends = done >= progress->total;
    if (progress->mode == LIVE) {
        return begins || ends || now - progress->last >= redraw;
    }
    if (progress->mode == NONE || begins) {
        return begins && progress->mode != NONE;
    }
    if (ends) {
        return progress->share < 1;
    }
    double since = now - progress->last;
    return since >= patience || (since >= progress->interval && km_at_most(step, share - progress->share));
}

void km_progress_update(km_progress *progress, uint64_t done, const char *format, ...) {
    if (progress == NULL || !is_due(progress, done)) {
        return;
    }
    va_list list;
    va_start(list, format);
    char *text = NULL;
    int length = vasprintf(&text, format, list);
    va_end(list);
    if (length < 0) {
        return;
    }
    (progress->mode == LIVE ? draw_live : print_plain)(progress, done, text);
    progress->last = km_seconds();
    progress->share = share_of(progress, done);
    free(text);
}

void km_progress_clear(km_progress *progress) {
    if (progress != NULL && progress->mode == LIVE) {
        pthread_mutex_lock(&lock);
        wipe();
        pthread_mutex_unlock(&lock);
    }
}

void km_progress_destroy(km_progress *progress) {
    if (progress == NULL) {
        return;
    }
    km_progress_clear(progress);
    if (progress->terminal >= 0) {
        close(progress->terminal);
    }
    free(progress->what);
    free(progress);
}
