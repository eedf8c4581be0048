/* The only calls of libhdf5: creating arrays and attributes in a new file. libhdf5 reads nothing (hdf5_read.c) and writes no
 * elements. The file is closed before the function returns, so no HDF5 object outlives the call. */
#include "store_private.h"

#include <hdf5.h>
#include <stdlib.h>
#include <string.h>

/* ---- Errors ---- */

typedef struct reason {
    char text[200];
    km_error_kind kind;
} reason;

/* Takes the reason from an entry of HDF5's stack of errors. If a system call has failed, the entry contains its errno and the
 * system's message: "file write failed: time = ..., errno = 28, error message = 'No space left on device', buf = ...".
 * Otherwise the whole first line is taken. */
static void read_reason(reason *out, const char *description) {
    static const char number[] = "errno = ", words[] = "error message = '";
    const char *from = strstr(description, words), *code = strstr(description, number);
    if (code != NULL) {
        out->kind = km_errno_kind((int)strtol(code + sizeof number - 1, NULL, 10));
    }
    if (from != NULL) {
        from += sizeof words - 1;
        snprintf(out->text, sizeof out->text, "%.*s", (int)strcspn(from, "'"), from);
    } else {
        snprintf(out->text, sizeof out->text, "%.*s", (int)strcspn(description, "\n"), description);
    }
}

/* Visits the entries of HDF5's stack of errors upwards and takes the first one, where the failure began. */
static herr_t take_innermost(unsigned n, const H5E_error2_t *error, void *payload) {
    reason *out = payload;
    if (n == 0) {
        out->kind =
            error->min_num == H5E_NOSPACE ? KM_ERROR_MEMORY : KM_ERROR_OTHER; /* by "no space" HDF5 means memory */
        if (error->desc != NULL) {
            read_reason(out, error->desc);
        }
    }
    return 0;
}

/* The error for a failed call of HDF5. It must come before the next call, which clears HDF5's stack of errors. */
static km_status failed(const char *path, const char *what) {
    reason why = {.text = "no reason given", .kind = KM_ERROR_OTHER};
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_innermost, &why);
    return km_fail_kind(why.kind, "%s: HDF5 cannot %s: %s", path, what, why.text);
}

/* Keeps HDF5 from printing its stack of errors, and from trying at exit to write files again that could not be closed. */
static void quieten(void) {
    H5dont_atexit(); /* fails without harm if HDF5 has been initialized before */
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    H5Eclear2(H5E_DEFAULT);
}

/* Switches off HDF5's file locks, which many parallel file systems do not support. Renaming and checksums protect kmask's
 * files. */
static hid_t access_list(void) {
    hid_t list = H5Pcreate(H5P_FILE_ACCESS);
#if !H5_VERSION_GE(1, 10, 7) || (H5_VERS_MAJOR == 1 && H5_VERS_MINOR == 12 && H5_VERS_RELEASE < 1)
    setenv("HDF5_USE_FILE_LOCKING", "FALSE", 1);
#else
    H5Pset_file_locking(list, false, true);
#endif
    return list;
}

static hid_t type_of(km_dtype type) {
    const hid_t types[] = {
        [KM_F32] = H5T_IEEE_F32LE, [KM_U8] = H5T_STD_U8LE,   [KM_U16] = H5T_STD_U16LE, [KM_I32] = H5T_STD_I32LE,
        [KM_U32] = H5T_STD_U32LE,  [KM_U64] = H5T_STD_U64LE, [KM_F64] = H5T_IEEE_F64LE};
    return types[type];
}

/* UTF-8 of variable length. HDF5 stores such strings outside the object header, which is limited to 64 KiB. */
static hid_t text_type(void) {
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, H5T_VARIABLE);
    H5Tset_cset(type, H5T_CSET_UTF8);
    return type;
}

/* ---- Writing ---- */

static km_status write_attribute(hid_t file, const km_attribute *attribute, const char *path) {
    hid_t type = attribute->text != NULL ? text_type() : H5Tcopy(H5T_STD_I64LE);
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t id = H5Acreate2(file, attribute->name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    herr_t result = -1;
    if (id >= 0) {
        result = attribute->text != NULL ? H5Awrite(id, type, &attribute->text)
                                         : H5Awrite(id, H5T_NATIVE_INT64, &attribute->number);
    }
    km_status status = result >= 0 ? KM_OK : failed(path, "write an attribute");
    if (id >= 0 && H5Aclose(id) < 0 && status == KM_OK) {
        status = failed(path, "write an attribute");
    }
    H5Sclose(space);
    H5Tclose(type);
    return status;
}

/* Space is allocated at once, so that the offset is known, and is never filled, so that HDF5 writes no elements. */
static hid_t array_creation_list(void) {
    hid_t list = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_layout(list, H5D_CONTIGUOUS);
    H5Pset_alloc_time(list, H5D_ALLOC_TIME_EARLY);
    H5Pset_fill_time(list, H5D_FILL_TIME_NEVER);
    H5Pset_obj_track_times(list, false); /* without times, the same content gives the same bytes */
    return list;
}

static km_status write_array(hid_t file, km_array *array, hid_t links, hid_t creation, const char *path) {
    hsize_t dims[4];
    for (int i = 0; i < array->rank; i++) {
        dims[i] = array->dims[i];
    }
    hid_t space = H5Screate_simple(array->rank, dims, NULL);
    hid_t id =
        space < 0 ? -1 : H5Dcreate2(file, array->name, type_of(array->type), space, links, creation, H5P_DEFAULT);
    km_status status = KM_OK;
    if (id < 0) {
        status = failed(path, "make an array");
        status = km_context(status, "%s", array->name);
    } else {
        haddr_t offset = H5Dget_offset(id); /* counted from the beginning of the file, user block included */
        if (array->count > 0 && offset == HADDR_UNDEF) {
            status = failed(path, "place an array");
        }
        array->offset = array->count > 0 ? offset : 0;
        H5Dclose(id);
    }
    if (space >= 0) {
        H5Sclose(space);
    }
    return status;
}

static km_status write_all(hid_t file, km_store *store) {
    km_status status = KM_OK;
    for (int i = 0; status == KM_OK && i < store->attribute_count; i++) {
        status = write_attribute(file, &store->attributes[i], store->temporary);
    }
    hid_t links = H5Pcreate(H5P_LINK_CREATE), creation = array_creation_list();
    H5Pset_create_intermediate_group(links, 1);
    for (int i = 0; status == KM_OK && i < store->array_count; i++) {
        status = write_array(file, &store->arrays[i], links, creation, store->temporary);
    }
    H5Pclose(creation);
    H5Pclose(links);
    return status;
}

km_status km_hdf5_write(km_store *store) {
    quieten();
    hid_t creation = H5Pcreate(H5P_FILE_CREATE), access = access_list();
    H5Pset_userblock(creation, KM_USER_BLOCK);
    H5Pset_obj_track_times(creation, false);
    hid_t file = H5Fcreate(store->temporary, H5F_ACC_TRUNC, creation, access);
    km_status status = file >= 0 ? write_all(file, store) : failed(store->temporary, "create the file");
    if (file >= 0 && H5Fclose(file) < 0 && status == KM_OK) {
        status = failed(store->temporary, "write the file");
    }
    H5Pclose(access);
    H5Pclose(creation);
    return status;
}
