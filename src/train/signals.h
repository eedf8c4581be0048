/* signals: SIGTERM, SIGINT and SIGUSR1 ask for an orderly stop; a step looks at the flag. */
#ifndef KMASK_TRAIN_SIGNALS_H
#define KMASK_TRAIN_SIGNALS_H

#include "kmask/train.h" /* km_signals_catch */

bool km_signals_stop(void);        /* one of them has come */
const char *km_signals_name(void); /* which; "" when none */

#endif
