/* store: named arrays on disk, in HDF5 and in safetensors files, through one interface. Files are replaced atomically: after
 * a crash at any time, the old file or the new one is there, complete. Everything is local.
 *
 * HDF5 is the format of kmask's own files. Such a file begins with an HDF5 user block of 4,096 bytes: magic "KMASKH5\n",
 * version of the format, length of the file, XXH3-128 of everything behind the block, and a checksum of the block itself. The
 * whole file is verified before anything in it is believed. A checksum is no signature, though: whoever changes a file can seal
 * it again. So libhdf5 only writes. What reads is kmask's own code, which knows the part of the format that kmask writes, takes
 * nothing else (no links to other files, no filters, no arrays that share bytes), and checks every place against the file.
 * Arrays are contiguous: their bytes have a fixed offset, and any process may read and write them with pread and pwrite.
 * Functions marked [HDF5] call libhdf5 and may be called by only one thread of a process.
 *
 * safetensors is the format in which models are exchanged with other programs: a file whose name ends in .safetensors, or a
 * folder with model.safetensors or, for a model in several files (shards), model.safetensors.index.json. These files have no
 * checksum; everything in their headers is checked before memory is allocated for it. Opening them reads no elements. */
#ifndef KMASK_STORE_H
#define KMASK_STORE_H

#include "kmask/base.h"

/* The types of elements. HDF5 files have the types up to KM_F64; the others occur in safetensors files only. */
typedef enum km_dtype {
    KM_F32,
    KM_U8,
    KM_U16,
    KM_I32,
    KM_U32,
    KM_U64,
    KM_F64,
    KM_F16,
    KM_BF16,
    KM_I8,
    KM_I16,
    KM_I64,
    KM_BOOL,
    KM_F8_E4M3,
    KM_F8_E5M2,
    KM_C64,
    KM_DTYPES
} km_dtype;
size_t km_dtype_size(km_dtype type);
const char *km_dtype_name(km_dtype type);                 /* "float32", "uint8", ... */
const char *km_dtype_code(km_dtype type);                 /* as safetensors writes it: "F32", "U8", ... */
bool km_dtype_from_code(km_dtype *out, const char *code); /* the type with this code; false for an unknown one */
/* Whether a type is float32, float16 or bfloat16, which the next two functions convert to and from float32. Unpacking is
 * exact; packing rounds to nearest, ties to even. NaN stays NaN. */
bool km_dtype_is_float(km_dtype type);
void km_floats_unpack(float *out, km_dtype type, const void *in, size_t count);
void km_floats_pack(void *out, km_dtype type, const float *in, size_t count);

enum { KM_MAX_DIMS = 8 }; /* most dimensions of an array */

typedef struct km_array {
    const char *name; /* its full path, "/model/cls.predictions.bias", or a tensor's name; owned by the store */
    km_dtype type;
    int rank; /* number of dimensions: 0 (one element) to 4, in safetensors to KM_MAX_DIMS */
    uint64_t dims[KM_MAX_DIMS];
    uint64_t count;  /* elements */
    uint64_t offset; /* of the first byte in the file; 0 if there are no elements */
    int file;        /* which of the shards; 0 for a store of one file */
} km_array;

typedef struct km_store km_store;

/* ---- Versions ---- */
/* The user block of an HDF5 file holds the version of the format. Writers give the lowest version whose readers understand
 * the file, so that older programs read what they can. Readers open all versions up to KM_FORMAT_NEWEST; a later one is an
 * error of the kind KM_ERROR_LATER. */
enum {
    KM_FORMAT_FIRST = 1,    /* corpora, models, checkpoints of one network */
    KM_FORMAT_NETWORKS = 2, /* checkpoints with sections of further networks, without which a run cannot go on */
    KM_FORMAT_NEWEST = KM_FORMAT_NETWORKS
};

/* ---- Writing ---- */
/* Creates the file `path`.tmp and replaces an older one of this name. The caller ends with km_store_commit or
 * km_store_abandon. [HDF5] */
km_status km_store_create(km_store **out, const char *path) KM_NODISCARD;
/* The same for a file that --out names: by the rules of km_out_check, under the temporary name `temporary` (km_out_temporary), or one
 * of its own where that is NULL. [HDF5] */
km_status km_store_create_out(km_store **out, const char *path, const char *temporary) KM_NODISCARD;
/* The same for a safetensors file. The functions below work for both formats. */
km_status km_store_create_safetensors(km_store **out, const char *path) KM_NODISCARD;
/* Adds an array. km_store_layout places it in the file; after that its offset is known, and pointers to arrays stay valid.
 * Elements that are never written are zeros. Dimensions may be 0. Two arrays with the same name are an error. */
km_status km_store_add(km_store *store, const char *name, km_dtype type, int rank,
                       const uint64_t *dims) KM_NODISCARD;
/* Adds a text, of any length, or a number as an attribute of the file's root group; in safetensors, as an entry of
 * __metadata__ beside "format": "pt". [HDF5] */
km_status km_store_set_text(km_store *store, const char *name, const char *text) KM_NODISCARD;
km_status km_store_set_number(km_store *store, const char *name, int64_t value) KM_NODISCARD;
/* Sets the version of the format; KM_FORMAT_FIRST if this is not called. */
void km_store_set_format(km_store *store, int version);
/* Call it once all arrays and attributes are added: they get their places, and HDF5 writes its part and closes the file.
 * After this, arrays are filled with km_store_write, or by any process with pwrite at km_array.offset of
 * km_store_path(store). [HDF5] */
km_status km_store_layout(km_store *store) KM_NODISCARD;
const char *km_store_path(const km_store *store); /* while writing: the temporary name; for readers: `path` */
/* Writes elements first..first+count-1 of an array. */
km_status km_store_write(km_store *store, const km_array *array, uint64_t first, uint64_t count,
                         const void *data) KM_NODISCARD;
/* Does the first part of km_store_commit, which then leaves it out: fsync, checksum, user block, fsync. *hash: km_store_hash of the file,
 * so that it can be compared with the one that it would replace. */
km_status km_store_seal(km_store *store, km_hash *hash) KM_NODISCARD;
/* Completes the file and destroys the store: fsync, reading the file back to compute its checksum, writing the user block,
 * fsync, renaming to `path`, fsync of the folder. After a failure `path`.tmp is removed and an older file at `path` is
 * unchanged, unless the fsync of the folder failed. Any thread may call it. */
km_status km_store_commit(km_store *store) KM_NODISCARD;
/* Removes `path`.tmp and destroys the store. `store` may be NULL. Any thread may call it. */
void km_store_abandon(km_store *store);

/* ---- Reading ---- */
/* Opens a file: verifies it as a whole, then reads the names and places of its arrays. The error message tells a file that is
 * cut short, one of another program and a damaged one apart. A folder, or a path that ends in .safetensors, is read as
 * safetensors. The caller closes. Any thread may call it. */
km_status km_store_open(km_store **out, const char *path) KM_NODISCARD;
/* Only verifies a file, with little memory and without HDF5. */
km_status km_store_verify(const char *path) KM_NODISCARD;
void km_store_close(km_store *store);
int km_store_format(const km_store *store); /* the version of the format; 0 for safetensors */
int km_store_arrays(const km_store *store);
const km_array *km_store_array(const km_store *store, int index);       /* in ascending order of names */
const km_array *km_store_find(const km_store *store, const char *name); /* NULL when absent */
const char *km_store_text(const km_store *store, const char *name);     /* NULL when absent */
bool km_store_number(const km_store *store, const char *name, int64_t *out);
/* Reads elements first..first+count-1; elements outside the array are an error, and so is an HDF5 file that another program has
 * written to since it was opened. Any thread may call it. */
km_status km_store_read(const km_store *store, const km_array *array, uint64_t first, uint64_t count,
                        void *out) KM_NODISCARD;
/* The same, converted to float32. km_dtype_is_float must hold for the type of the array. */
km_status km_store_read_floats(const km_store *store, const km_array *array, uint64_t first, uint64_t count,
                               float *out) KM_NODISCARD;
uint64_t km_store_file_size(const km_store *store); /* bytes; of all shards together */
km_hash km_store_hash(const km_store *store);       /* of everything behind the user block; 0 for safetensors */

#endif
