/* hdf5_read: the arrays and attributes of an HDF5 file that kmask wrote, found without libhdf5. */
#ifndef KMASK_HDF5_READ_H
#define KMASK_HDF5_READ_H

#include "store_private.h"

/* Reads the attributes, and the names, types, shapes and places of the arrays, of the verified file store->fd. */
km_status km_hdf5_read(km_store *store) KM_NODISCARD;

#endif
