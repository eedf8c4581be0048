/* The user block at the beginning of kmask's HDF5 files, and the verification of whole files. HDF5 itself is not called here.
 *
 *      0  magic "KMASKH5\n"
 *      8  version of the format, u32 (store.h)
 *     16  length of the whole file, u64
 *     24  XXH3-128 of everything behind the block: low u64, high u64
 *   4080  XXH3-128 of bytes 0..4079 of the block: low u64, high u64
 *
 * Numbers are little-endian; all other bytes are zero. The block is written last, so an unfinished file has none. */
#include "store_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "arrays are written as they are in memory");

enum { AT_VERSION = 8, AT_LENGTH = 16, AT_HASH = 24, AT_CHECK = KM_USER_BLOCK - 16, PIECE = 8 << 20 };

static const char MAGIC[8] = "KMASKH5\n";
static const char HDF5_MAGIC[8] = "\x89HDF\r\n\x1a\n";

static void put_hash(char *to, km_hash hash) {
    memcpy(to, &hash.low, sizeof hash.low);
    memcpy(to + sizeof hash.low, &hash.high, sizeof hash.high);
}

static km_hash get_hash(const char *from) {
    km_hash hash;
    memcpy(&hash.low, from, sizeof hash.low);
    memcpy(&hash.high, from + sizeof hash.low, sizeof hash.high);
    return hash;
}

km_status km_user_block_hash(km_hash *out, int fd, uint64_t size, const char *path) {
    void *piece = NULL;
    KM_TRY(km_allocate(&piece, (size_t)KM_MIN((uint64_t)PIECE, size + 1), "reading a file"));
    km_hasher *hasher = km_hasher_create();
    km_status status = KM_OK;
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    for (uint64_t at = KM_USER_BLOCK; at < size && status == KM_OK; at += PIECE) {
        size_t count = (size_t)KM_MIN((uint64_t)PIECE, size - at);
        status = km_pread_all(fd, piece, count, at, path);
        if (status == KM_OK) {
            km_hasher_add(hasher, piece, count);
        }
    }
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_NORMAL);
    *out = km_hasher_end(hasher);
    free(piece);
    return status;
}

km_status km_user_block_write(const km_store *store) {
    char block[KM_USER_BLOCK] = {0};
    const uint32_t version = (uint32_t)store->format;
    memcpy(block, MAGIC, sizeof MAGIC);
    memcpy(block + AT_VERSION, &version, sizeof version);
    memcpy(block + AT_LENGTH, &store->size, sizeof store->size);
    put_hash(block + AT_HASH, store->hash);
    put_hash(block + AT_CHECK, km_hash_bytes(block, AT_CHECK));
    return km_pwrite_all(store->fd, block, sizeof block, 0, store->temporary);
}

/* The error for a file that does not begin with the magic. */
static km_status foreign(int fd, const char *block, size_t count, const char *path) {
    char magic[sizeof HDF5_MAGIC] = {0};
    if (count == 0) {
        return km_fail_kind(KM_ERROR_DAMAGED, "%s: an empty file, expected a file that kmask wrote.", path);
    }
    if (count >= sizeof HDF5_MAGIC && memcmp(block, HDF5_MAGIC, sizeof HDF5_MAGIC) == 0) {
        return km_fail_kind(KM_ERROR_DAMAGED, "%s: an HDF5 file, but not kmask's: it has no kmask block in front.",
                            path);
    }
    if (count == KM_USER_BLOCK && pread(fd, magic, sizeof magic, KM_USER_BLOCK) == (ssize_t)sizeof magic &&
        memcmp(magic, HDF5_MAGIC, sizeof magic) == 0 && block[0] == 0) {
        return km_fail_kind(KM_ERROR_DAMAGED, "%s: an unfinished file: its writer stopped before the end.", path);
    }
    return km_fail_kind(
        KM_ERROR_DAMAGED,
        "%s: not a kmask file (it does not start with KMASKH5). `kmask corpus build` makes a corpus of "
        "text; models are made by `kmask import` and by runs.",
        path);
}

static km_status check_version(uint32_t version, const char *path) {
    if (version > KM_FORMAT_NEWEST) {
        return km_fail_kind(
            KM_ERROR_LATER,
            "%s: written by a later kmask, in version %u of the file format; this one, kmask %s, reads "
            "versions up to %d. Use the kmask that wrote it, or a newer one.",
            path, version, KM_VERSION, KM_FORMAT_NEWEST);
    }
    if (version < KM_FORMAT_FIRST) {
        return km_fail_kind(KM_ERROR_DAMAGED, "%s: version %u of the file format, expected %d to %d.", path,
                            version, KM_FORMAT_FIRST, KM_FORMAT_NEWEST);
    }
    return KM_OK;
}

static km_status check_block(km_store *store, const char *block) {
    const uint64_t size = store->size;
    const char *path = store->path;
    uint32_t version;
    uint64_t length;
    if (!km_hash_equal(get_hash(block + AT_CHECK), km_hash_bytes(block, AT_CHECK))) {
        return km_fail_kind(KM_ERROR_DAMAGED, "%s: damaged: its first %d bytes do not match their checksum.", path,
                            KM_USER_BLOCK);
    }
    memcpy(&version, block + AT_VERSION, sizeof version);
    memcpy(&length, block + AT_LENGTH, sizeof length);
    KM_TRY(check_version(version, path));
    store->format = (int)version;
    if (size < length) {
        return km_fail_kind(KM_ERROR_DAMAGED, "%s: the file is cut short: %llu of %llu bytes.", path,
                            (unsigned long long)size, (unsigned long long)length);
    }
    if (size > length) {
        return km_fail_kind(KM_ERROR_DAMAGED, "%s: damaged: %llu bytes follow the %llu that kmask wrote.", path,
                            (unsigned long long)(size - length), (unsigned long long)length);
    }
    return KM_OK;
}

static km_status verify(km_store *store) {
    const int fd = store->fd;
    const char *path = store->path;
    struct stat info;
    char block[KM_USER_BLOCK];
    if (fstat(fd, &info) != 0) {
        return km_fail_errno(errno, "%s: cannot read", path);
    }
    if (!S_ISREG(info.st_mode)) {
        return km_fail(KM_FAILED, "%s: found a %s, expected a file", path,
                       S_ISDIR(info.st_mode) ? "folder" : "device or pipe");
    }
    store->size = (uint64_t)info.st_size;
    size_t count = (size_t)KM_MIN(store->size, (uint64_t)KM_USER_BLOCK);
    KM_TRY(km_pread_all(fd, block, count, 0, path));
    if (count < sizeof MAGIC || memcmp(block, MAGIC, sizeof MAGIC) != 0) {
        return foreign(fd, block, count, path);
    }
    if (count < KM_USER_BLOCK) {
        return km_fail_kind(KM_ERROR_DAMAGED, "%s: the file is cut short: %zu bytes, not even its first %d.", path,
                            count, KM_USER_BLOCK);
    }
    KM_TRY(check_block(store, block));
    KM_TRY(km_user_block_hash(&store->hash, fd, store->size, path));
    if (!km_hash_equal(store->hash, get_hash(block + AT_HASH))) {
        return km_fail_kind(KM_ERROR_DAMAGED, "%s: damaged: its bytes do not match their checksum.", path);
    }
    return KM_OK;
}

km_status km_user_block_open(km_store *store) {
    /* With O_NONBLOCK, opening a named pipe returns at once, and it is refused below. */
    store->fd = open(store->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (store->fd < 0) {
        return km_fail_errno(errno, "%s: cannot open", store->path);
    }
    return verify(store);
}

km_status km_store_verify(const char *path) {
    km_store file = {.path = (char *)(uintptr_t)path, .fd = -1};
    const km_status status = km_user_block_open(&file);
    if (file.fd >= 0) {
        close(file.fd);
    }
    return status;
}
