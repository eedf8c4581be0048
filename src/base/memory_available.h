/* memory_available: what tests need of it. */
#ifndef KMASK_BASE_MEMORY_AVAILABLE_H
#define KMASK_BASE_MEMORY_AVAILABLE_H

#include "kmask/base.h"

/* Bytes of memory and swap that the machine and the control groups of this process leave, read from the files below `root`
 * ("": those of the system). */
uint64_t km_memory_granted(const char *root);

#endif
