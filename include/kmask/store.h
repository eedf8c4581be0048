/* store: named arrays on disk, HDF5 and safetensors behind one face, written so that a crash at any instant leaves the
 * old file or the new one.
 *
 * HDF5, for all that is kmask's own. A file starts with an HDF5 user block of 4,096 bytes: magic "KMASKH5\n", version, length of the file,
 * XXH3-128 of all that follows the block, and a checksum of the block itself. It is verified before HDF5 opens the file, so no
 * damaged byte ever reaches HDF5. Arrays are contiguous: their bytes have a fixed offset and may be read and
 * written with pread and pwrite, by any process, without HDF5. Only one thread of a process may call what is
 * marked [HDF5].
 *
 * safetensors, for what comes from and goes to the rest of the field: a file whose name ends in .safetensors, or a
 * folder with model.safetensors or, where it is sharded, model.safetensors.index.json. Such files have no checksum; all
 * that their headers say is checked before anything is allocated for it. No element is read when they are opened.
 * Everything is local. */
#ifndef KMASK_STORE_H
#define KMASK_STORE_H

#include "kmask/base.h"

/* HDF5 files hold those up to KM_F64; the others are safetensors' only. */
typedef enum km_type {
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
    KM_TYPES
} km_type;
size_t km_type_size(km_type type);
const char *km_type_name(km_type type); /* "float32", "uint8", ... */
const char *km_type_code(km_type type); /* as safetensors has it: "F32", "U8", ... */
bool km_type_coded(km_type *out, const char *code);
/* float32 from and to float32, float16 or bfloat16: exact on the way in; out to nearest, ties to even. NaN stays NaN. */
bool km_type_floats(km_type type); /* whether `type` is one of these three */
void km_floats_unpack(float *out, km_type type, const void *in, size_t count);
void km_floats_pack(void *out, km_type type, const float *in, size_t count);

enum { KM_RANK = 8 };

typedef struct km_array {
    const char *name; /* full path in the file, "/model/cls.predictions.bias"; owned by the store */
    km_type type;
    int rank; /* 0 (one element) to 4; in safetensors to KM_RANK */
    uint64_t dims[KM_RANK];
    uint64_t count;  /* elements */
    uint64_t offset; /* of its first byte in the file; 0 where count is 0 */
    int file;        /* which of the shards; 0 where there is one file */
} km_array;

typedef struct km_store km_store;

/* ---- Versions ---- */
/* Every HDF5 file of kmask says in its first block which version of the format it is in. Writers say the lowest version whose
 * readers understand the file, so that older programs read what they can. Readers open all versions up to KM_FORMAT_NEWEST; a
 * later one is refused in a sentence, and the kind of the error is KM_ERROR_LATER. */
enum {
    KM_FORMAT_FIRST = 1,    /* corpora, models, checkpoints of one network */
    KM_FORMAT_NETWORKS = 2, /* checkpoints with sections of further networks, without which a run cannot go on */
    KM_FORMAT_NEWEST = KM_FORMAT_NETWORKS
};

/* ---- Writing ---- */
/* Begins `path`.tmp (an existing one is replaced). [HDF5] */
km_status km_store_create(km_store **out, const char *path) KM_NODISCARD;
/* The same for a safetensors file; the functions below treat both alike. */
km_status km_store_create_safetensors(km_store **out, const char *path) KM_NODISCARD;
/* Adds an array; its space in the file is allocated by km_store_layout, after which its offset is known, and pointers
 * to arrays stay valid. What nobody writes reads as zeros. Dimensions may be 0. A name that is taken is an error. */
km_status km_store_add(km_store *store, const char *name, km_type type, int rank,
                       const uint64_t *dims) KM_NODISCARD;
/* A text or number as an attribute of the file's root group (of safetensors: an entry of __metadata__, beside
 * "format": "pt"): a text has no length limit. [HDF5] */
km_status km_store_set_text(km_store *store, const char *name, const char *text) KM_NODISCARD;
km_status km_store_set_number(km_store *store, const char *name, int64_t value) KM_NODISCARD;
/* The file needs readers of `version`; KM_FORMAT_FIRST is enough unless it is said otherwise. */
void km_store_set_format(km_store *store, int version);
/* All arrays and attributes are named: HDF5 writes its part and closes the file. From here on arrays are filled
 * with km_store_write, or by other processes with pwrite at km_array.offset of km_store_path(store). [HDF5] */
km_status km_store_layout(km_store *store) KM_NODISCARD;
const char *km_store_path(const km_store *store); /* the file being written: path.tmp; for readers: the path */
km_status km_store_write(km_store *store, const km_array *array, uint64_t first, uint64_t count,
                         const void *data) KM_NODISCARD;
/* fsync, reads the file back to compute its checksum, writes the user block, fsync, rename, fsync of the folder; destroys
 * the store. After a failure the .tmp is removed and an older `path` is as it was (unless it was the folder's fsync that
 * failed). No HDF5: any thread. */
km_status km_store_commit(km_store *store) KM_NODISCARD;
/* Gives up: removes the .tmp and destroys the store. NULL is fine. Any thread. */
void km_store_abandon(km_store *store);

/* ---- Reading ---- */
/* Verifies the file (a cut, foreign or damaged one is an error that says which), then reads its directory. A folder,
 * or a path that ends in .safetensors, is read as safetensors. The caller closes. [HDF5] */
km_status km_store_open(km_store **out, const char *path) KM_NODISCARD;
/* Only the verification: no HDF5, cheap in memory. */
km_status km_store_verify(const char *path) KM_NODISCARD;
void km_store_close(km_store *store);
int km_store_format(const km_store *store); /* its version; 0 for safetensors */
int km_store_arrays(const km_store *store);
const km_array *km_store_array(const km_store *store, int index);       /* in ascending order of names */
const km_array *km_store_find(const km_store *store, const char *name); /* NULL when absent */
const char *km_store_text(const km_store *store, const char *name);     /* NULL when absent */
bool km_store_number(const km_store *store, const char *name, int64_t *out);
/* Elements first..first+count-1; outside the array is an error. pread: any thread. */
km_status km_store_read(const km_store *store, const km_array *array, uint64_t first, uint64_t count,
                        void *out) KM_NODISCARD;
/* The same as float32, of an array for which km_type_floats holds. */
km_status km_store_read_floats(const km_store *store, const km_array *array, uint64_t first, uint64_t count,
                               float *out) KM_NODISCARD;
uint64_t km_store_file_size(const km_store *store); /* of all shards */
km_hash km_store_hash(const km_store *store);       /* of all that follows the user block; 0 for safetensors */

#endif
