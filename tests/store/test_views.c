/* Both views of a file: kmask's own reader finds the arrays and attributes that libhdf5 finds, at the same places, in files of every
 * shape and of every version; and what libhdf5 would follow somewhere else (soft and external links, arrays in other files, filters,
 * compact arrays, arrays that share bytes, circles of groups) is refused in a sentence. */
#include "store_private.h"

#include <fcntl.h>
#include <hdf5.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/kmask-views-XXXXXX";

static int enter_folder(void **state) {
    (void)state;
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    return mkdtemp(folder) == NULL || chdir(folder) != 0;
}

static int leave_folder(void **state) {
    (void)state;
    unlink("f.h5");
    unlink("f.h5.tmp");
    unlink("other.h5");
    unlink("pipe");
    return chdir("/") != 0 || rmdir(folder) != 0;
}

static void ok(km_status status) {
    if (status != KM_OK) {
        fail_msg("%s", km_message());
    }
}

/* ---- What libhdf5 finds ---- */

typedef struct seen {
    const km_store *store;
    int arrays, attributes;
} seen;

static herr_t see_link(hid_t root, const char *name, const H5L_info_t *info, void *payload) {
    seen *s = payload;
    assert_int_equal(info->type, H5L_TYPE_HARD);
    hid_t id = H5Oopen(root, name, H5P_DEFAULT);
    assert_true(id >= 0);
    if (H5Iget_type(id) == H5I_DATASET) {
        char *path = km_format("/%s", name);
        const km_array *array = km_store_find(s->store, path);
        hid_t type = H5Dget_type(id), space = H5Dget_space(id);
        hsize_t dims[H5S_MAX_RANK] = {0};
        if (array == NULL) {
            fail_msg("%s is not found", path);
        }
        assert_int_equal(H5Sget_simple_extent_ndims(space), array->rank);
        H5Sget_simple_extent_dims(space, dims, NULL);
        for (int i = 0; i < array->rank; i++) {
            assert_int_equal(dims[i], array->dims[i]);
        }
        assert_int_equal(H5Tget_size(type), km_dtype_size(array->type));
        assert_int_equal(H5Tget_class(type) == H5T_FLOAT, array->type == KM_F32 || array->type == KM_F64);
        assert_int_equal(array->count > 0 ? H5Dget_offset(id) : 0, array->offset);
        H5Sclose(space);
        H5Tclose(type);
        free(path);
        s->arrays++;
    }
    H5Oclose(id);
    return 0;
}

static herr_t see_attribute(hid_t root, const char *name, const H5A_info_t *info, void *payload) {
    (void)info;
    seen *s = payload;
    hid_t id = H5Aopen(root, name, H5P_DEFAULT), type = H5Aget_type(id);
    int64_t number = 0, found = 1;
    if (H5Tget_class(type) == H5T_STRING) {
        char *text = NULL;
        assert_true(H5Aread(id, type, &text) >= 0);
        assert_string_equal(km_store_text(s->store, name), text != NULL ? text : "");
        H5free_memory(text);
    } else {
        assert_true(H5Aread(id, H5T_NATIVE_INT64, &number) >= 0);
        assert_true(km_store_number(s->store, name, &found));
        assert_int_equal(found, number);
    }
    H5Tclose(type);
    H5Aclose(id);
    s->attributes++;
    return 0;
}

static void compare_views(const char *path) {
    km_store *store = NULL;
    ok(km_store_open(&store, path));
    seen s = {.store = store};
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    assert_true(file >= 0);
    assert_true(H5Lvisit(file, H5_INDEX_NAME, H5_ITER_INC, see_link, &s) >= 0);
    assert_true(H5Aiterate2(file, H5_INDEX_NAME, H5_ITER_INC, NULL, see_attribute, &s) >= 0);
    H5Fclose(file);
    assert_int_equal(s.arrays, km_store_arrays(store));
    assert_int_equal(s.attributes, store->attribute_count);
    km_store_close(store);
}

static void golden_files_look_the_same(void **state) {
    (void)state;
    compare_views(GOLDEN_FILES "/version1/corpus.h5");
    compare_views(GOLDEN_FILES "/version1/checkpoint.h5");
    compare_views(GOLDEN_FILES "/version2.h5");
}

/* All types and ranks, empty arrays, many attributes (so that headers continue elsewhere), and texts of many lengths. */
static void shapes_and_attributes_look_the_same(void **state) {
    (void)state;
    km_store *store = NULL;
    char *text = km_new(300001, 1);
    memset(text, 'x', 300000);
    ok(km_store_create(&store, "f.h5"));
    for (km_dtype type = KM_F32; type <= KM_F64; type++) {
        for (int rank = 0; rank <= 4; rank++) {
            char *name = km_format("/types/%s/%d", km_dtype_name(type), rank);
            ok(km_store_add(store, name, type, rank, (uint64_t[]){3, rank == 3 ? 0 : 2, 1, 5}));
            free(name);
        }
    }
    for (int i = 0; i < 40; i++) {
        char *name = km_format("attribute %d", i);
        text[i * 100] = '\0';
        ok(i % 3 == 0 ? km_store_set_number(store, name, i - 20) : km_store_set_text(store, name, text));
        text[i * 100] = 'x';
        free(name);
    }
    ok(km_store_set_text(store, "long", text));
    ok(km_store_layout(store));
    ok(km_store_commit(store));
    compare_views("f.h5");
    free(text);
}

/* Groups with so many arrays that their B-trees have levels. */
static void large_groups_look_the_same(void **state) {
    (void)state;
    km_store *store = NULL;
    ok(km_store_create(&store, "f.h5"));
    for (int i = 0; i < 3000; i++) {
        char *name = km_format("/model/%s.%d", i % 2 ? "bert.encoder.layer.attention.output.dense.weight" : "b", i);
        ok(km_store_add(store, name, KM_F32, 1, (uint64_t[]){(uint64_t)i % 7}));
        free(name);
    }
    ok(km_store_layout(store));
    ok(km_store_commit(store));
    compare_views("f.h5");
}

/* ---- What is refused ---- */

typedef void change(hid_t file);

static void array_of(hid_t file, const char *name, hid_t creation) {
    hsize_t dims[1] = {64};
    hid_t space = H5Screate_simple(1, dims, NULL);
    hid_t id = H5Dcreate2(file, name, H5T_IEEE_F32LE, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    assert_true(id >= 0);
    H5Dclose(id);
    H5Sclose(space);
    H5Pclose(creation);
}
static void add_soft_link(hid_t file) {
    H5Lcreate_soft("/a", file, "soft", H5P_DEFAULT, H5P_DEFAULT);
}
static void add_external_link(hid_t file) {
    H5Lcreate_external("other.h5", "/a", file, "external", H5P_DEFAULT, H5P_DEFAULT);
}
static void add_link_to_pipe(hid_t file) {
    H5Lcreate_external("pipe", "/a", file, "external", H5P_DEFAULT, H5P_DEFAULT);
}
static void add_array_elsewhere(hid_t file) {
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_external(creation, "pipe", 0, 256);
    array_of(file, "outside", creation);
}
static void add_chunks(hid_t file) {
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    hsize_t chunk[1] = {16};
    H5Pset_chunk(creation, 1, chunk);
    H5Pset_deflate(creation, 1);
    array_of(file, "chunks", creation);
}
static void add_compact(hid_t file) {
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_layout(creation, H5D_COMPACT);
    array_of(file, "compact", creation);
}
static void add_second_name(hid_t file) {
    H5Lcreate_hard(file, "/a", file, "again", H5P_DEFAULT, H5P_DEFAULT);
}
static void add_circle(hid_t file) {
    H5Lcreate_hard(file, "/", file, "circle", H5P_DEFAULT, H5P_DEFAULT);
}
static void add_depth(hid_t file) {
    hid_t links = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_create_intermediate_group(links, 1);
    H5Gclose(
        H5Gcreate2(file, "1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18/19/20", links, H5P_DEFAULT, H5P_DEFAULT));
    H5Pclose(links);
}
static void add_type(hid_t file) {
    H5Tcommit2(file, "type", H5Tcopy(H5T_IEEE_F32LE), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
}

/* A file whose user block is right, and which somebody has changed with libhdf5. */
static void write_changed(const char *path, change *by) {
    hid_t creation = H5Pcreate(H5P_FILE_CREATE), list = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_userblock(creation, KM_USER_BLOCK);
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, creation, H5P_DEFAULT);
    H5Pset_alloc_time(list, H5D_ALLOC_TIME_EARLY);
    array_of(file, "a", list);
    if (by != NULL) {
        by(file);
    }
    H5Fclose(file);
    H5Pclose(creation);
    km_store sealed = {.temporary = (char *)(uintptr_t)path, .format = 1, .fd = open(path, O_RDWR | O_CLOEXEC)};
    sealed.size = (uint64_t)lseek(sealed.fd, 0, SEEK_END);
    ok(km_user_block_hash(&sealed.hash, sealed.fd, sealed.size, path));
    ok(km_user_block_write(&sealed));
    close(sealed.fd);
}

static void detours_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *what;
        change *by;
    } cases[] = {{"a soft link", add_soft_link},
                 {"an external link", add_external_link},
                 {"a link to a pipe", add_link_to_pipe},
                 {"an array elsewhere", add_array_elsewhere},
                 {"chunks and a filter", add_chunks},
                 {"a compact array", add_compact},
                 {"two names of an array", add_second_name},
                 {"a circle", add_circle},
                 {"groups in groups", add_depth},
                 {"a named type", add_type}};
    write_changed("other.h5", NULL);
    assert_int_equal(mkfifo("pipe", 0666), 0);
    compare_views("other.h5"); /* otherwise the refusals below would prove nothing */
    for (size_t i = 0; i < KM_COUNT(cases); i++) {
        km_store *store = NULL;
        write_changed("f.h5", cases[i].by);
        if (km_store_open(&store, "f.h5") == KM_OK) {
            fail_msg("%s: opened", cases[i].what);
        }
        assert_int_equal(km_message_kind(), KM_ERROR_DAMAGED);
        assert_memory_equal(km_message(), "f.h5: ", 6);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_files_look_the_same),
        cmocka_unit_test(shapes_and_attributes_look_the_same),
        cmocka_unit_test(large_groups_look_the_same),
        cmocka_unit_test(detours_are_refused),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
