/* Private to store: the store itself, the block in front of the HDF5 part, and the two places that call HDF5. */
#ifndef KMASK_STORE_PRIVATE_H
#define KMASK_STORE_PRIVATE_H

#include "kmask/store.h"

enum { KM_BLOCK = 4096 }; /* bytes in front of the HDF5 part: a user block in HDF5's words */

typedef struct km_attribute {
    char *name;
    char *text; /* NULL: a number */
    int64_t number;
} km_attribute;

struct km_store {
    char *path;       /* the finished file */
    char *temporary;  /* path.tmp while writing, NULL for readers */
    int fd;           /* -1 until km_store_layout; readers have it from the start */
    km_array *arrays; /* ascending names, which the store owns */
    int array_count, array_capacity;
    km_attribute *attributes; /* ascending names */
    int attribute_count, attribute_capacity;
    uint64_t size; /* of the file; known after layout */
    km_hash hash;  /* of what follows the block; known after reading or committing */
};

/* Inserts in the order of names and takes ownership of `name`; false when the name is taken (and `name` is the
 * caller's still). The result is valid until the next insertion. */
bool km_store_insert_array(km_store *store, const km_array *array, char *name);
bool km_store_insert_attribute(km_store *store, const km_attribute *attribute);
/* Elements and bytes of the dimensions; false where they do not fit in 63 bits. */
bool km_array_measure(km_array *array);

/* ---- block.c: the file's first KM_BLOCK bytes ---- */

/* Hash of [KM_BLOCK, size) of `fd`. */
km_status km_block_hash(km_hash *out, int fd, uint64_t size, const char *path) KM_NODISCARD;
km_status km_block_write(int fd, uint64_t size, km_hash hash, const char *path) KM_NODISCARD;
/* Opens for reading and verifies everything. */
km_status km_block_open(int *fd, uint64_t *size, km_hash *hash, const char *path) KM_NODISCARD;

/* ---- hdf5.c ---- */

/* Writes groups, attributes and the arrays' places to store->temporary and closes it; fills in the offsets. */
km_status km_hdf5_write(km_store *store) KM_NODISCARD;
/* Reads arrays and attributes of the verified file behind store->fd. */
km_status km_hdf5_read(km_store *store) KM_NODISCARD;

#endif
