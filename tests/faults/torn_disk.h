/* The disk under one folder as a loss of power would leave it: for each file the bytes that were synced and the changes
 * since, for each name likewise. A file's bytes are durable after fsync of the file; that it has this name, or has it no
 * longer, after fsync of its folder (POSIX promises nothing else; no file system is asked to keep any order).
 *
 * Not thread-safe: the caller holds a lock. Files are kept in memory: meant for tests. Paths are absolute and without
 * dots or links. What goes through mmap, stdio or a duplicated descriptor is not seen. */
#ifndef TORN_DISK_H
#define TORN_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Before a call that changes a file or a name which this process has not touched yet: what lies there is durable. */
void disk_know(const char *path);

/* After each call that succeeded. */
void disk_opened(int fd, const char *path, bool created, bool emptied, bool folder);
void disk_closed(int fd);
void disk_wrote(int fd, off_t offset, const void *bytes, size_t count);
void disk_resized(int fd, off_t size);
void disk_resized_path(const char *path, off_t size);
void disk_synced(int fd);
void disk_synced_all(void);
void disk_renamed(const char *from, const char *to);
void disk_linked(const char *from, const char *to);
void disk_unlinked(const char *path);
void disk_made_folder(const char *path);
/* The path of a descriptor that was opened under the folder; NULL for any other. */
const char *disk_path(int fd);

/* Makes the folder what a loss of power at this instant could leave. `seed` chooses among what is allowed:
 *   0  nothing that was not synced is there
 *   1  all names are there, the bytes are not
 *   2  all bytes are there, the names are not
 *   3  names, and of each change to a file every second
 *   more: at random, name by name, change by change, also parts of a change */
void disk_lose_power(unsigned long seed);

#endif
