/* Private to store: the store itself, the block in front of the HDF5 part, the two places that call HDF5, and
 * safetensors. */
#ifndef KMASK_STORE_PRIVATE_H
#define KMASK_STORE_PRIVATE_H

#include "kmask/store.h"

enum { KM_USER_BLOCK = 4096 }; /* bytes in front of the HDF5 part: a user block in HDF5's words */

typedef struct km_attribute {
    char *name;
    char *text; /* NULL: a number */
    int64_t number;
} km_attribute;

/* One of the files behind a safetensors store. */
typedef struct km_shard {
    char *path;
    size_t name; /* where its last part begins */
    int fd;
} km_shard;

struct km_store {
    bool safetensors;
    char *path;       /* the finished file */
    char *temporary;  /* path.tmp while writing, NULL for readers */
    int fd;           /* -1 until km_store_layout; readers have it from the start */
    km_array *arrays; /* ascending names, which the store owns */
    int array_count, array_capacity;
    km_attribute *attributes; /* ascending names */
    int attribute_count, attribute_capacity;
    km_shard *shards; /* of a safetensors reader, which has no fd of its own */
    int shard_count;
    int format;    /* version of an HDF5 file; 0 for safetensors */
    uint64_t size; /* of the file; known after layout */
    km_hash hash;  /* of what follows the block; known after reading or committing */
};

/* Inserts in the order of names and takes ownership of `name`; false when the name is taken (and `name` is the
 * caller's still). The result is valid until the next insertion. */
bool km_store_insert_array(km_store *store, const km_array *array, char *name);
bool km_store_insert_attribute(km_store *store, const km_attribute *attribute);
/* What the above does for many arrays at once: they were put at the end, in any order. NULL, or a name that is there twice. */
const char *km_store_sort_arrays(km_store *store);
/* Makes room for one more at the end of the list. */
km_array *km_store_append_array(km_store *store);
/* Elements and bytes of the dimensions; false where they do not fit in 63 bits. */
bool km_array_measure(km_array *array);

/* ---- safetensors.c, safetensors_header.c, safetensors_write.c ---- */

bool km_safetensors_path(const char *path); /* a folder, or a name that ends in .safetensors */
/* Opens the file, or the folder's shards, and reads their headers. */
km_status km_safetensors_open(km_store *store) KM_NODISCARD;
/* Adds the tensors that the header of store->shards[file] names, in the order of their bytes; `size`: of the file. */
km_status km_safetensors_header(km_store *store, int file, uint64_t size) KM_NODISCARD;
/* JSON from another's file: refused when it would grow to more than so many values, since each takes a hundred bytes. */
km_status km_safetensors_json(km_json **out, const char *text, size_t count, const char *path) KM_NODISCARD;
/* Names are printable ASCII without quotes and backslashes, at most 512 bytes: true for all that the field has. */
bool km_safetensors_name(const char *name);
/* Places the arrays, writes the header to store->temporary, and makes the file as long as it will be. */
km_status km_safetensors_write(km_store *store) KM_NODISCARD;

/* ---- block.c: the file's first KM_USER_BLOCK bytes ---- */

/* Hash of [KM_USER_BLOCK, size) of `fd`. */
km_status km_block_hash(km_hash *out, int fd, uint64_t size, const char *path) KM_NODISCARD;
/* Writes the block of a file of store->size bytes with store->hash. */
km_status km_block_write(const km_store *store) KM_NODISCARD;
/* Opens store->path for reading and verifies everything; fills in fd, size, hash and format. */
km_status km_block_open(km_store *store) KM_NODISCARD;

/* ---- hdf5.c ---- */

/* Writes groups, attributes and the arrays' places to store->temporary and closes it; fills in the offsets. */
km_status km_hdf5_write(km_store *store) KM_NODISCARD;
/* Reads arrays and attributes of the verified file behind store->fd. */
km_status km_hdf5_read(km_store *store) KM_NODISCARD;

#endif
