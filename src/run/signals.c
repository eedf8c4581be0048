/* signals: SIGTERM, SIGINT and SIGUSR1 ask the run to save and stop. Their handler sets a flag, which each step reads. */
#include "kmask/run.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t caught;
static volatile sig_atomic_t interactive; /* started from a terminal: a second Ctrl-C ends the process at once */

static void write_text(const char *text) {
    (void)!write(STDERR_FILENO, text, strlen(text));
}

static void on_signal(int number) {
    if (number == SIGINT && interactive) {
        if (caught == SIGINT) {
            write_text("\nkmask: interrupted again: ended without saving; the same command goes on from the newest "
                       "checkpoint\n");
            _exit(KM_FAILED);
        }
        write_text("\nkmask: saving after this step; Ctrl-C again ends at once, without saving\n");
    }
    caught = number;
}

/* It is called twice: before MPI starts, and again afterwards, since MPI may set handlers of its own. */
void km_signals_catch(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    interactive = isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
}

bool km_signals_stop(void) {
    return caught != 0;
}

const char *km_signals_name(void) {
    switch (caught) {
    case SIGTERM:
        return "SIGTERM";
    case SIGINT:
        return "SIGINT";
    case SIGUSR1:
        return "SIGUSR1";
    default:
        return "";
    }
}
