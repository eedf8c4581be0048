/* archive: streams out of what libarchive unpacks: zstd, xz, bzip2, lz4, and the entries of tar and zip archives. */
#include <archive.h>
#include <archive_entry.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"

enum { BLOCK = 1 << 16, NAME = 400 };

/* What libarchive reads from. */
typedef struct feed {
    km_bytes *below; /* owned where an archive is read; else the stream's `below` */
    const char *format;
    char *block;    /* (BLOCK) */
    km_error error; /* of reading below, which is told in place of libarchive's words */
    char tail[512]; /* the last bytes that were read, to see whether an archive has its end */
    bool at_end;
} feed;

static la_ssize_t give_block(struct archive *archive, void *context, const void **block) {
    feed *f = context;
    size_t got = 0;
    km_status status = km_bytes_read(f->below, f->block, BLOCK, &got);
    *block = f->block;
    if (status != KM_OK) {
        km_error_copy(&f->error, status);
        archive_set_error(archive, -1, "cannot read");
        return -1;
    }
    f->at_end = got == 0;
    if (got >= sizeof f->tail) {
        memcpy(f->tail, f->block + got - sizeof f->tail, sizeof f->tail);
    } else if (got > 0) {
        memmove(f->tail, f->tail + got, sizeof f->tail - got);
        memcpy(f->tail + sizeof f->tail - got, f->block, got);
    }
    return (la_ssize_t)got;
}

static la_int64_t seek_to(struct archive *archive, void *context, la_int64_t offset, int whence) {
    feed *f = context;
    uint64_t size = 0;
    (void)archive;
    if (!km_bytes_seekable(f->below, &size)) {
        return ARCHIVE_FATAL;
    }
    const la_int64_t from = whence == SEEK_SET   ? 0
                            : whence == SEEK_END ? (la_int64_t)size
                                                 : (la_int64_t)km_bytes_position(f->below);
    const la_int64_t to = from + offset;
    if (to < 0) {
        return ARCHIVE_FATAL;
    }
    km_bytes_seek(f->below, (uint64_t)to);
    return to;
}

/* The sentence for a failure of libarchive, or of what it reads from. */
static km_status damaged(const feed *f, struct archive *archive, const char *name) {
    static const char *const tests[][2] = {{"zstd", "zstd -t"}, {"xz", "xz -t"},     {"bzip2", "bzip2 -t"},
                                           {"lz4", "lz4 -t"},   {"zip", "unzip -t"}, {"tar", "tar -tf"}};
    const char *test = "";
    if (f->error.status != KM_OK) {
        return km_error_raise(&f->error);
    }
    for (size_t i = 0; i < KM_COUNT(tests); i++) {
        test = strcmp(tests[i][0], f->format) == 0 ? tests[i][1] : test;
    }
    const char *why = archive != NULL ? archive_error_string(archive) : NULL;
    return km_fail_kind(KM_ERROR_DAMAGED, "%s: damaged or cut %s data near byte %llu (%.200s)%s%s%s", name,
                        f->format, (unsigned long long)km_bytes_position(f->below),
                        why != NULL ? why : "no reason given", *test != '\0' ? "; test it with `" : "", test,
                        *test != '\0' ? "`" : "");
}

static km_status open_archive(struct archive *archive, feed *f, bool seeks) {
    uint64_t size = 0;
    f->block = km_new(BLOCK, 1);
    bool good = archive != NULL && archive_read_set_read_callback(archive, give_block) == ARCHIVE_OK &&
                archive_read_set_callback_data(archive, f) == ARCHIVE_OK;
    if (good && seeks && km_bytes_seekable(f->below, &size)) {
        good = archive_read_set_seek_callback(archive, seek_to) == ARCHIVE_OK;
    }
    good = good && archive_read_open1(archive) == ARCHIVE_OK;
    return good ? KM_OK : damaged(f, archive, f->below->name);
}

static void free_feed(feed *f) {
    free(f->block);
    km_error_clear(&f->error);
}

/* Hands out what libarchive has decoded: a block of the entry at a time. */
typedef struct block {
    const char *bytes;
    size_t count;
} block;

static km_status take_block(block *b, struct archive *archive, const feed *f, const char *name, void *to,
                            size_t room, size_t *got) {
    *got = 0;
    while (b->count == 0) {
        const void *bytes = NULL;
        la_int64_t offset = 0;
        const int result = archive_read_data_block(archive, &bytes, &b->count, &offset);
        b->bytes = bytes;
        if (result == ARCHIVE_EOF) {
            b->count = 0;
            return KM_OK;
        }
        if (result != ARCHIVE_OK) {
            b->count = 0;
            return damaged(f, archive, name);
        }
    }
    *got = KM_MIN(room, b->count);
    memcpy(to, b->bytes, *got);
    b->bytes += *got;
    b->count -= *got;
    return KM_OK;
}

/* ---- One compressed text ---- */

typedef struct unpacked {
    km_bytes base;
    struct archive *archive;
    feed feed;
    block block;
    bool ended;
} unpacked;

static km_status read_unpacked(km_bytes *bytes, void *to, size_t room, size_t *got) {
    unpacked *u = (unpacked *)bytes;
    *got = 0;
    if (u->ended) {
        return KM_OK;
    }
    KM_TRY(take_block(&u->block, u->archive, &u->feed, bytes->name, to, room, got));
    u->ended = *got == 0;
    return KM_OK;
}

static void close_unpacked(km_bytes *bytes) {
    unpacked *u = (unpacked *)bytes;
    archive_read_free(u->archive);
    free_feed(&u->feed);
}

static const km_bytes_type unpacked_type = {read_unpacked, close_unpacked};

km_status km_bytes_unpack(km_bytes **out, km_bytes *below, const char *format) {
    unpacked *u = km_bytes_new(sizeof *u, &unpacked_type, below, below->name);
    u->feed.below = below;
    u->feed.format = format;
    u->archive = archive_read_new();
    struct archive *a = u->archive;
    struct archive_entry *entry = NULL;
    km_status status = KM_OK;
    if (a == NULL || archive_read_support_filter_all(a) < ARCHIVE_WARN ||
        archive_read_support_format_raw(a) < ARCHIVE_WARN || archive_read_support_format_empty(a) < ARCHIVE_WARN) {
        status = damaged(&u->feed, a, below->name);
    }
    status = status == KM_OK ? open_archive(a, &u->feed, false) : status;
    if (status == KM_OK) {
        const int result = archive_read_next_header(a, &entry);
        u->ended = result == ARCHIVE_EOF;
        status = result == ARCHIVE_OK || result == ARCHIVE_EOF ? KM_OK : damaged(&u->feed, a, below->name);
    }
    if (status == KM_OK && archive_filter_count(a) < 2) {
        status = km_fail_kind(KM_ERROR_DAMAGED, "%s: damaged or cut %s data near byte 0", below->name, format);
    }
    if (status != KM_OK) {
        km_bytes_close(&u->base);
        u = NULL;
    }
    *out = u != NULL ? &u->base : NULL;
    return status;
}

/* ---- Archives ---- */

struct km_archive {
    struct archive *archive;
    feed feed;
    char *name;
    uint64_t entries;
};

/* An entry; it reads through its archive, which outlives it. */
typedef struct entry_bytes {
    km_bytes base;
    km_archive *archive;
    block block;
} entry_bytes;

static km_status read_entry(km_bytes *bytes, void *to, size_t room, size_t *got) {
    entry_bytes *e = (entry_bytes *)bytes;
    KM_TRY(take_block(&e->block, e->archive->archive, &e->archive->feed, bytes->name, to, room, got));
    bytes->position += *got;
    return KM_OK;
}

static const km_bytes_type entry_type = {read_entry, NULL};

km_status km_archive_open(km_archive **out, km_bytes *below, const char *format) {
    km_archive *a = km_new(1, sizeof *a);
    a->feed.below = below;
    a->feed.format = format;
    a->name = km_strdup(below->name);
    a->archive = archive_read_new();
    const bool zip = strcmp(format, "zip") == 0;
    if (a->archive != NULL && zip) {
        archive_read_support_format_zip(a->archive);
    } else if (a->archive != NULL) {
        archive_read_support_format_tar(a->archive);
        archive_read_support_format_empty(a->archive);
    }
    km_status status = open_archive(a->archive, &a->feed, zip);
    if (status != KM_OK) {
        km_archive_close(a);
        a = NULL;
    }
    *out = a;
    return status;
}

void km_archive_close(km_archive *archive) {
    if (archive == NULL) {
        return;
    }
    archive_read_free(archive->archive);
    free_feed(&archive->feed);
    km_bytes_close(archive->feed.below);
    free(archive->name);
    free(archive);
}

/* Hidden as in folders, and what macOS adds to zip archives. */
static bool hidden(const char *name) {
    if (strncmp(name, "__MACOSX/", 9) == 0) {
        return true;
    }
    for (const char *part = name; part != NULL; part = strchr(part, '/')) {
        part += *part == '/';
        if (part[0] == '.' && part[1] != '/' && part[1] != '\0' && !(part[1] == '.' && part[2] == '/')) {
            return true;
        }
    }
    return false;
}

/* Reads on to the end of what an archive is read from, so that its last bytes are known. */
static km_status read_rest(km_archive *a) {
    uint64_t size = 0;
    const void *taken = NULL;
    if (km_bytes_seekable(a->feed.below, &size)) {
        km_bytes_seek(a->feed.below, size > BLOCK ? size - BLOCK : 0);
    }
    while (!a->feed.at_end) {
        if (give_block(a->archive, &a->feed, &taken) < 0) {
            return km_error_raise(&a->feed.error);
        }
    }
    return KM_OK;
}

/* A tar archive ends with blocks of zeros, a zip archive with its directory. One that was cut between two entries ends with something
 * else, which libarchive does not mind. */
static km_status check_end(km_archive *a) {
    static const char zeros[sizeof a->feed.tail];
    bool whole = true;
    if (strcmp(a->feed.format, "tar") == 0) {
        whole = !a->feed.at_end || memcmp(a->feed.tail, zeros, sizeof zeros) == 0;
    } else {
        a->feed.at_end = false;
        KM_TRY(read_rest(a));
        whole = memmem(a->feed.tail, sizeof a->feed.tail, "PK\5\6", 4) != NULL;
    }
    return whole ? KM_OK
                 : km_fail_kind(KM_ERROR_DAMAGED,
                                "%s: the %s archive is cut short behind its entry %llu: its end is missing",
                                a->name, a->feed.format, (unsigned long long)a->entries);
}

km_status km_archive_next(km_archive *a, km_bytes **out) {
    *out = NULL;
    for (;;) {
        struct archive_entry *entry = NULL;
        const int result = archive_read_next_header(a->archive, &entry);
        if (result == ARCHIVE_EOF) {
            return check_end(a);
        }
        if (result != ARCHIVE_OK && result != ARCHIVE_WARN) {
            return damaged(&a->feed, a->archive, a->name);
        }
        a->entries++;
        const char *name = archive_entry_pathname(entry);
        if (name != NULL && strcmp(name, "[Content_Types].xml") == 0) {
            return km_fail_kind(
                KM_ERROR_DAMAGED,
                "%s: found a document of Microsoft Office, expected text: save it as plain text first", a->name);
        }
        name = name != NULL ? name : archive_entry_pathname_utf8(entry);
        if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry) != NULL ||
            (name != NULL && hidden(name))) {
            continue;
        }
        char *full = name != NULL ? km_format("%s/%.*s", a->name, NAME, name)
                                  : km_format("%s/entry %llu", a->name, (unsigned long long)a->entries);
        if (archive_entry_is_encrypted(entry)) {
            km_status status = km_fail(KM_FAILED, "%s: is encrypted; unpack it first", full);
            free(full);
            return status;
        }
        entry_bytes *e = km_bytes_new(sizeof *e, &entry_type, NULL, full);
        e->archive = a;
        free(full);
        *out = &e->base;
        return KM_OK;
    }
}
