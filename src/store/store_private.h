/* store_private: what the files of this folder share: the store itself, the user block, HDF5 and safetensors. */
#ifndef KMASK_STORE_PRIVATE_H
#define KMASK_STORE_PRIVATE_H

#include "kmask/store.h"

#include <pthread.h>
#include <time.h>

enum { KM_USER_BLOCK = 4096 }; /* bytes of the HDF5 user block at the beginning of a file */

typedef struct km_attribute {
    char *name;
    char *text; /* NULL if the attribute is a number */
    int64_t number;
} km_attribute;

/* One of the files behind a safetensors store. */
typedef struct km_shard {
    char *path;
    size_t name; /* where the file's name begins in `path` */
    int fd;
} km_shard;

/* What a file that is read was like when it was verified. Any thread may read, hence the mutex. */
typedef struct km_watch {
    pthread_mutex_t mutex;
    struct timespec changed;
} km_watch;

struct km_store {
    bool safetensors;
    bool out;         /* the file of --out (km_out_check) */
    bool sealed;      /* km_store_seal has been called */
    char *path;       /* the finished file */
    char *temporary;  /* path.tmp while writing, NULL for readers */
    int fd;           /* -1 before km_store_layout; readers have it from the start */
    km_array *arrays; /* in ascending order of names; the store owns the names */
    int array_count, array_capacity;
    km_attribute *attributes; /* in ascending order of names */
    int attribute_count, attribute_capacity;
    km_shard *shards; /* of a safetensors reader, which does not use `fd` */
    int shard_count;
    km_watch *watch; /* of an HDF5 file that is read, else NULL */
    int format;      /* version of an HDF5 file; 0 for safetensors */
    uint64_t size;   /* of the file; known after layout */
    km_hash hash;    /* of everything behind the user block; known after opening or committing */
};

/* Insert in the order of names and take ownership of `name`. They return false if the name is there already; `name` stays the
 * caller's then. */
bool km_store_insert_array(km_store *store, const km_array *array, char *name);
bool km_store_insert_attribute(km_store *store, const km_attribute *attribute);
/* Sorts the arrays after many calls of km_store_append_array. Returns NULL, or a name that is there twice. */
const char *km_store_sort_arrays(km_store *store);
/* Adds an array without a name at the end of the list. */
km_array *km_store_append_array(km_store *store);
/* Computes array->count from the dimensions; returns false if the number of bytes does not fit into 63 bits. */
bool km_array_measure(km_array *array);

/* ---- safetensors.c, safetensors_header.c, safetensors_write.c ---- */

bool km_is_safetensors_path(const char *path); /* a folder, or a name that ends in .safetensors */
/* Opens the file, or the shards of the folder, and reads their headers. */
km_status km_safetensors_open(km_store *store) KM_NODISCARD;
/* Reads the header of store->shards[file], which has `size` bytes, and adds its tensors in the order of their bytes. */
km_status km_safetensors_header(km_store *store, int file, uint64_t size) KM_NODISCARD;
/* Parses JSON that may come from anyone. A text with more than 2^20 values is refused, because each would take a hundred
 * bytes. */
km_status km_safetensors_json(km_json **out, const char *text, size_t count, const char *path) KM_NODISCARD;
/* Whether a tensor may have this name: printable ASCII without quotes and backslashes, 1 to 512 bytes, as all known models
 * have. */
bool km_is_safetensors_name(const char *name);
/* Places the arrays, writes the header to store->temporary and gives the file its final length. */
km_status km_safetensors_write(km_store *store) KM_NODISCARD;

/* ---- user_block.c ---- */

/* The hash of bytes KM_USER_BLOCK to size - 1 of a file. */
km_status km_user_block_hash(km_hash *out, int fd, uint64_t size, const char *path) KM_NODISCARD;
/* Writes the user block for store->size, store->hash and store->format. */
km_status km_user_block_write(const km_store *store) KM_NODISCARD;
/* Opens store->path for reading and verifies the whole file; sets fd, size, hash and format. */
km_status km_user_block_open(km_store *store) KM_NODISCARD;

/* Begins to watch the verified file. */
void km_watch_begin(km_store *store);
void km_watch_end(km_store *store);
/* Called after elements were read: an error if another program has written to the file since it was verified. Sets *again to
 * true where the file was touched and its content is the same, so that what was read may have to be read again. */
km_status km_watch_check(const km_store *store, bool *again) KM_NODISCARD;

/* ---- hdf5.c ---- */

/* Writes attributes and arrays without their elements to store->temporary, and sets the arrays' offsets. */
km_status km_hdf5_write(km_store *store) KM_NODISCARD;
#endif
