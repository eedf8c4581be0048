/* How much memory can still be had, as the system says. */
#ifndef KMASK_BASE_MEMORY_ROOM_H
#define KMASK_BASE_MEMORY_ROOM_H

#include <stdint.h>

/* Bytes of memory and swap that this process may still take: of the machine, and of its control groups (what a
 * cluster's scheduler or a container grants). UINT64_MAX where the system does not say. */
uint64_t km_memory_room(void);

#endif
