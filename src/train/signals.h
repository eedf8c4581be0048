/* signals: SIGTERM, SIGINT and SIGUSR1 ask for an orderly stop; a step looks at the flag. */
#ifndef KMASK_TRAIN_SIGNALS_H
#define KMASK_TRAIN_SIGNALS_H

#include <stdbool.h>

void km_signals_catch(void);       /* after MPI_Init, which may set handlers of its own */
bool km_signals_stop(void);        /* one of them has come */
const char *km_signals_name(void); /* which; "a time limit" when none */

#endif
