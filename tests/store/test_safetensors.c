/* safetensors: what is written can be read back; every kind of wrong header gives its own error message; unpacking of
 * half-precision numbers is exact, and packing rounds to nearest. */
#include "kmask/store.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/kmask-safetensors-XXXXXX";
static const char FILE_NAME[] = "x.safetensors";

static int enter_folder(void **state) {
    (void)state;
    return mkdtemp(folder) == NULL || chdir(folder) != 0;
}

static int leave_folder(void **state) {
    (void)state;
    static const char *const left[] = {"x.safetensors",       "y.safetensors",
                                       "m/a.safetensors",     "m/b.safetensors",
                                       "m/pytorch_model.bin", "m/model.safetensors.index.json",
                                       "m/model.safetensors"};
    for (size_t i = 0; i < KM_COUNT(left); i++) {
        unlink(left[i]);
    }
    rmdir("m");
    return chdir("/") != 0 || rmdir(folder) != 0;
}

static void ok(km_status status) {
    if (status != KM_OK) {
        fail_msg("%s", km_message());
    }
}

static void spill(const char *path, const void *bytes, size_t size) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* Writes a file with the length of this header, the header itself, and `data` bytes 0, 1, 2, ... */
static void spill_header(const char *path, const char *header, size_t data) {
    uint64_t length = strlen(header);
    size_t size = sizeof length + length + data;
    unsigned char *file = km_new(size, 1);
    memcpy(file, &length, sizeof length);
    memcpy(file + sizeof length, header, length);
    for (size_t i = 0; i < data; i++) {
        file[sizeof length + length + i] = (unsigned char)i;
    }
    spill(path, file, size);
    free(file);
}

static void refused(const char *path, const char *words) {
    km_store *store = NULL;
    assert_int_equal(km_store_open(&store, path), KM_FAILED);
    assert_null(store);
    if (strstr(km_message(), words) == NULL || strchr(km_message(), '\n') != NULL) {
        fail_msg("no '%s' in: %s", words, km_message());
    }
}

static void header_refused(const char *header, size_t data, const char *words) {
    spill_header(FILE_NAME, header, data);
    refused(FILE_NAME, words);
}

/* ---- There and back ---- */

static void write_two(void) {
    const uint64_t matrix[] = {2, 3}, none[] = {0, 5};
    const float values[] = {1, -2, 3.5f, 0.25f, 1e-30f, 7};
    const uint16_t halves[] = {0x3c00, 0xc000, 0x0001};
    const uint64_t three[] = {3};
    km_store *store = NULL;
    ok(km_store_create_safetensors(&store, FILE_NAME));
    ok(km_store_add(store, "half", KM_F16, 1, three));
    ok(km_store_add(store, "a.weight", KM_F32, 2, matrix));
    ok(km_store_add(store, "none", KM_I64, 2, none));
    ok(km_store_add(store, "scalar", KM_BOOL, 0, NULL));
    assert_int_equal(km_store_add(store, "quote\"", KM_F32, 1, three), KM_FAILED);
    assert_int_equal(km_store_add(store, "half", KM_F32, 1, three), KM_FAILED);
    ok(km_store_set_text(store, "who", "said \"this\""));
    ok(km_store_layout(store));
    ok(km_store_write(store, km_store_find(store, "a.weight"), 0, 6, values));
    ok(km_store_write(store, km_store_find(store, "half"), 0, 3, halves));
    ok(km_store_write(store, km_store_find(store, "scalar"), 0, 1, "\1"));
    ok(km_store_commit(store));
    assert_false(km_file_exists("x.safetensors.tmp"));
}

static void test_there_and_back(void **state) {
    (void)state;
    write_two();
    km_store *store = NULL;
    float out[6];
    ok(km_store_open(&store, FILE_NAME));
    assert_int_equal(km_store_arrays(store), 4);
    const km_array *matrix = km_store_find(store, "a.weight"), *half = km_store_find(store, "half");
    assert_int_equal(matrix->rank, 2);
    assert_int_equal(matrix->dims[1], 3);
    assert_int_equal(half->type, KM_F16);
    assert_int_equal(km_store_find(store, "scalar")->rank, 0);
    assert_int_equal(km_store_find(store, "scalar")->count, 1);
    assert_int_equal(km_store_find(store, "none")->count, 0);
    ok(km_store_read_floats(store, matrix, 2, 4, out));
    assert_float_equal(out[0], 3.5f, 0);
    assert_float_equal(out[3], 7, 0);
    ok(km_store_read_floats(store, half, 0, 3, out));
    assert_float_equal(out[0], 1, 0);
    assert_float_equal(out[1], -2, 0);
    assert_float_equal(out[2], 0x1p-24f, 0);
    assert_int_equal(km_store_read_floats(store, km_store_find(store, "scalar"), 0, 1, out), KM_FAILED);
    assert_int_equal(km_store_read(store, matrix, 5, 2, out), KM_FAILED);
    km_store_close(store);
}

/* The layout that the format demands: a header padded with spaces to a multiple of 8 bytes, and nothing behind the last
 * tensor. */
static void test_layout(void **state) {
    (void)state;
    write_two();
    char *bytes = NULL;
    size_t size = 0;
    uint64_t length = 0;
    ok(km_file_read(&bytes, &size, FILE_NAME, 1 << 20));
    memcpy(&length, bytes, sizeof length);
    assert_int_equal(length % 8, 0);
    assert_int_equal(size, 8 + length + 6 * 4 + 3 * 2 + 1);
    static const char start[] = "{\"__metadata__\":{\"format\":\"pt\",\"who\":\"said \\\"this\\\"\"},";
    assert_memory_equal(bytes + 8, start, sizeof start - 1);
    free(bytes);
}

static void test_given_up(void **state) {
    (void)state;
    write_two();
    km_store *store = NULL;
    ok(km_store_create_safetensors(&store, FILE_NAME));
    ok(km_store_layout(store));
    km_store_abandon(store);
    assert_false(km_file_exists("x.safetensors.tmp"));
    ok(km_store_open(&store, FILE_NAME));
    assert_int_equal(km_store_arrays(store), 4);
    km_store_close(store);
}

/* ---- Lies ---- */

#define F32(shape, places) "{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" places "}"

static void test_headers(void **state) {
    (void)state;
    static const struct {
        const char *header;
        size_t data;
        const char *words;
    } lies[] = {
        {"{\"a\":" F32("[2]", "[0,8]") "}", 7, "The file is cut short"},
        {"{\"a\":" F32("[2]", "[0,8]") "}", 9, "9 bytes after the header, but its tensors take 8"},
        {"{}", 1, "1 bytes after the header"},
        {"{\"a\":" F32("[2]", "[0,4]") "}", 8, "has 4 bytes, expected 8"},
        {"{\"a\":" F32("[2]", "[8,0]") "}", 8, "bytes 8 to 0"},
        {"{\"a\":" F32("[2]", "[0,8]") ",\"b\":" F32("[1]", "[4,8]") "}", 8,
         "tensor b: begins at byte 4, expected 8: it overlaps"},
        {"{\"a\":" F32("[1]", "[0,4]") ",\"b\":" F32("[1]", "[8,12]") "}", 12, "there is a hole before it"},
        {"{\"b\":" F32("[1]", "[4,8]") "}", 8, "there is a hole before it"},
        {"{\"a\":" F32("[1]", "[0,4]") ",\"a\":" F32("[1]", "[4,8]") "}", 8, "two tensors are named a"},
        {"{\"a\":" F32("[1]", "[0,4]") ",\"b\":" F32("[1]", "[0,4]") "}", 4, "overlaps"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "found 4 keys"},
        {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "expected dtype, shape and"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "found 2 keys"},
        {"{\"a\":[1,2,3]}", 0, "found 3 keys"},
        {"{\"a\":null}", 0, "found 0 keys"},
        {"{\"a\":{\"dtype\":\"F31\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype is F31"},
        {"{\"a\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype is not a text"},
        {"{\"a\":" F32("7", "[0,28]") "}", 28, "shape is no list"},
        {"{\"a\":" F32("[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, "a longer list"},
        {"{\"a\":" F32("[-1]", "[0,4]") "}", 4, "whole numbers from 0"},
        {"{\"a\":" F32("[1.5]", "[0,6]") "}", 6, "whole numbers from 0"},
        {"{\"a\":" F32("[\"1\"]", "[0,4]") "}", 4, "whole numbers from 0"},
        {"{\"a\":" F32("[1e400]", "[0,4]") "}", 4, "whole numbers from 0"},
        {"{\"a\":" F32("[4294967296,4294967296]", "[0,0]") "}", 0, "larger than a file can be"},
        {"{\"a\":" F32("[4611686018427387904]", "[0,0]") "}", 0, "whole numbers from 0"},
        {"{\"a\":" F32("[2305843009213693952,8]", "[0,0]") "}", 0, "whole numbers from 0"},
        {"{\"a\":" F32("[9007199254740992,512]", "[0,0]") "}", 0, "larger than a file can be"},
        {"{\"a\":" F32("[1]", "[0,18446744073709551615]") "}", 4, "two whole numbers"},
        {"{\"a\":" F32("[1]", "[0,9007199254740992]") "}", 4, "cut short"},
        {"{\"a\":" F32("[1]", "[0,4,8]") "}", 4, "two whole numbers"},
        {"{\"a\":" F32("[1]", "4") "}", 4, "two whole numbers"},
        {"{\"a\\u0000b\":" F32("[1]", "[0,4]") "}", 4, "\\u0000"},
        {"{\"\":" F32("[1]", "[0,4]") "}", 4, "name is empty"},
        {"{\"a\\u001b[31m\":" F32("[1]", "[0,4]") "}", 4, "printable ASCII"},
        {"{\"\\u00e4\":" F32("[1]", "[0,4]") "}", 4, "printable ASCII"},
        {"{\"__metadata__\":[1]}", 0, "__metadata__ is not an object of texts"},
        {"{\"__metadata__\":{\"a\":1}}", 0, "__metadata__ is not an object of texts"},
        {"[]", 0, "not an object"},
        {"{\"a\":", 0, "not valid JSON"},
        {"{} x", 0, "not valid JSON"},
    };
    for (size_t i = 0; i < KM_COUNT(lies); i++) {
        header_refused(lies[i].header, lies[i].data, lies[i].words);
    }
}

static char *repeated(const char *before, const char *what, size_t times, const char *after) {
    km_buffer out = {0};
    km_buffer_print(&out, "%s", before);
    for (size_t i = 0; i < times; i++) {
        km_buffer_add(&out, what, strlen(what));
    }
    km_buffer_print(&out, "%s", after);
    return out.data;
}

static void test_bombs(void **state) {
    (void)state;
    char *deep = repeated("{\"a\":", "[", 200000, ""), *wide = repeated("{\"a\":[1", ",1", 2000000, "]}");
    char *name = repeated("{\"", "n", 600, "\":" F32("[1]", "[0,4]") "}");
    header_refused(deep, 0, "nested deeper");
    header_refused(wide, 0, "values, expected at most");
    header_refused(name, 4, "longer than 512");
    free(deep);
    free(wide);
    free(name);
}

static void test_lengths(void **state) {
    (void)state;
    static const uint64_t lengths[] = {0, 3, 100000001, (uint64_t)1 << 63, UINT64_MAX, UINT64_MAX - 7};
    for (size_t i = 0; i < KM_COUNT(lengths); i++) {
        char file[8 + 2] = {0};
        memcpy(file, &lengths[i], 8);
        memcpy(file + 8, "{}", 2);
        spill(FILE_NAME, file, sizeof file);
        refused(FILE_NAME, "a header of");
    }
    spill(FILE_NAME, "abc", 3);
    refused(FILE_NAME, "not even the 8");
    spill(FILE_NAME, "", 0);
    refused(FILE_NAME, "not even the 8");
    refused("no.safetensors", "cannot open");
}

/* A file that is cut short anywhere is refused. A file with a flipped bit in its header is refused or read without harm. */
static void test_damage(void **state) {
    (void)state;
    write_two();
    char *bytes = NULL;
    size_t size = 0;
    ok(km_file_read(&bytes, &size, FILE_NAME, 1 << 20));
    for (size_t cut = 0; cut < size; cut++) {
        spill("y.safetensors", bytes, cut);
        refused("y.safetensors", "y.safetensors: ");
    }
    int sound = 0;
    for (size_t at = 0; at < size; at++) {
        for (int bit = 0; bit < 8; bit += 3) {
            bytes[at] = (char)(bytes[at] ^ 1 << bit);
            spill("y.safetensors", bytes, size);
            bytes[at] = (char)(bytes[at] ^ 1 << bit);
            km_store *store = NULL;
            float out[6];
            if (km_store_open(&store, "y.safetensors") != KM_OK) {
                assert_non_null(strstr(km_message(), "y.safetensors: "));
                continue;
            }
            sound++;
            const km_array *matrix = km_store_find(store, "a.weight");
            if (matrix != NULL && matrix->type == KM_F32) {
                ok(km_store_read_floats(store, matrix, 0, matrix->count, out));
            }
            km_store_close(store);
        }
    }
    assert_true(sound > 31 * 3 - 1); /* these are tensors' bytes, which have no checksum */
    free(bytes);
}

/* ---- Shards ---- */

static void index_refused(const char *index, const char *words) {
    spill("m/model.safetensors.index.json", index, strlen(index));
    refused("m", words);
}

static void test_shards(void **state) {
    (void)state;
    ok(km_make_folder("m"));
    refused("m", "found a folder without model.safetensors");
    spill("m/pytorch_model.bin", "", 0);
    refused("m", "tools/convert_pytorch_bin.py");
    spill_header("m/a.safetensors", "{\"x\":" F32("[1]", "[0,4]") "}", 4);
    spill_header("m/b.safetensors", "{\"y\":" F32("[2]", "[0,8]") ",\"z\":" F32("[0]", "[8,8]") "}", 8);
    index_refused("{\"weight_map\":{\"x\":\"../x.safetensors\"}}", "\"../x.safetensors\", expected the name");
    index_refused("{\"weight_map\":{\"x\":\"/tmp/x.safetensors\"}}", "expected the name");
    index_refused("{\"weight_map\":{\"x\":\"..safetensors\"}}", "expected the name");
    index_refused("{\"weight_map\":{\"x\":\"a.bin\"}}", "expected the name");
    index_refused("{\"weight_map\":{\"x\":1}}", "expected the name");
    index_refused("{\"weight_map\":{\"x\":\"c.safetensors\"}}", "c.safetensors: cannot open");
    index_refused("{\"weight_map\":{\"x\":\"b.safetensors\",\"y\":\"b.safetensors\"}}",
                  "x is said to be in b.safetensors, but is in no file");
    index_refused("{\"weight_map\":{\"x\":\"a.safetensors\",\"y\":\"a.safetensors\",\"z\":\"b.safetensors\"}}",
                  "y is said to be in a.safetensors, but is in b.safetensors");
    index_refused("{\"weight_map\":{}}", "weight_map is not");
    index_refused("{\"weight_map\":[]}", "weight_map is not");
    index_refused("{}", "weight_map is not");
    index_refused("[", "not valid JSON");
    index_refused("", "empty, expected JSON");
    static const char good[] = "{\"metadata\":{},\"weight_map\":{\"x\":\"a.safetensors\",\"y\":\"b.safetensors\"}}";
    spill("m/model.safetensors.index.json", good, sizeof good - 1);
    km_store *store = NULL;
    unsigned char bytes[8];
    ok(km_store_open(&store, "m"));
    assert_int_equal(km_store_arrays(store), 3);
    ok(km_store_read(store, km_store_find(store, "y"), 0, 2, bytes));
    assert_int_equal(bytes[7], 7);
    km_store_close(store);
    spill_header("m/b.safetensors", "{\"y\":" F32("[1]", "[0,4]") ",\"x\":" F32("[1]", "[4,8]") "}", 8);
    refused("m", "two tensors are named x");
}

/* ---- Half precision ---- */

static float from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Each of the 65,536 numbers survives unpacking and packing; finite ones are compared with the formula. */
static void test_all_halves(void **state) {
    (void)state;
    for (uint32_t i = 0; i < 65536; i++) {
        const uint16_t half = (uint16_t)i;
        for (int brain = 0; brain < 2; brain++) {
            km_dtype type = brain ? KM_BF16 : KM_F16;
            float value = 0;
            uint16_t back = 0;
            km_floats_unpack(&value, type, &half, 1);
            km_floats_pack(&back, type, &value, 1);
            assert_int_equal(back, half);
            int exponent = brain ? half >> 7 & 255 : half >> 10 & 31, fraction = half & (brain ? 127 : 1023);
            if (exponent == (brain ? 255 : 31)) {
                assert_int_equal(isnan(value) != 0, fraction != 0);
                continue;
            }
            int unit = brain ? -133 : -24;
            double twin =
                exponent == 0 ? ldexp(fraction, unit) : ldexp(fraction + (brain ? 128 : 1024), exponent - 1 + unit);
            assert_true((double)value == ((half & 0x8000) != 0 ? -twin : twin));
        }
    }
}

/* Packing rounds to nearest, ties to even: the result is compared with its two neighbours in double. */
static void test_rounding(void **state) {
    (void)state;
    km_rng rng = km_rng_make(3, KM_RNG_TEST, 0, 0);
    for (int i = 0; i < 200000; i++) {
        bool brain = i % 2 == 0;
        km_dtype type = brain ? KM_BF16 : KM_F16;
        uint32_t bits = km_rng_u32(&rng);
        if (!brain && i % 3 != 0) { /* within the range of float16, and exactly between two of its numbers */
            bits = (bits & 0x80ffffff) | (100 + km_rng_below(&rng, 45)) << 23;
            bits = i % 5 == 0 ? bits & ~(uint32_t)0xfff : bits;
        }
        float value = from_bits(bits), below = 0, above = 0, packed = 0;
        if (!isfinite(value)) {
            continue;
        }
        uint16_t got = 0;
        km_floats_pack(&got, type, &value, 1);
        km_floats_unpack(&packed, type, &got, 1);
        if (isinf(packed)) { /* above the largest number by half a unit or more */
            assert_true(fabs((double)value) >= (brain ? 0x1.ffp127 : 65520.0));
            continue;
        }
        uint16_t down = (got & 0x7fff) == 0 ? (uint16_t)(got ^ 0x8001) : (uint16_t)(got - 1),
                 up = (uint16_t)(got + 1);
        km_floats_unpack(&below, type, &down, 1);
        km_floats_unpack(&above, type, &up, 1);
        double error = fabs((double)packed - (double)value);
        double other = fmin(fabs((double)below - (double)value), fabs((double)above - (double)value));
        assert_true(error < other || (error <= other && (got & 1) == 0));
        assert_int_equal(signbit(packed) != 0, signbit(value) != 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back), cmocka_unit_test(test_layout), cmocka_unit_test(test_given_up),
        cmocka_unit_test(test_headers),        cmocka_unit_test(test_bombs),  cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_damage),         cmocka_unit_test(test_shards), cmocka_unit_test(test_all_halves),
        cmocka_unit_test(test_rounding),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
