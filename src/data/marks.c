/* marks: what a policy that was learned says of the rows of a corpus, in a file: the same number of bytes for each row. */
#include "kmask/data.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { VERSION = 1, PIECE = 1 << 16 };

/* The file: this, then `count` rows of `stride` bytes. All that decides the marks is in it. */
typedef struct header {
    char magic[8];
    uint32_t version, kind;
    uint64_t rows[2], policy[2]; /* hashes */
    uint64_t first, count;
    uint32_t stride, reserved;
    uint64_t hash[2]; /* of the rows' bytes, then of the header up to here */
} header;

struct km_marks {
    char *path, *final; /* where the file is, and while it is made where it will be */
    int fd;
    header head;
    uint64_t *numbers; /* of the rows, ascending; NULL: head.first, head.first + 1, ... */
};

size_t km_marks_stride(km_mark_kind kind, int kept, int length) {
    return kind == KM_MARKS_SPANS ? (size_t)kept * sizeof(km_mark_span) : (size_t)length * sizeof(int16_t);
}

static header expected_head(const km_marks_key *key) {
    return (header){.magic = "KMMARK\n",
                    .version = VERSION,
                    .kind = (uint32_t)key->kind,
                    .rows = {key->rows.low, key->rows.high},
                    .policy = {key->policy.low, key->policy.high},
                    .first = key->first,
                    .count = key->count,
                    .stride = (uint32_t)key->stride};
}

static km_status hash_of(km_hash *out, const km_marks *marks) {
    km_hasher *hasher = km_hasher_create();
    char *piece = km_new(PIECE, 1);
    const uint64_t bytes = marks->head.count * marks->head.stride;
    km_status status = KM_OK;
    for (uint64_t at = 0; at < bytes && status == KM_OK; at += PIECE) {
        const size_t count = (size_t)KM_MIN((uint64_t)PIECE, bytes - at);
        status = km_pread_all(marks->fd, piece, count, sizeof(header) + at, marks->path);
        km_hasher_add(hasher, piece, count);
    }
    km_hasher_add(hasher, &marks->head, offsetof(header, hash));
    free(piece);
    *out = km_hasher_end(hasher);
    return status;
}

/* Whether the file is whole, and of this key. */
static bool fits(km_marks *marks) {
    header head = {0};
    struct stat info;
    km_hash hash;
    if (fstat(marks->fd, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size < (off_t)sizeof head ||
        km_pread_all(marks->fd, &head, sizeof head, 0, marks->path) != KM_OK ||
        memcmp(&head, &marks->head, offsetof(header, hash)) != 0 ||
        (uint64_t)info.st_size != sizeof head + head.count * head.stride) {
        return false;
    }
    marks->head = head;
    return hash_of(&hash, marks) == KM_OK && hash.low == head.hash[0] && hash.high == head.hash[1];
}

static int compare_numbers(const void *left, const void *right) {
    const uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static km_marks *new_marks(const char *path, const km_marks_key *key) {
    km_marks *marks = km_new(1, sizeof *marks);
    marks->path = km_strdup(path);
    marks->fd = -1;
    marks->head = expected_head(key);
    if (key->numbers != NULL) {
        marks->numbers = km_new(key->count + 1, sizeof *marks->numbers);
        memcpy(marks->numbers, key->numbers, key->count * sizeof *marks->numbers);
        qsort(marks->numbers, (size_t)key->count, sizeof *marks->numbers, compare_numbers);
    }
    return marks;
}

bool km_marks_open(km_marks **out, const char *path, const km_marks_key *key) {
    km_marks *marks = new_marks(path, key);
    marks->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    const bool good = marks->fd >= 0 && fits(marks);
    if (!good) {
        km_marks_close(marks);
    }
    *out = good ? marks : NULL;
    return good;
}

static km_status open_unnamed(km_marks *marks) {
    const char *folder = getenv("TMPDIR");
    free(marks->path);
    marks->path = km_format("%s/kmask-marks-XXXXXX", folder != NULL && *folder != '\0' ? folder : "/tmp");
    marks->fd = mkostemp(marks->path, O_CLOEXEC);
    if (marks->fd < 0) {
        return km_fail_errno(errno, "%s: cannot create", marks->path);
    }
    unlink(marks->path);
    return KM_OK;
}

static km_status open_named(km_marks *marks, const char *path, bool first) {
    marks->final = km_strdup(path);
    free(marks->path);
    marks->path = km_format("%s.tmp", path);
    if (first) {
        unlink(marks->path);
    }
    marks->fd = open(marks->path, O_RDWR | O_CLOEXEC | (first ? O_CREAT | O_EXCL : 0), 0666);
    return marks->fd < 0 ? km_fail_errno(errno, "%s: cannot create", marks->path) : KM_OK;
}

km_status km_marks_begin(km_marks **out, const char *path, const km_marks_key *key, bool first) {
    *out = NULL;
    km_marks *marks = new_marks("", key);
    km_status status = path == NULL ? open_unnamed(marks) : open_named(marks, path, first);
    if (status != KM_OK) {
        km_marks_close(marks);
        return status;
    }
    *out = marks;
    return KM_OK;
}

/* Where the marks of a row are among all; false where it has none. */
static bool find_row(const km_marks *marks, uint64_t row, uint64_t *place) {
    const header *head = &marks->head;
    if (marks->numbers == NULL) {
        *place = row - head->first;
        return row >= head->first && *place < head->count;
    }
    const uint64_t *found =
        bsearch(&row, marks->numbers, (size_t)head->count, sizeof *marks->numbers, compare_numbers);
    *place = found != NULL ? (uint64_t)(found - marks->numbers) : 0;
    return found != NULL;
}

static km_status no_marks(const km_marks *marks, uint64_t row) {
    return km_fail(KM_FAILED, "%s: row %llu has no marks; there are marks of %llu rows from row %llu on.",
                   marks->path, (unsigned long long)row, (unsigned long long)marks->head.count,
                   (unsigned long long)marks->head.first);
}

km_status km_marks_write(km_marks *marks, uint64_t row, const void *bytes) {
    uint64_t place = 0;
    if (!find_row(marks, row, &place)) {
        return no_marks(marks, row);
    }
    return km_pwrite_all(marks->fd, bytes, marks->head.stride, sizeof(header) + place * marks->head.stride,
                         marks->path);
}

km_status km_marks_commit(km_marks *marks) {
    km_hash hash;
    KM_TRY(hash_of(&hash, marks));
    marks->head.hash[0] = hash.low;
    marks->head.hash[1] = hash.high;
    KM_TRY(km_pwrite_all(marks->fd, &marks->head, sizeof(header), 0, marks->path));
    return marks->final != NULL ? km_file_commit(marks->path, marks->final) : KM_OK;
}

void km_marks_close(km_marks *marks) {
    if (marks != NULL) {
        if (marks->fd >= 0) {
            close(marks->fd);
        }
        free(marks->path);
        free(marks->final);
        free(marks->numbers);
        free(marks);
    }
}

km_mark_kind km_marks_kind(const km_marks *marks) {
    return (km_mark_kind)marks->head.kind;
}

size_t km_marks_bytes(const km_marks *marks) {
    return marks->head.stride;
}

km_hash km_marks_hash(const km_marks *marks) {
    return (km_hash){.low = marks->head.hash[0], .high = marks->head.hash[1]};
}

km_status km_marks_read(const km_marks *marks, uint64_t row, void *out) {
    uint64_t place = 0;
    if (!find_row(marks, row, &place)) {
        return no_marks(marks, row);
    }
    return km_pread_all(marks->fd, out, marks->head.stride, sizeof(header) + place * marks->head.stride,
                        marks->path);
}

/* A logit difference in steps of 1/1024, never rounded to the other side of 0. */
int16_t km_mark_of(float difference) {
    const float steps = difference * 1024.0f;
    const float least = difference > 0 ? KM_MAX(steps, 1.0f) : KM_MIN(steps, -1.0f);
    return difference > 0 || difference < 0 ? (int16_t)KM_MAX(-32767.0f, KM_MIN(32767.0f, least)) : 0;
}
