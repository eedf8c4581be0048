#include "torn_disk.h"

#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MOST_FDS = 65536, SECTOR = 512 };

/* One write, or with bytes NULL a new size. */
typedef struct change {
    size_t offset, count;
    char *bytes;
} change;

typedef struct image {
    char *bytes;
    size_t size;
} image;

/* A file, whatever its names. */
typedef struct node {
    image durable;
    change *changes; /* since, in order */
    size_t count;
} node;

typedef struct name {
    char *path;
    node *file;
} name;

typedef struct names {
    name *items;
    size_t count;
} names;

typedef enum name_kind { APPEARS, VANISHES, MOVES, FOLDER } name_kind;

typedef struct name_change {
    name_kind kind;
    char *path, *from; /* from: MOVES only */
    node *file;        /* APPEARS, MOVES */
} name_change;

typedef struct descriptor {
    char *path;
    node *file; /* NULL: a folder */
} descriptor;

static names now, durable;
static name_change *pending;
static size_t pending_count;
static descriptor descriptors[MOST_FDS];

static void *grown(void *old, size_t count, size_t size) {
    void *new = realloc(old, count * size);
    if (new == NULL) {
        abort();
    }
    return new;
}

static char *copied(const char *text) {
    char *copy = strdup(text);
    if (copy == NULL) {
        abort();
    }
    return copy;
}

/* ---- Names ---- */

static name *find(const names *all, const char *path) {
    for (size_t i = 0; i < all->count; i++) {
        if (strcmp(all->items[i].path, path) == 0) {
            return &all->items[i];
        }
    }
    return NULL;
}

static void set_name(names *all, const char *path, node *file) {
    name *old = find(all, path);
    if (old != NULL) {
        old->file = file;
        return;
    }
    all->items = grown(all->items, all->count + 1, sizeof *all->items);
    all->items[all->count++] = (name){copied(path), file};
}

static void remove_name(names *all, const char *path) {
    name *old = find(all, path);
    if (old != NULL) {
        free(old->path);
        *old = all->items[--all->count];
    }
}

static names copy_names(const names *all) {
    names copy = {0};
    for (size_t i = 0; i < all->count; i++) {
        set_name(&copy, all->items[i].path, all->items[i].file);
    }
    return copy;
}

static bool lies_under(const char *path, const char *folder) {
    size_t length = strlen(folder);
    return strncmp(path, folder, length) == 0 && path[length] == '/';
}

static bool lies_in(const char *path, const char *folder) {
    return lies_under(path, folder) && strchr(path + strlen(folder) + 1, '/') == NULL;
}

static void apply_name(names *all, const name_change *c) {
    switch (c->kind) {
    case APPEARS:
        set_name(all, c->path, c->file);
        break;
    case VANISHES:
        remove_name(all, c->path);
        break;
    case MOVES:
        set_name(all, c->path, c->file);
        remove_name(all, c->from);
        break;
    case FOLDER:
        break;
    }
}

static void add_name_change(name_kind kind, const char *path, const char *from, node *file) {
    pending = grown(pending, pending_count + 1, sizeof *pending);
    pending[pending_count] = (name_change){kind, copied(path), from ? copied(from) : NULL, file};
    apply_name(&now, &pending[pending_count++]);
}

/* ---- Bytes ---- */

static void resize(image *i, size_t size) {
    i->bytes = grown(i->bytes, size + 1, 1);
    if (size > i->size) {
        memset(i->bytes + i->size, 0, size - i->size);
    }
    i->size = size;
}

/* The first `count` bytes of a change; what it makes of the size counts in any case. */
static void apply_change(image *i, const change *c, size_t count) {
    if (c->bytes == NULL) {
        resize(i, c->count);
        return;
    }
    if (c->offset + c->count > i->size) {
        resize(i, c->offset + c->count);
    }
    memcpy(i->bytes + c->offset, c->bytes, count);
}

static void add_change(node *file, size_t offset, size_t count, const void *bytes) {
    file->changes = grown(file->changes, file->count + 1, sizeof *file->changes);
    change *c = &file->changes[file->count++];
    *c = (change){offset, count, NULL};
    if (bytes != NULL) {
        c->bytes = grown(NULL, count + 1, 1);
        memcpy(c->bytes, bytes, count);
    }
}

static void make_durable(node *file) {
    for (size_t i = 0; i < file->count; i++) {
        apply_change(&file->durable, &file->changes[i], file->changes[i].count);
        free(file->changes[i].bytes);
    }
    file->count = 0;
}

static image read_file(const char *path) {
    image i = {0};
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
    struct stat info;
    if (fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) {
        resize(&i, (size_t)info.st_size);
        for (size_t at = 0; at < i.size;) {
            ssize_t got = pread(fd, i.bytes + at, i.size - at, (off_t)at);
            if (got <= 0) {
                break;
            }
            at += (size_t)got;
        }
    }
    if (fd >= 0) {
        syscall(SYS_close, fd);
    }
    return i;
}

/* ---- What happens to the disk ---- */

static node *new_node(void) {
    node *file = calloc(1, sizeof *file);
    if (file == NULL) {
        abort();
    }
    return file;
}

void disk_know(const char *path) {
    struct stat info;
    if (find(&now, path) != NULL || lstat(path, &info) != 0 || !S_ISREG(info.st_mode)) {
        return;
    }
    node *file = new_node();
    file->durable = read_file(path);
    set_name(&now, path, file);
    set_name(&durable, path, file);
}

void disk_opened(int fd, const char *path, bool created, bool emptied, bool folder) {
    if (fd < 0 || fd >= MOST_FDS) {
        return;
    }
    disk_closed(fd);
    if (folder) {
        descriptors[fd] = (descriptor){copied(path), NULL};
        return;
    }
    if (created) {
        add_name_change(APPEARS, path, NULL, new_node());
    }
    name *known = find(&now, path);
    if (known == NULL) {
        return; /* a device or pipe */
    }
    if (emptied) {
        add_change(known->file, 0, 0, NULL);
    }
    descriptors[fd] = (descriptor){copied(path), known->file};
}

void disk_closed(int fd) {
    if (fd >= 0 && fd < MOST_FDS) {
        free(descriptors[fd].path);
        descriptors[fd] = (descriptor){0};
    }
}

const char *disk_path(int fd) {
    return fd >= 0 && fd < MOST_FDS ? descriptors[fd].path : NULL;
}

void disk_wrote(int fd, off_t offset, const void *bytes, size_t count) {
    if (disk_path(fd) != NULL && descriptors[fd].file != NULL) {
        add_change(descriptors[fd].file, (size_t)offset, count, bytes);
    }
}

void disk_resized(int fd, off_t size) {
    if (disk_path(fd) != NULL && descriptors[fd].file != NULL) {
        add_change(descriptors[fd].file, 0, (size_t)size, NULL);
    }
}

void disk_resized_path(const char *path, off_t size) {
    name *known = find(&now, path);
    if (known != NULL) {
        add_change(known->file, 0, (size_t)size, NULL);
    }
}

static void sync_folder(const char *path) {
    size_t left = 0;
    for (size_t i = 0; i < pending_count; i++) {
        if (path == NULL || lies_in(pending[i].path, path)) {
            apply_name(&durable, &pending[i]);
            free(pending[i].path);
            free(pending[i].from);
        } else {
            pending[left++] = pending[i];
        }
    }
    pending_count = left;
}

void disk_synced(int fd) {
    if (disk_path(fd) == NULL) {
        return;
    }
    if (descriptors[fd].file != NULL) {
        make_durable(descriptors[fd].file);
    } else {
        sync_folder(descriptors[fd].path);
    }
}

void disk_synced_all(void) {
    for (size_t i = 0; i < now.count; i++) {
        make_durable(now.items[i].file);
    }
    sync_folder(NULL);
}

void disk_renamed(const char *from, const char *to) {
    name *known = find(&now, from);
    if (known != NULL) {
        add_name_change(MOVES, to, from, known->file);
    }
}

void disk_linked(const char *from, const char *to) {
    name *known = find(&now, from);
    if (known != NULL) {
        add_name_change(APPEARS, to, NULL, known->file);
    }
}

void disk_unlinked(const char *path) {
    add_name_change(VANISHES, path, NULL, NULL);
}

void disk_made_folder(const char *path) {
    add_name_change(FOLDER, path, NULL, NULL);
}

/* ---- The power fails ---- */

static uint64_t draws;

static uint64_t draw(void) { /* splitmix64 */
    uint64_t x = draws += 0x9e3779b97f4a7c15U;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
    return x ^ (x >> 31);
}

static bool name_survives(unsigned long seed) {
    return seed == 1 || seed == 3 || (seed > 3 && draw() % 2 == 0);
}

static image remains_of(const node *file, unsigned long seed) {
    image i = {0};
    resize(&i, file->durable.size);
    if (i.size > 0) {
        memcpy(i.bytes, file->durable.bytes, i.size);
    }
    for (size_t k = 0; k < file->count; k++) {
        const change *c = &file->changes[k];
        uint64_t chance = seed > 3 ? draw() : 0;
        if (seed == 2 || (seed == 3 && k % 2 == 0) || (seed > 3 && chance % 3 == 0)) {
            apply_change(&i, c, c->count);
        } else if (seed > 3 && chance % 3 == 1) { /* whole sectors of it, perhaps none: then only the size */
            size_t part = c->count / SECTOR > 0 ? draw() % (c->count / SECTOR) * SECTOR : 0;
            apply_change(&i, c, part);
        }
    }
    return i;
}

static void write_file(const char *path, const image *i) {
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    for (size_t at = 0; fd >= 0 && at < i->size;) {
        long put = syscall(SYS_pwrite64, fd, i->bytes + at, i->size - at, at);
        if (put <= 0) {
            break;
        }
        at += (size_t)put;
    }
    if (fd >= 0) {
        syscall(SYS_close, fd);
    }
}

/* Folders that are lost take along what is in them. */
static void drop_folder(names *left, const char *folder) {
    for (size_t i = left->count; i > 0; i--) {
        if (lies_under(left->items[i - 1].path, folder)) {
            remove_name(left, left->items[i - 1].path);
        }
    }
}

static names choose_names(unsigned long seed, bool *lost) {
    names left = copy_names(&durable);
    for (size_t i = 0; i < pending_count; i++) {
        bool survives = name_survives(seed);
        lost[i] = !survives && pending[i].kind == FOLDER;
        if (survives) {
            apply_name(&left, &pending[i]);
        }
    }
    for (size_t i = 0; i < pending_count; i++) {
        if (lost[i]) {
            drop_folder(&left, pending[i].path);
        }
    }
    return left;
}

void disk_lose_power(unsigned long seed) {
    draws = seed;
    bool *lost = grown(NULL, pending_count + 1, sizeof *lost);
    names left = choose_names(seed, lost);
    for (size_t i = 0; i < now.count; i++) {
        if (find(&left, now.items[i].path) == NULL) {
            syscall(SYS_unlinkat, AT_FDCWD, now.items[i].path, 0);
        }
    }
    for (size_t i = pending_count; i > 0; i--) { /* the inner ones come later and go first */
        if (lost[i - 1]) {
            syscall(SYS_unlinkat, AT_FDCWD, pending[i - 1].path, AT_REMOVEDIR);
        }
    }
    for (size_t i = 0; i < left.count; i++) {
        image remains = remains_of(left.items[i].file, seed);
        syscall(SYS_unlinkat, AT_FDCWD, left.items[i].path, 0);
        write_file(left.items[i].path, &remains);
        free(remains.bytes);
    }
    free(lost);
}
