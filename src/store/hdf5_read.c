/* Lists the arrays and attributes of an HDF5 file without libhdf5, which crashes or hangs on files that somebody has changed and
 * sealed again. What is read here is the part of the format that kmask writes, and nothing else: superblock version 0, groups
 * with symbol tables, object headers of version 1, contiguous arrays, and attributes of the root group that are numbers or texts.
 * Anything else is an error, so links to other files, soft links, filters and data in other files cannot occur. Every address is
 * checked against the file before it is read, and the number of reads is limited, so circles end.
 * Source: HDF5 File Format Specification, version 2.0 (The HDF Group); the sections are named where a structure is read. */
#include "hdf5_read.h"

#include <stdlib.h>
#include <string.h>

#define UNDEFINED UINT64_MAX /* an address where there is nothing */
enum {
    MAX_READS = 1 << 21, /* of one file: a checkpoint of 1,000 tensors takes about 10,000 */
    MAX_BYTES = 1 << 30, /* read in all */
    MAX_DEPTH = 16,      /* of groups in groups, and of the nodes of a B-tree */
    MAX_BLOCK = 1 << 20, /* bytes of a block of an object header */
    MAX_BLOCKS = 64,     /* of an object header */
    MAX_NAME = 1024,     /* bytes of an array's full path */
    MAX_TEXT = 1 << 28   /* bytes of an attribute */
};

/* ---- Bytes of the file ---- */

typedef struct reading {
    km_store *store;
    int reads;
    uint64_t bytes; /* read so far */
} reading;

static uint64_t number(const unsigned char *bytes, int count) {
    uint64_t value = 0;
    for (int i = count - 1; i >= 0; i--) {
        value = value << 8 | bytes[i];
    }
    return value;
}

static km_status wrong(const reading *r, const char *what, uint64_t at) {
    return km_fail_kind(KM_ERROR_DAMAGED, "%s: its HDF5 structures are not what kmask writes: %s at byte %llu",
                        r->store->path, what, (unsigned long long)at);
}

/* Reads `count` bytes at an address, which counts from the end of the user block. */
static km_status get(reading *r, void *out, uint64_t at, uint64_t count, const char *what) {
    const uint64_t behind = r->store->size - KM_USER_BLOCK;
    if (++r->reads > MAX_READS || count > MAX_BYTES - r->bytes) {
        return wrong(r, "more structures than a file has room for, the last one", at);
    }
    if (at > behind || count > behind - at) {
        return wrong(r, what, at);
    }
    r->bytes += count;
    return km_pread_all(r->store->fd, out, (size_t)count, at + KM_USER_BLOCK, r->store->path);
}

/* ---- Datatypes and dataspaces (IV.A.2.b, IV.A.2.d) ---- */

/* How the types are written, byte by byte. */
static const struct {
    km_dtype type;
    int size;
    unsigned char bytes[20];
} TYPES[] = {
    {KM_F32, 20, {0x11, 0x20, 31, 0, 4, 0, 0, 0, 0, 0, 32, 0, 23, 8, 0, 23, 127, 0, 0, 0}},
    {KM_F64, 20, {0x11, 0x20, 63, 0, 8, 0, 0, 0, 0, 0, 64, 0, 52, 11, 0, 52, 0xFF, 3, 0, 0}},
    {KM_U8, 12, {0x10, 0, 0, 0, 1, 0, 0, 0, 0, 0, 8, 0}},
    {KM_U16, 12, {0x10, 0, 0, 0, 2, 0, 0, 0, 0, 0, 16, 0}},
    {KM_U32, 12, {0x10, 0, 0, 0, 4, 0, 0, 0, 0, 0, 32, 0}},
    {KM_U64, 12, {0x10, 0, 0, 0, 8, 0, 0, 0, 0, 0, 64, 0}},
    {KM_I32, 12, {0x10, 8, 0, 0, 4, 0, 0, 0, 0, 0, 32, 0}},
};
static const unsigned char I64[] = {0x10, 8, 0, 0, 8, 0, 0, 0, 0, 0, 64, 0};
enum { TEXT_CLASS = 0x19, TEXT_KIND = 0x01 }; /* a text of variable length */

static bool type_from(km_dtype *out, const unsigned char *bytes, size_t size) {
    for (size_t i = 0; i < KM_COUNT(TYPES); i++) {
        if (size >= (size_t)TYPES[i].size && memcmp(bytes, TYPES[i].bytes, (size_t)TYPES[i].size) == 0) {
            *out = TYPES[i].type;
            return true;
        }
    }
    return false;
}

static bool space_from(km_array *out, const unsigned char *bytes, size_t size) {
    const size_t head = size >= 4 && bytes[0] == 1 ? 8 : 4; /* of versions 1 and 2 */
    if (size < head || (bytes[0] != 1 && bytes[0] != 2) || bytes[1] > 4 || size - head < 8 * (size_t)bytes[1]) {
        return false;
    }
    out->rank = bytes[1];
    for (int i = 0; i < out->rank; i++) {
        out->dims[i] = number(bytes + head + 8 * (size_t)i, 8);
    }
    return km_array_measure(out);
}

/* ---- Attributes (IV.A.2.m) ---- */

/* Finds the object `index` of a global heap collection (III.E). */
static km_status find_heap_object(reading *r, uint64_t collection, uint64_t index, uint64_t *place,
                                  uint64_t *size) {
    unsigned char head[16] = {0};
    KM_TRY(get(r, head, collection, sizeof head, "a heap of texts"));
    const uint64_t end = number(head + 8, 8);
    if (memcmp(head, "GCOL\1", 5) != 0) {
        return wrong(r, "no heap of texts", collection);
    }
    for (uint64_t at = sizeof head; at < end && end - at >= sizeof head;) {
        KM_TRY(get(r, head, collection + at, sizeof head, "a text"));
        const uint64_t bytes = number(head + 8, 8);
        if (bytes > end - at - sizeof head || number(head, 2) == 0) { /* 0 is the free space at the end */
            break;
        }
        if (number(head, 2) == index) {
            *place = collection + at + sizeof head;
            *size = bytes;
            return KM_OK;
        }
        at += sizeof head + (bytes + 7) / 8 * 8;
    }
    return wrong(r, "a text is missing in the heap", collection);
}

static km_status read_text(reading *r, km_attribute *out, const unsigned char *data) {
    const uint64_t length = number(data, 4), collection = number(data + 4, 8), index = number(data + 12, 4);
    uint64_t place = 0, size = 0;
    if (length == 0) {
        out->text = km_strdup("");
        return KM_OK;
    }
    KM_TRY(find_heap_object(r, collection, index, &place, &size));
    if (length > size || length > MAX_TEXT) {
        return wrong(r, "a text longer than its place", place);
    }
    void *text = NULL;
    KM_TRY(km_allocate(&text, length + 1, "an attribute"));
    out->text = text;
    return get(r, text, place, length, "a text");
}

/* The parts of an attribute's message. */
typedef struct parts {
    const unsigned char *name, *type, *space, *data;
    size_t name_size, type_size, space_size, data_size;
} parts;

static const unsigned char *take(const unsigned char **at, size_t *left, size_t size, size_t unit) {
    const size_t padded = (size + unit - 1) / unit * unit;
    const unsigned char *here = *at;
    if (padded > *left) {
        return NULL;
    }
    *at += padded;
    *left -= padded;
    return here;
}

static bool split(parts *out, const unsigned char *bytes, size_t size) {
    const bool old = size > 0 && bytes[0] == 1; /* version 1 pads its parts to 8 bytes; version 3 does not */
    const size_t head = old ? 8 : 9, unit = old ? 8 : 1;
    if (size < head || (!old && (bytes[0] != 3 || bytes[1] != 0))) {
        return false;
    }
    const unsigned char *at = bytes + head;
    size_t left = size - head;
    out->name_size = number(bytes + 2, 2);
    out->type_size = number(bytes + 4, 2);
    out->space_size = number(bytes + 6, 2);
    out->name = take(&at, &left, out->name_size, unit);
    out->type = out->name != NULL ? take(&at, &left, out->type_size, unit) : NULL;
    out->space = out->type != NULL ? take(&at, &left, out->space_size, unit) : NULL;
    out->data = at;
    out->data_size = left;
    return out->space != NULL && out->name_size > 1 && memchr(out->name, '\0', out->name_size) != NULL;
}

/* Adds the attribute to the store if it is a text or a number, as kmask's are; other attributes are left out. */
static km_status read_attribute(reading *r, const unsigned char *bytes, size_t size, uint64_t at) {
    parts p;
    km_array shape = {.type = KM_U8};
    if (!split(&p, bytes, size) || p.type_size < 8 || !space_from(&shape, p.space, p.space_size)) {
        return wrong(r, "an attribute", at);
    }
    const bool text = p.type[0] == TEXT_CLASS && (p.type[1] & 0x0F) == TEXT_KIND && p.data_size >= 16;
    const bool integer = p.type_size >= sizeof I64 && memcmp(p.type, I64, sizeof I64) == 0 && p.data_size >= 8;
    if (shape.rank != 0 || (!text && !integer)) {
        return KM_OK;
    }
    km_attribute attribute = {.number = integer ? (int64_t)number(p.data, 8) : 0};
    km_status status = text ? read_text(r, &attribute, p.data) : KM_OK;
    if (status == KM_OK) {
        attribute.name = km_strdup((const char *)p.name);
        if (km_store_insert_attribute(r->store, &attribute)) {
            return KM_OK;
        }
        status = wrong(r, "an attribute that is there twice", at);
    }
    free(attribute.name);
    free(attribute.text);
    return status;
}

/* ---- Object headers (IV.A.1.a) ---- */

/* What the messages of an object's header say. */
typedef struct object {
    bool root;
    bool has_type, has_space, has_layout, has_table;
    km_array array;
    uint64_t bytes;      /* of the array, as its layout has it */
    uint64_t tree, heap; /* of a group */
    uint64_t next[MAX_BLOCKS], next_size[MAX_BLOCKS];
    int blocks; /* continuation blocks found so far */
} object;

enum {
    NIL = 0x00,
    DATASPACE = 0x01,
    DATATYPE = 0x03,
    FILL_OLD = 0x04,
    FILL = 0x05,
    LAYOUT = 0x08,
    ATTRIBUTE = 0x0C,
    CONTINUATION = 0x10,
    SYMBOL_TABLE = 0x11,
    TIME = 0x12
};

/* A contiguous array's place (IV.A.2.i). */
static bool read_layout(object *o, const unsigned char *bytes, size_t size) {
    if (size < 18 || bytes[0] != 3 || bytes[1] != 1) {
        return false;
    }
    o->array.offset = number(bytes + 2, 8);
    o->bytes = number(bytes + 10, 8);
    o->has_layout = true;
    return true;
}

static bool read_pair(uint64_t *first, uint64_t *second, const unsigned char *bytes, size_t size) {
    if (size < 16) {
        return false;
    }
    *first = number(bytes, 8);
    *second = number(bytes + 8, 8);
    return true;
}

static bool read_continuation(object *o, const unsigned char *bytes, size_t size) {
    const int i = o->blocks;
    return i < MAX_BLOCKS && ++o->blocks && read_pair(&o->next[i], &o->next_size[i], bytes, size);
}

/* Reads a message; false where it is not one that kmask writes. */
static km_status read_message(reading *r, object *o, int kind, const unsigned char *bytes, size_t size,
                              uint64_t at) {
    bool good = true;
    switch (kind) {
    case NIL:
    case FILL_OLD:
    case FILL:
    case TIME:
        break;
    case DATASPACE:
        good = o->has_space = !o->has_space && space_from(&o->array, bytes, size);
        break;
    case DATATYPE:
        good = o->has_type = !o->has_type && type_from(&o->array.type, bytes, size);
        break;
    case LAYOUT:
        good = !o->has_layout && read_layout(o, bytes, size);
        break;
    case CONTINUATION:
        good = read_continuation(o, bytes, size);
        break;
    case SYMBOL_TABLE:
        good = o->has_table = !o->has_table && read_pair(&o->tree, &o->heap, bytes, size);
        break;
    case ATTRIBUTE:
        return o->root ? read_attribute(r, bytes, size, at) : KM_OK;
    default:
        good = false;
    }
    return good ? KM_OK : wrong(r, "an object's message", at);
}

/* Reads the messages of one block of a header. */
static km_status read_messages(reading *r, object *o, const unsigned char *block, size_t size, uint64_t at) {
    for (size_t i = 0; size - i >= 8;) {
        const size_t length = number(block + i + 2, 2);
        if (length > size - i - 8 || (block[i + 4] & 2) != 0) { /* 2: shared with other objects */
            return wrong(r, "an object's message", at + i);
        }
        KM_TRY(read_message(r, o, (int)number(block + i, 2), block + i + 8, length, at + i));
        i += 8 + length;
    }
    return KM_OK;
}

static km_status read_block(reading *r, object *o, uint64_t at, uint64_t size) {
    void *block = NULL;
    if (size > MAX_BLOCK) {
        return wrong(r, "an object's header", at);
    }
    KM_TRY(km_allocate(&block, size + 1, "an HDF5 header"));
    km_status status = get(r, block, at, size, "an object's header");
    if (status == KM_OK) {
        status = read_messages(r, o, block, size, at);
    }
    free(block);
    return status;
}

static km_status read_object(reading *r, object *o, uint64_t at) {
    unsigned char head[16] = {0};
    KM_TRY(get(r, head, at, sizeof head, "an object's header"));
    if (head[0] != 1) {
        return wrong(r, "an object's header", at);
    }
    KM_TRY(read_block(r, o, at + sizeof head, number(head + 8, 4)));
    for (int i = 0; i < o->blocks; i++) { /* a block may name further ones */
        KM_TRY(read_block(r, o, o->next[i], o->next_size[i]));
    }
    return o->has_table != (o->has_type && o->has_space && o->has_layout) ? KM_OK
                                                                          : wrong(r, "an object of no kind", at);
}

/* ---- Groups (III.A, III.B, III.C) ---- */

static km_status read_group(reading *r, const object *group, const char *path, int depth);

static km_status add_array(reading *r, object *o, const char *path, uint64_t at) {
    km_array *array = &o->array;
    const uint64_t bytes = array->count * km_dtype_size(array->type), behind = r->store->size - KM_USER_BLOCK;
    if (!km_array_measure(array) || o->bytes != bytes) {
        return wrong(r, "an array whose size is not that of its shape", at);
    }
    if (bytes > 0 && (array->offset > behind || bytes > behind - array->offset)) {
        return km_fail_kind(KM_ERROR_DAMAGED, "%s: damaged: array %s would end behind the end of the file",
                            r->store->path, path);
    }
    array->offset = bytes > 0 ? array->offset + KM_USER_BLOCK : 0;
    km_array *added = km_store_append_array(r->store);
    *added = *array;
    added->name = km_strdup(path);
    return KM_OK;
}

/* Reads the object behind a link of this name. */
static km_status read_link(reading *r, uint64_t at, const char *path, int depth) {
    object o = {0};
    KM_TRY(read_object(r, &o, at));
    if (o.has_table) {
        return depth < MAX_DEPTH ? read_group(r, &o, path, depth + 1) : wrong(r, "groups in groups", at);
    }
    return add_array(r, &o, path, at);
}

/* Whether a link may have this name: kmask writes no others. */
static bool good_name(const char *name) {
    for (const char *c = name; *c != '\0'; c++) {
        if ((unsigned char)*c < ' ' || *c == 0x7F || *c == '/') {
            return false;
        }
    }
    return name[0] != '\0' && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* The names of a group's links. */
typedef struct names {
    uint64_t place, size; /* of the local heap's data */
} names;

static km_status read_name(reading *r, char out[MAX_NAME], const names *heap, uint64_t offset) {
    if (offset >= heap->size) {
        return wrong(r, "a name", heap->place);
    }
    const uint64_t count = KM_MIN((uint64_t)MAX_NAME, heap->size - offset);
    KM_TRY(get(r, out, heap->place + offset, count, "a name"));
    return memchr(out, '\0', count) != NULL && good_name(out) ? KM_OK : wrong(r, "a name", heap->place + offset);
}

/* One entry of a symbol table: name, address, and the kind of what it caches, where 2 means a soft link. */
static km_status read_entry(reading *r, const unsigned char *entry, const names *heap, const char *path, int depth,
                            uint64_t at) {
    char name[MAX_NAME], full[MAX_NAME];
    KM_TRY(read_name(r, name, heap, number(entry, 8)));
    if (snprintf(full, sizeof full, "%s/%s", path, name) >= (int)sizeof full || number(entry + 16, 4) > 1) {
        return wrong(r, "a link that is no hard link, or too long a name,", at);
    }
    return read_link(r, number(entry + 8, 8), full, depth);
}

enum { ENTRY = 40 };

static km_status read_leaf(reading *r, uint64_t at, const names *heap, const char *path, int depth) {
    unsigned char head[8] = {0}, entry[ENTRY] = {0};
    KM_TRY(get(r, head, at, sizeof head, "a group's table"));
    if (memcmp(head, "SNOD\1", 5) != 0) {
        return wrong(r, "no table of a group", at);
    }
    const uint64_t count = number(head + 6, 2);
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t place = at + sizeof head + i * ENTRY;
        KM_TRY(get(r, entry, place, sizeof entry, "a link"));
        KM_TRY(read_entry(r, entry, heap, path, depth, place));
    }
    return KM_OK;
}

/* A node of a group's B-tree: its children are nodes of the level below, or tables. `level` is -1 for the root. */
static km_status read_tree(reading *r, uint64_t at, int level, const names *heap, const char *path, int depth) {
    unsigned char head[24] = {0}, child[8] = {0};
    KM_TRY(get(r, head, at, sizeof head, "a group's tree"));
    if (memcmp(head, "TREE\0", 5) != 0 || head[5] > MAX_DEPTH || (level >= 0 && head[5] != level)) {
        return wrong(r, "no tree of a group", at);
    }
    const uint64_t count = number(head + 6, 2);
    for (uint64_t i = 0; i < count; i++) { /* keys and children take turns, a key first */
        KM_TRY(get(r, child, at + sizeof head + 8 + 16 * i, sizeof child, "a group's tree"));
        const uint64_t next = number(child, 8);
        KM_TRY(head[5] > 0 ? read_tree(r, next, head[5] - 1, heap, path, depth)
                           : read_leaf(r, next, heap, path, depth));
    }
    return KM_OK;
}

static km_status read_group(reading *r, const object *group, const char *path, int depth) {
    unsigned char head[32] = {0};
    KM_TRY(get(r, head, group->heap, sizeof head, "a group's names"));
    if (memcmp(head, "HEAP\0", 5) != 0) {
        return wrong(r, "no names of a group", group->heap);
    }
    const names heap = {.place = number(head + 24, 8), .size = number(head + 8, 8)};
    return read_tree(r, group->tree, -1, &heap, path, depth);
}

/* ---- The file ---- */

/* The superblock (II.A): versions, sizes of addresses and lengths, and where the root group is. */
static km_status read_superblock(reading *r, uint64_t *root) {
    static const unsigned char magic[] = "\x89HDF\r\n\x1a\n", versions[] = {0, 0, 0, 0, 0, 8, 8, 0};
    unsigned char block[96] = {0};
    KM_TRY(get(r, block, 0, sizeof block, "no superblock"));
    if (memcmp(block, magic, 8) != 0 || memcmp(block + 8, versions, sizeof versions) != 0 ||
        number(block + 24, 8) != KM_USER_BLOCK) {
        return wrong(r, "its superblock", KM_USER_BLOCK);
    }
    *root = number(block + 64, 8);
    return KM_OK;
}

static int by_place(const void *a, const void *b) {
    const uint64_t x = (*(km_array *const *)a)->offset, y = (*(km_array *const *)b)->offset;
    return (x > y) - (x < y);
}

/* No two arrays share bytes: a small file could otherwise hold any number of large arrays. */
static km_status check_overlaps(const reading *r) {
    const int count = r->store->array_count;
    km_array **sorted = km_new((size_t)count + 1, sizeof *sorted);
    km_status status = KM_OK;
    for (int i = 0; i < count; i++) {
        sorted[i] = &r->store->arrays[i];
    }
    qsort(sorted, (size_t)count, sizeof *sorted, by_place);
    uint64_t end = 0;
    for (int i = 0; i < count && status == KM_OK; i++) {
        if (sorted[i]->count > 0 && sorted[i]->offset < end) {
            status = km_fail_kind(KM_ERROR_DAMAGED, "%s: damaged: arrays %s and %s share bytes", r->store->path,
                                  sorted[i - 1]->name, sorted[i]->name);
        }
        end = KM_MAX(end, sorted[i]->offset + sorted[i]->count * km_dtype_size(sorted[i]->type));
    }
    free(sorted);
    return status;
}

km_status km_hdf5_read(km_store *store) {
    reading r = {.store = store};
    object root = {.root = true};
    uint64_t at = 0;
    KM_TRY(read_superblock(&r, &at));
    KM_TRY(read_object(&r, &root, at));
    if (!root.has_table) {
        return wrong(&r, "no root group", at);
    }
    KM_TRY(read_group(&r, &root, "", 0));
    const char *twice = km_store_sort_arrays(store);
    if (twice != NULL) {
        return km_fail_kind(KM_ERROR_DAMAGED, "%s: damaged: two arrays are named %s", store->path, twice);
    }
    return check_overlaps(&r);
}
