/* HDF5 files of arrays: what is written can be read back, the same content gives the same bytes, after a failure the old file
 * is still there, and a damaged file is refused with a message, whichever byte is wrong. */
#include "kmask/store.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { BLOCK = 4096, MANY = 300 };

static char folder[] = "/tmp/kmask-store-XXXXXX";

static int enter_folder(void **state) {
    (void)state;
    return mkdtemp(folder) == NULL || chdir(folder) != 0;
}

static int leave_folder(void **state) {
    (void)state;
    static const char *const left[] = {"a.h5", "b.h5", "plain.h5", "cut.h5", "types.h5"};
    for (size_t i = 0; i < KM_COUNT(left); i++) {
        unlink(left[i]);
    }
    return chdir("/") != 0 || rmdir(folder) != 0;
}

static void ok(km_status status) {
    if (status != KM_OK) {
        fail_msg("%s", km_message());
    }
}

static void refused(km_status status, const char *words) {
    assert_int_equal(status, KM_FAILED);
    if (strstr(km_message(), words) == NULL) {
        fail_msg("no '%s' in: %s", words, km_message());
    }
}

static char *slurp(const char *path, size_t *size) {
    char *bytes = NULL;
    ok(km_file_read(&bytes, size, path, 1 << 28));
    return bytes;
}

static void spill(const char *path, const void *bytes, size_t size) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* A small model: two tensors and a few attributes. */
static void write_small(const char *path, float value) {
    km_store *store = NULL;
    ok(km_store_create(&store, path));
    ok(km_store_add(store, "/model/b.weight", KM_F32, 2, (uint64_t[]){3, 5}));
    ok(km_store_add(store, "/model/a.bias", KM_F32, 1, (uint64_t[]){7}));
    ok(km_store_set_text(store, "kind", "model"));
    ok(km_store_set_number(store, "step", -12));
    ok(km_store_layout(store));
    float data[15];
    for (int i = 0; i < 15; i++) {
        data[i] = value + (float)i;
    }
    ok(km_store_write(store, km_store_find(store, "/model/b.weight"), 0, 15, data));
    ok(km_store_write(store, km_store_find(store, "/model/a.bias"), 0, 7, data));
    ok(km_store_commit(store));
}

static float small_value(const char *path) {
    km_store *store = NULL;
    float value = 0;
    ok(km_store_open(&store, path));
    ok(km_store_read(store, km_store_find(store, "/model/a.bias"), 0, 1, &value));
    km_store_close(store);
    return value;
}

/* ---- What is written comes back ---- */

static const struct {
    const char *name;
    km_dtype type;
    int rank;
    uint64_t dims[4];
} ARRAYS[] = {
    {"/deep/er/f32", KM_F32, 3, {2, 3, 4, 0}}, {"/i32", KM_I32, 1, {11, 0, 0, 0}},
    {"/none", KM_U16, 2, {0, 4, 0, 0}},        {"/u16", KM_U16, 1, {70000, 0, 0, 0}},
    {"/u32", KM_U32, 2, {5, 5, 0, 0}},         {"/u64", KM_U64, 4, {2, 1, 3, 2}},
    {"/u8", KM_U8, 1, {1, 0, 0, 0}},           {"/zero", KM_F32, 0, {0, 0, 0, 0}},
};

/* Random bytes for an array; the same ones in every call. */
static unsigned char *noise(const km_array *array, size_t *bytes) {
    *bytes = (size_t)array->count * km_dtype_size(array->type);
    unsigned char *out = km_new(*bytes, 1);
    km_rng rng = km_rng_make((uint64_t)array->type, KM_RNG_TEST, (uint32_t)array->rank, array->count);
    for (size_t i = 0; i < *bytes; i++) {
        out[i] = (unsigned char)km_rng_u32(&rng);
    }
    return out;
}

static void write_types(const char *path, const char *text) {
    km_store *store = NULL;
    ok(km_store_create(&store, path));
    for (size_t i = KM_COUNT(ARRAYS); i-- > 0;) {
        ok(km_store_add(store, ARRAYS[i].name, ARRAYS[i].type, ARRAYS[i].rank, ARRAYS[i].dims));
    }
    ok(km_store_set_text(store, "long", text));
    ok(km_store_set_text(store, "empty", ""));
    ok(km_store_set_text(store, "unicode", "a\xc3\xa9\n\"\xe2\x82\xac"));
    ok(km_store_set_number(store, "large", INT64_MAX));
    ok(km_store_set_number(store, "small", INT64_MIN));
    ok(km_store_layout(store));
    assert_string_equal(km_store_path(store) + strlen(path), ".tmp");
    for (int i = 0; i < km_store_arrays(store); i++) {
        const km_array *array = km_store_array(store, i);
        size_t bytes = 0;
        unsigned char *data = noise(array, &bytes);
        ok(km_store_write(store, array, 0, array->count, data));
        free(data);
    }
    ok(km_store_commit(store));
}

static void check_array(const km_store *store, int i) {
    const km_array *array = km_store_array(store, i);
    assert_string_equal(array->name, ARRAYS[i].name); /* in ascending order of names, as ARRAYS is */
    assert_ptr_equal(km_store_find(store, ARRAYS[i].name), array);
    assert_int_equal(array->type, ARRAYS[i].type);
    assert_int_equal(array->rank, ARRAYS[i].rank);
    assert_memory_equal(array->dims, ARRAYS[i].dims, (size_t)array->rank * sizeof array->dims[0]);
    size_t bytes = 0;
    unsigned char *expected = noise(array, &bytes), *found = km_new(bytes, 1);
    ok(km_store_read(store, array, 0, array->count, found));
    assert_memory_equal(found, expected, bytes);
    free(found);
    free(expected);
}

static void all_types_come_back(void **state) {
    (void)state;
    enum { LONG = 5000000 };
    char *text = km_new(LONG + 1, 1);
    memset(text, 'x', LONG);
    text[LONG - 1] = 'y';
    write_types("types.h5", text);

    km_store *store = NULL;
    ok(km_store_open(&store, "types.h5"));
    assert_int_equal(km_store_arrays(store), KM_COUNT(ARRAYS));
    for (int i = 0; i < km_store_arrays(store); i++) {
        check_array(store, i);
    }
    assert_null(km_store_array(store, (int)KM_COUNT(ARRAYS)));
    assert_null(km_store_array(store, -1));
    assert_null(km_store_find(store, "/deep"));
    assert_null(km_store_find(store, "i32"));
    assert_string_equal(km_store_text(store, "long"), text);
    assert_string_equal(km_store_text(store, "empty"), "");
    assert_string_equal(km_store_text(store, "unicode"), "a\xc3\xa9\n\"\xe2\x82\xac");
    assert_null(km_store_text(store, "large"));
    assert_null(km_store_text(store, "absent"));
    int64_t number = 0;
    assert_true(km_store_number(store, "large", &number) && number == INT64_MAX);
    assert_true(km_store_number(store, "small", &number) && number == INT64_MIN);
    assert_false(km_store_number(store, "long", &number));
    assert_false(km_store_number(store, "absent", &number));
    assert_string_equal(km_store_path(store), "types.h5");
    km_store_close(store);
    free(text);
}

/* Any process may read and write at the offsets of arrays. Elements that are never written are zeros. */
static void parts_are_read_and_written(void **state) {
    (void)state;
    km_store *store = NULL;
    ok(km_store_create(&store, "a.h5"));
    ok(km_store_add(store, "/x", KM_U32, 1, (uint64_t[]){1000}));
    ok(km_store_add(store, "/y", KM_U32, 1, (uint64_t[]){10}));
    ok(km_store_layout(store));
    const km_array *x = km_store_find(store, "/x"), *y = km_store_find(store, "/y");
    const uint32_t some[] = {1, 2, 3}, other[] = {7, 8};
    ok(km_store_write(store, x, 500, 3, some));
    ok(km_store_write(store, x, 999, 1, some));
    ok(km_store_write(store, x, 1000, 0, some));
    refused(km_store_write(store, x, 999, 2, some), "outside its 1000");
    refused(km_store_write(store, x, 1001, 0, some), "outside its 1000");
    refused(km_store_write(store, x, 1, UINT64_MAX, some), "outside its 1000");
    int fd = open(km_store_path(store), O_WRONLY);
    ok(km_pwrite_all(fd, other, sizeof other, y->offset + 4 * 4, "/y"));
    close(fd);
    ok(km_store_commit(store));

    uint32_t data[1000];
    ok(km_store_open(&store, "a.h5"));
    x = km_store_find(store, "/x"), y = km_store_find(store, "/y");
    ok(km_store_read(store, x, 0, 1000, data));
    for (uint32_t i = 0; i < 1000; i++) {
        assert_int_equal(data[i], i >= 500 && i < 503 ? i - 499 : i == 999);
    }
    ok(km_store_read(store, x, 501, 2, data));
    assert_memory_equal(data, some + 1, 2 * sizeof *data);
    ok(km_store_read(store, y, 4, 2, data));
    assert_memory_equal(data, other, sizeof other);
    refused(km_store_read(store, x, 999, 2, data), "outside its 1000");
    refused(km_store_read(store, x, UINT64_MAX, 2, data), "outside its 1000");
    km_store_close(store);
}

static void many_arrays_are_found(void **state) {
    (void)state;
    km_store *store = NULL;
    ok(km_store_create(&store, "a.h5"));
    for (uint64_t i = 0; i < MANY; i++) {
        char *name = km_format("/model/layer.%d.weight", (int)(i * 7 % MANY));
        ok(km_store_add(store, name, KM_U64, 1, (uint64_t[]){i + 1}));
        free(name);
    }
    ok(km_store_layout(store));
    ok(km_store_commit(store));
    ok(km_store_open(&store, "a.h5"));
    assert_int_equal(km_store_arrays(store), MANY);
    for (uint64_t i = 0; i < MANY; i++) {
        char *name = km_format("/model/layer.%d.weight", (int)(i * 7 % MANY));
        assert_int_equal(km_store_find(store, name)->count, i + 1);
        free(name);
    }
    for (int i = 1; i < MANY; i++) {
        assert_true(strcmp(km_store_array(store, i - 1)->name, km_store_array(store, i)->name) < 0);
        assert_true(km_store_array(store, i)->offset % 8 == 0);
    }
    km_store_close(store);
}

static void same_content_gives_same_bytes(void **state) {
    (void)state;
    size_t size[2];
    write_types("a.h5", "text");
    sleep(1); /* a later time must not change the file */
    void *clutter = malloc(1 << 16);
    memset(clutter, 0xa5, 1 << 16); /* nor must bytes of memory that was used before */
    free(clutter);
    write_types("b.h5", "text");
    char *a = slurp("a.h5", &size[0]), *b = slurp("b.h5", &size[1]);
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(a, b, size[0]);
    free(a);
    free(b);
}

static void bad_names_and_shapes_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"", "x", "/", "//x", "/x/", "/x//y", "/./x", "/x/."};
    km_store *store = NULL;
    const uint64_t one = 1, huge[] = {UINT64_C(1) << 40, UINT64_C(1) << 40};
    ok(km_store_create(&store, "a.h5"));
    for (size_t i = 0; i < KM_COUNT(bad); i++) {
        refused(km_store_add(store, bad[i], KM_U8, 1, &one), "expected a path");
    }
    refused(km_store_add(store, "/x", KM_U8, -1, &one), "-1 dimensions");
    refused(km_store_add(store, "/x", KM_U8, 5, huge), "5 dimensions");
    refused(km_store_add(store, "/x", KM_U8, 2, huge), "larger than a file");
    ok(km_store_add(store, "/x", KM_U8, 1, &one));
    refused(km_store_add(store, "/x", KM_U16, 1, &one), "two arrays");
    ok(km_store_set_text(store, "kind", "x"));
    refused(km_store_set_number(store, "kind", 1), "set twice");
    refused(km_store_write(store, km_store_find(store, "/x"), 0, 1, &one), "before the layout");
    ok(km_store_add(store, "/x/y", KM_U8, 1, &one)); /* /x is an array, not a group */
    refused(km_store_layout(store), "/x/y");
    km_store_abandon(store);
    assert_false(km_file_exists("a.h5.tmp"));
}

/* ---- Failures leave the old file ---- */

static void abandoned_files_vanish(void **state) {
    (void)state;
    write_small("a.h5", 1);
    km_store *store = NULL;
    ok(km_store_create(&store, "a.h5"));
    assert_true(km_file_exists("a.h5.tmp"));
    km_store_abandon(store);
    assert_false(km_file_exists("a.h5.tmp"));
    ok(km_store_create(&store, "a.h5"));
    ok(km_store_add(store, "/x", KM_U8, 1, (uint64_t[]){1}));
    ok(km_store_layout(store));
    km_store_abandon(store);
    assert_false(km_file_exists("a.h5.tmp"));
    km_store_abandon(NULL);
    km_store_close(NULL);
    ok(km_store_create(&store, "a.h5"));
    refused(km_store_commit(store), "before its layout");
    assert_false(km_file_exists("a.h5.tmp"));
    assert_true(small_value("a.h5") == 1);
}

static void leftovers_are_replaced(void **state) {
    (void)state;
    spill("a.h5.tmp", "left by a crash", 15);
    write_small("a.h5", 2);
    assert_false(km_file_exists("a.h5.tmp"));
    assert_true(small_value("a.h5") == 2);
    write_small("a.h5", 3);
    assert_true(small_value("a.h5") == 3);
}

/* A reader still reads the file that it has opened after a new file has taken its name. */
static void readers_keep_the_old_file(void **state) {
    (void)state;
    km_store *store = NULL;
    float value = 0;
    write_small("a.h5", 4);
    ok(km_store_open(&store, "a.h5"));
    write_small("a.h5", 5);
    ok(km_store_read(store, km_store_find(store, "/model/a.bias"), 0, 1, &value));
    assert_true(value == 4);
    km_store_close(store);
    assert_true(small_value("a.h5") == 5);
}

static void folders_that_go_away_are_errors(void **state) {
    (void)state;
    km_store *store = NULL;
    refused(km_store_create(&store, "gone/a.h5"), "gone/a.h5.tmp: cannot create");
    assert_null(store);
    assert_int_equal(mkdir("gone", 0777), 0);
    ok(km_store_create(&store, "gone/a.h5"));
    ok(km_store_add(store, "/x", KM_U8, 1, (uint64_t[]){1}));
    ok(km_store_layout(store));
    unlink("gone/a.h5.tmp");
    rmdir("gone");
    refused(km_store_commit(store), "cannot rename");
    /* The file cannot be renamed, because a folder has its name. */
    assert_int_equal(mkdir("gone", 0777), 0);
    ok(km_store_create(&store, "gone"));
    ok(km_store_layout(store));
    refused(km_store_commit(store), "cannot rename");
    assert_false(km_file_exists("gone.tmp"));
    rmdir("gone");
}

/* Writes a file that is too large for the disk, which is full either while HDF5 writes or while arrays are written. */
static km_status write_large(const char *path) {
    km_store *store = NULL;
    static float data[1 << 16];
    char *text = km_new(100001, 1);
    memset(text, 'x', 100000);
    KM_TRY(km_store_create(&store, path));
    km_status status = km_store_add(store, "/x", KM_F32, 1, (uint64_t[]){1 << 16});
    if (status == KM_OK) {
        status = km_store_set_text(store, "long", text);
    }
    free(text);
    if (status == KM_OK) {
        status = km_store_layout(store);
    }
    if (status == KM_OK) {
        status = km_store_write(store, km_store_find(store, "/x"), 0, 1 << 16, data);
    }
    if (status != KM_OK) {
        km_store_abandon(store);
        return status;
    }
    return km_store_commit(store);
}

static void full_disks_leave_the_old_file(void **state) {
    (void)state;
    struct rlimit old, limit;
    write_small("a.h5", 6);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    const rlim_t sizes[] = {0, 1000, 4096, 5000, 50000, 110000, 200000, 360000};
    for (size_t i = 0; i < KM_COUNT(sizes); i++) {
        limit = (struct rlimit){sizes[i], old.rlim_max};
        setrlimit(RLIMIT_FSIZE, &limit);
        km_status status = write_large("a.h5");
        setrlimit(RLIMIT_FSIZE, &old);
        refused(status, "File too large");
        assert_false(km_file_exists("a.h5.tmp"));
        assert_true(small_value("a.h5") == 6);
    }
    ok(write_large("b.h5")); /* an ordinary file can be written afterwards */
    ok(km_store_verify("b.h5"));
}

/* A disk of its own, which only this process sees; false where the system allows none. */
static bool mount_small_disk(const char *path, const char *size) {
    bool apart = unshare(CLONE_NEWNS) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0;
    return apart && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 && mkdir(path, 0700) == 0 &&
           mount("none", path, "tmpfs", 0, size) == 0;
}

/* With `room` bytes left on the disk. */
static bool fails_for_space(size_t room) {
    char zeros[4096] = {0};
    int fd = open("disk/filler", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    off_t size = 0;
    while (write(fd, zeros, sizeof zeros) == (ssize_t)sizeof zeros) {
        size += (off_t)sizeof zeros;
    }
    bool set = ftruncate(fd, size - (off_t)room) == 0;
    close(fd);
    km_status status = write_large("disk/a.h5");
    if (set && status == KM_FAILED && km_message_kind() == KM_ERROR_NO_SPACE) {
        return true;
    }
    fprintf(stderr, "room %zu: status %d, kind %d: %s\n", room, (int)status, (int)km_message_kind(), km_message());
    return false;
}

/* Whoever finds that there is no room, HDF5 with its directory or kmask with an array, says so in the same way. */
static int fill_disks(void) {
    enum { SKIPPED = 77 };
    if (!mount_small_disk("disk", "size=1m")) {
        return SKIPPED;
    }
    bool good = true;
    for (size_t room = 0; room <= 128 << 10; room += 8 << 10) {
        good = fails_for_space(room) && good;
    }
    return good ? 0 : 1;
}

static void full_disks_are_a_kind_of_error(void **state) {
    (void)state;
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        _exit(fill_disks());
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    (void)rmdir("disk");
    if (WEXITSTATUS(status) == 77) {
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- Damage is a sentence ---- */

static void files_cut_at_any_length_are_refused(void **state) {
    (void)state;
    size_t size = 0;
    km_store *store = NULL;
    write_small("a.h5", 7);
    char *bytes = slurp("a.h5", &size);
    spill("cut.h5", bytes, size);
    ok(km_store_verify("cut.h5"));
    for (size_t length = size; length-- > 0;) {
        assert_int_equal(truncate("cut.h5", (off_t)length), 0);
        refused(km_store_open(&store, "cut.h5"), length == 0  ? "an empty file"
                                                 : length < 8 ? "not a kmask file"
                                                              : "cut short");
        assert_null(store);
    }
    char *wanted = km_format("cut short: %zu of %zu bytes", size - 1, size);
    spill("cut.h5", bytes, size - 1);
    refused(km_store_verify("cut.h5"), wanted);
    free(wanted);
    bytes = km_grow(bytes, size + 1, 1);
    bytes[size] = 0;
    spill("cut.h5", bytes, size + 1);
    refused(km_store_open(&store, "cut.h5"), "1 bytes follow");
    free(bytes);
}

static void any_flipped_byte_is_refused(void **state) {
    (void)state;
    size_t size = 0;
    km_store *store = NULL;
    write_small("a.h5", 8);
    char *bytes = slurp("a.h5", &size);
    int fd = open("a.h5", O_WRONLY);
    for (size_t i = 0; i < size; i++) {
        const char flipped = (char)(bytes[i] ^ (1 << i % 8));
        assert_int_equal(pwrite(fd, &flipped, 1, (off_t)i), 1);
        refused(km_store_open(&store, "a.h5"), i < 8 ? "not a kmask file" : "do not match their checksum");
        assert_null(store);
        assert_int_equal(pwrite(fd, bytes + i, 1, (off_t)i), 1);
    }
    close(fd);
    free(bytes);
    assert_true(small_value("a.h5") == 8);
}

static void foreign_files_are_named(void **state) {
    (void)state;
    size_t size = 0;
    km_store *store = NULL;
    refused(km_store_open(&store, "absent.h5"), "cannot open: No such file");
    refused(km_store_open(&store, "/"), "found a folder");
    refused(km_store_open(&store, "/dev/null"), "found a device");
    spill("cut.h5", "", 0);
    refused(km_store_open(&store, "cut.h5"), "an empty file");
    spill("cut.h5", "Call me Ishmael.\n", 17);
    refused(km_store_open(&store, "cut.h5"), "not a kmask file");
    write_small("a.h5", 9);
    char *bytes = slurp("a.h5", &size);
    spill("plain.h5", bytes + BLOCK, size - BLOCK); /* without its user block, the file is a plain HDF5 file */
    refused(km_store_open(&store, "plain.h5"), "an HDF5 file, but not kmask's");
    memset(bytes, 0, BLOCK);
    spill("cut.h5", bytes, size);
    refused(km_store_open(&store, "cut.h5"), "an unfinished file");
    free(bytes);
}

/* A file that is touched reads as before; one that somebody writes to or cuts while it is open is named. */
static void writes_by_others_are_noticed(void **state) {
    (void)state;
    km_store *store = NULL;
    float value = 0;
    const struct timespec past[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    write_small("a.h5", 5);
    ok(km_store_open(&store, "a.h5"));
    const km_array *array = km_store_find(store, "/model/a.bias");
    assert_int_equal(utimensat(AT_FDCWD, "a.h5", past, 0), 0);
    ok(km_store_read(store, array, 0, 1, &value));
    assert_true(value == 5);
    write_small("b.h5", 6); /* another file that takes the name leaves the open one as it is */
    assert_int_equal(rename("b.h5", "a.h5"), 0);
    ok(km_store_read(store, array, 0, 1, &value));
    assert_true(value == 5);
    km_store_close(store);

    ok(km_store_open(&store, "a.h5"));
    array = km_store_find(store, "/model/a.bias");
    int fd = open("a.h5", O_WRONLY | O_CLOEXEC);
    value = 7;
    ok(km_pwrite_all(fd, &value, sizeof value, array->offset, "a.h5"));
    refused(km_store_read(store, array, 3, 1, &value), "a.h5: another program has written to it");
    refused(km_store_read(store, array, 3, 1, &value), "a.h5: another program has written to it");
    assert_int_equal(ftruncate(fd, 5000), 0);
    refused(km_store_read(store, array, 3, 1, &value), "a.h5: another program has written to it");
    close(fd);
    km_store_close(store);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_by_others_are_noticed),
        cmocka_unit_test(all_types_come_back),
        cmocka_unit_test(parts_are_read_and_written),
        cmocka_unit_test(many_arrays_are_found),
        cmocka_unit_test(same_content_gives_same_bytes),
        cmocka_unit_test(bad_names_and_shapes_are_refused),
        cmocka_unit_test(abandoned_files_vanish),
        cmocka_unit_test(leftovers_are_replaced),
        cmocka_unit_test(readers_keep_the_old_file),
        cmocka_unit_test(folders_that_go_away_are_errors),
        cmocka_unit_test(full_disks_leave_the_old_file),
        cmocka_unit_test(full_disks_are_a_kind_of_error),
        cmocka_unit_test(files_cut_at_any_length_are_refused),
        cmocka_unit_test(any_flipped_byte_is_refused),
        cmocka_unit_test(foreign_files_are_named),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
