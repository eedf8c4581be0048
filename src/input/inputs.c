/* The list of input files, and how it is cut into pieces of work. */
#include "kmask/input.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A folder on the way from an argument down, to find loops of symbolic links. */
typedef struct chain {
    const struct chain *above;
    dev_t device;
    ino_t inode;
} chain;

typedef struct finding {
    km_inputs *out;
    const char *const *outputs;
    int output_count;
    const km_input_options *options;
} finding;

void km_inputs_add(km_inputs *inputs, const km_input *input) {
    if (inputs->count == inputs->capacity) {
        inputs->capacity = 2 * inputs->capacity + 16;
        inputs->files = km_grow(inputs->files, inputs->capacity, sizeof *inputs->files);
    }
    km_input *file = &inputs->files[inputs->count++];
    *file = *input;
    file->path = km_strdup(input->path);
    file->open = NULL;
}

void km_inputs_free(km_inputs *inputs) {
    for (size_t i = 0; i < inputs->count; i++) {
        free(inputs->files[i].path);
        km_contents_close(inputs->files[i].open);
    }
    free(inputs->files);
    *inputs = (km_inputs){0};
}

static int64_t nanoseconds(struct timespec time) {
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* Adds what was found, after a look at what it holds. */
static km_status add_found(finding *f, const char *path, const struct stat *info) {
    char *own = km_strdup(path);
    km_input input = {.path = own, .pipe = !S_ISREG(info->st_mode)};
    if (!input.pipe) {
        input.size = (uint64_t)info->st_size;
        input.changed = nanoseconds(info->st_ctim);
        input.modified = nanoseconds(info->st_mtim);
    }
    km_status status = km_input_recognise(&input, f->options);
    if (status == KM_OK) {
        km_inputs_add(f->out, &input);
        f->out->files[f->out->count - 1].open = input.open;
    }
    free(own);
    return status;
}

static bool is_output(const finding *f, const struct stat *info) {
    for (int i = 0; i < f->output_count; i++) {
        struct stat output;
        if (stat(f->outputs[i], &output) == 0 && output.st_dev == info->st_dev && output.st_ino == info->st_ino) {
            return true;
        }
    }
    return false;
}

static int visible(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

static int by_bytes(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static km_status find_folder(finding *f, const char *path, const struct stat *info, const chain *above);

/* Something inside a folder; what is no file or folder is passed over. */
static km_status find_inside(finding *f, const char *path, const chain *above) {
    struct stat info;
    if (stat(path, &info) != 0) {
        return km_fail_errno(errno, "%s: cannot read", path);
    }
    if (S_ISDIR(info.st_mode)) {
        return find_folder(f, path, &info, above);
    }
    return S_ISREG(info.st_mode) && !is_output(f, &info) ? add_found(f, path, &info) : KM_OK;
}

static km_status find_folder(finding *f, const char *path, const struct stat *info, const chain *above) {
    for (const chain *c = above; c != NULL; c = c->above) {
        if (c->device == info->st_dev && c->inode == info->st_ino) {
            return KM_OK;
        }
    }
    const chain here = {.above = above, .device = info->st_dev, .inode = info->st_ino};
    struct dirent **entries = NULL;
    int count = scandir(path, &entries, visible, by_bytes);
    if (count < 0) {
        return km_fail_errno(errno, "%s: cannot read this folder", path);
    }
    km_status status = KM_OK;
    size_t length = strlen(path);
    const char *slash = length > 0 && path[length - 1] == '/' ? "" : "/";
    for (int i = 0; i < count; i++) {
        if (status == KM_OK) {
            char *inside = km_format("%s%s%s", path, slash, entries[i]->d_name);
            status = find_inside(f, inside, &here);
            free(inside);
        }
        free(entries[i]);
    }
    free(entries);
    return status;
}

static km_status find_standard_input(finding *f) {
    const struct stat pipe = {.st_mode = S_IFIFO};
    for (size_t i = 0; i < f->out->count; i++) {
        if (strcmp(f->out->files[i].path, "-") == 0) {
            return km_fail(KM_USAGE, "standard input (\"-\") is named twice; it can be read once");
        }
    }
    return add_found(f, "-", &pipe);
}

static km_status find_argument(finding *f, const char *path) {
    struct stat info;
    if (strcmp(path, "-") == 0) {
        return find_standard_input(f);
    }
    if (stat(path, &info) != 0) {
        return km_fail_errno(errno, "%s: cannot read", path);
    }
    size_t before = f->out->count;
    if (S_ISDIR(info.st_mode)) {
        KM_TRY(find_folder(f, path, &info, NULL));
        return f->out->count > before ? KM_OK : km_fail(KM_FAILED, "%s: no files in this folder", path);
    }
    if (S_ISCHR(info.st_mode) || S_ISBLK(info.st_mode) || S_ISSOCK(info.st_mode)) {
        return km_fail(KM_FAILED,
                       "%s: neither a file nor a folder nor a pipe, expected one of them (\"-\": standard input)",
                       path);
    }
    if (is_output(f, &info)) {
        return km_fail(KM_FAILED, "%s: is both input and output; choose another --out", path);
    }
    return add_found(f, path, &info);
}

km_status km_inputs_find(km_inputs *out, const char *const *paths, int count, const char *const *outputs,
                         int output_count, const km_input_options *options) {
    finding f = {.out = out, .outputs = outputs, .output_count = output_count, .options = options};
    KM_TRY(options->encoding != NULL ? km_input_check_encoding(options->encoding) : KM_OK);
    for (int i = 0; i < count; i++) {
        KM_TRY(find_argument(&f, paths[i]));
    }
    return KM_OK;
}

/* ---- Files that are written to while they are read ---- */

static km_status was_written_to(const km_input *input) {
    return km_fail_kind(KM_ERROR_DAMAGED,
                        "%s: was written to while it was read: it no longer holds what was read of it. Begin again "
                        "when no other program writes to it.",
                        input->path);
}

/* Compares bytes of a file with what was read of them. */
static km_status check_hash(const km_input *input, int fd, const km_seen *seen) {
    enum { PIECE = 1 << 16 };
    char *piece = km_new(PIECE, 1);
    km_hasher *hasher = km_hasher_create();
    km_status status = KM_OK;
    for (uint64_t at = seen->begin; at < seen->end && status == KM_OK; at += PIECE) {
        const size_t count = (size_t)KM_MIN(seen->end - at, (uint64_t)PIECE);
        status = km_pread_all(fd, piece, count, at, input->path);
        km_hasher_add(hasher, piece, count);
    }
    const km_hash hash = km_hasher_end(hasher);
    free(piece);
    return status == KM_OK && km_hash_equal(hash, seen->hash) ? KM_OK : was_written_to(input);
}

km_status km_input_check_seen(const km_input *input, const km_seen *seen) {
    struct stat info;
    if (input->pipe || stat(input->path, &info) != 0 || nanoseconds(info.st_ctim) == input->changed) {
        return KM_OK; /* a file that was removed was not written to */
    }
    if (!seen->in_order) {
        const bool same = nanoseconds(info.st_mtim) == input->modified && (uint64_t)info.st_size == input->size;
        return same ? KM_OK : was_written_to(input);
    }
    const int fd = km_file_open(input->path);
    if (fd < 0) {
        return km_fail_errno(errno, "%s: cannot be opened once more after it was read", input->path);
    }
    km_status status = check_hash(input, fd, seen);
    close(fd);
    return status;
}

km_input_piece *km_inputs_cut(const km_inputs *inputs, uint64_t bytes, size_t *count) {
    km_input_piece *pieces = NULL;
    size_t capacity = 0;
    *count = 0;
    for (size_t i = 0; i < inputs->count; i++) {
        const km_input *file = &inputs->files[i];
        uint64_t step = bytes == 0 || !file->plain ? file->size : bytes, begin = 0;
        do { /* an empty file too is a piece: with --document file it is a document */
            if (*count == capacity) {
                capacity = 2 * capacity + 16;
                pieces = km_grow(pieces, capacity, sizeof *pieces);
            }
            uint64_t end = file->size - begin > step ? begin + step : file->size;
            pieces[(*count)++] = (km_input_piece){.file = i, .begin = begin, .end = end};
            begin = end;
        } while (begin < file->size);
    }
    return pieces;
}
