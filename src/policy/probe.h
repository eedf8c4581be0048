/* probe: what the two kinds of `kmask policy probe` share: reading rows of numbers, and writing arrays. */
#ifndef KMASK_POLICY_PROBE_H
#define KMASK_POLICY_PROBE_H

#include "kmask/policy.h"

/* A list of rows of numbers, padded to the longest. */
typedef struct km_grid {
    int rows, length;
    double *values; /* (rows, length) */
    int *lengths;   /* (rows) as they are in the file */
} km_grid;
/* Reads [[...]]; `depth` 3: [[[...]]], whose innermost lists are laid one after the other. Missing values are `pad`. KM_FAILED names file and
 * key. The caller frees. */
km_status km_grid_read(km_grid *out, const km_json *json, const char *key, int depth, double pad,
                       const char *path) KM_NODISCARD;
void km_grid_free(km_grid *grid);

/* Sequences of ids of a grid without their padding, as a stream whose arrays are the caller's to free. Ids outside 0..V-1 are KM_FAILED. */
typedef struct km_probe_stream {
    km_stream stream;
    int32_t *starts, *ids;
    uint64_t *keys;
} km_probe_stream;
/* lengths (rows): tokens of each row. */
km_status km_probe_stream_make(km_probe_stream *out, const km_grid *ids, const int *lengths, int V, const char *key,
                               const char *path) KM_NODISCARD;
void km_probe_stream_free(km_probe_stream *stream);

/* A gradient in double. */
typedef struct km_gradient_double {
    double *sum; /* (table->size) */
} km_gradient_double;
km_sink km_gradient_double_sink(km_gradient_double *gradient);

/* Arrays that are written when all are known: each call keeps a copy. */
typedef struct km_probe_file {
    struct km_probe_array {
        char name[144];
        int rank;
        uint64_t dims[3];
        float *values;
    } * items;
    int count;
} km_probe_file;
/* values (product of dims); dims of 0 rank: one number. */
void km_probe_add(km_probe_file *file, const char *name, int rank, const uint64_t *dims, const double *values);
/* /grad/<tensor> of all parameters, values times `scale`. */
void km_probe_add_gradient(km_probe_file *file, const km_policy_net *net, const double *gradient, double scale);
/* Writes the file. [HDF5] */
km_status km_probe_write(const km_probe_file *file, const char *path) KM_NODISCARD;
void km_probe_free(km_probe_file *file);

km_status km_probe_supervised(const km_policy *policy, const km_json *json, const char *path,
                              km_probe_file *out) KM_NODISCARD;
km_status km_probe_meta(km_comm *comm, const km_policy *policy, const char *model, const km_json *json,
                        const char *path, km_probe_file *out) KM_NODISCARD;

#endif
