/* formats: what the first bytes of a file say that it is. */
#ifndef KMASK_INPUT_FORMATS_H
#define KMASK_INPUT_FORMATS_H

#include "kmask/base.h"

typedef enum km_container {
    KM_CONTAINER_NONE,
    KM_CONTAINER_GZIP,
    KM_CONTAINER_PACKED, /* one compressed text that libarchive unpacks */
    KM_CONTAINER_TAR,
    KM_CONTAINER_ZIP
} km_container;

enum {
    KM_MAGIC_BYTES = 8192
}; /* first bytes that the functions below look at, or fewer where the file is shorter */

/* The container, and its name for messages ("zstd") in *format. */
km_container km_container_of(const char **format, const char *head, size_t count);
/* The container that a file's name promises (".gz", ".zst" ...); NONE where it promises none. */
km_container km_container_named(const char **format, const char *name);
/* Length of a name without the endings of containers: "a.jsonl.zst" -> 7. */
size_t km_name_without_container(const char *name);
/* What is no text although it may look like it or hold some: "a Parquet table"; NULL for everything else. *advice: what to do. */
const char *km_foreign_format(const char **advice, const char *head, size_t count);

#endif
