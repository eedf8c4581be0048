/* Damage: a checkpoint in which one of the first 4,096 bytes or bytes anywhere else are changed, or which is cut short
 * anywhere, is refused before HDF5 opens it, with a message that names the file. */
#include "kmask/store.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { BLOCK = 4096, STRIDE = 997 };

static char folder[] = "/tmp/kmask-damage-XXXXXX";
static unsigned char *bytes; /* of the file as it was written */
static size_t size;

static void ok(km_status status) {
    if (status != KM_OK) {
        fail_msg("%s", km_message());
    }
}

/* A small checkpoint: some tensors and moments, and short and long attributes. */
static void write_checkpoint(const char *path) {
    km_store *store = NULL;
    static float values[20000];
    for (size_t i = 0; i < KM_COUNT(values); i++) {
        values[i] = (float)i;
    }
    char *text = km_new(30000, 1);
    memset(text, 'x', 29999);
    ok(km_store_create(&store, path));
    ok(km_store_add(store, "/model/a.weight", KM_F32, 2, (uint64_t[]){100, 200}));
    ok(km_store_add(store, "/optimizer/m/a.weight", KM_F32, 2, (uint64_t[]){100, 200}));
    ok(km_store_add(store, "/model/b", KM_F32, 1, (uint64_t[]){3}));
    ok(km_store_set_text(store, "kind", "checkpoint"));
    ok(km_store_set_text(store, "tokenizer", text));
    ok(km_store_set_number(store, "step", 12));
    ok(km_store_layout(store));
    ok(km_store_write(store, km_store_find(store, "/model/a.weight"), 0, 20000, values));
    ok(km_store_write(store, km_store_find(store, "/optimizer/m/a.weight"), 0, 20000, values));
    ok(km_store_commit(store));
    free(text);
}

static int enter_folder(void **state) {
    (void)state;
    if (mkdtemp(folder) == NULL || chdir(folder) != 0) {
        return 1;
    }
    write_checkpoint("whole.h5");
    char *read = NULL;
    ok(km_file_read(&read, &size, "whole.h5", 1 << 26));
    bytes = (unsigned char *)read;
    return 0;
}

static int leave_folder(void **state) {
    (void)state;
    free(bytes);
    unlink("whole.h5");
    unlink("d.h5");
    return chdir("/") != 0 || rmdir(folder) != 0;
}

static void spill(size_t count) {
    int fd = open("d.h5", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    assert_true(fd >= 0);
    ok(km_pwrite_all(fd, bytes, count, 0, "d.h5"));
    assert_int_equal(close(fd), 0);
}

static void put(size_t at, unsigned char byte) {
    int fd = open("d.h5", O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    ok(km_pwrite_all(fd, &byte, 1, at, "d.h5"));
    assert_int_equal(close(fd), 0);
}

/* km_store_open and km_store_verify both refuse the file, with a message that begins with its name. */
static void is_refused(const char *what, size_t at) {
    km_store *store = NULL;
    if (km_store_verify("d.h5") == KM_OK) {
        fail_msg("%s at byte %zu was not seen", what, at);
    }
    if (km_message_kind() != KM_ERROR_DAMAGED) {
        fail_msg("%s at byte %zu: another kind of error: %s", what, at, km_message());
    }
    if (strncmp(km_message(), "d.h5: ", 6) != 0) {
        fail_msg("%s at byte %zu: the sentence is: %s", what, at, km_message());
    }
    if (km_store_open(&store, "d.h5") != KM_FAILED || store != NULL) {
        fail_msg("%s at byte %zu was opened", what, at);
    }
}

static void changed(size_t at, unsigned char mask) {
    put(at, bytes[at] ^ mask);
    is_refused("a change", at);
    put(at, bytes[at]);
}

static void whole_is_accepted(void) {
    km_store *store = NULL;
    ok(km_store_verify("d.h5"));
    ok(km_store_open(&store, "d.h5"));
    km_store_close(store);
}

static void every_byte_of_the_block(void **state) {
    (void)state;
    spill(size);
    for (size_t at = 0; at < BLOCK; at++) {
        changed(at, 0xFF);
        changed(at, (unsigned char)(1 << at % 8)); /* a single bit */
    }
    whole_is_accepted(); /* otherwise the tests above would prove nothing */
}

static void bytes_elsewhere(void **state) {
    (void)state;
    spill(size);
    for (size_t at = BLOCK; at < size; at += STRIDE) {
        changed(at, (unsigned char)(1 << at % 8));
    }
    changed(BLOCK, 1);
    changed(size - 1, 0x80);
    whole_is_accepted();
}

static void cut_everywhere(void **state) {
    (void)state;
    for (size_t count = 0; count < size; count += BLOCK) {
        spill(count);
        is_refused("a cut", count);
        spill(count + 1 < size ? count + 1 : count);
        is_refused("a cut behind", count);
    }
    spill(size - 1);
    is_refused("a cut", size - 1);
    spill(size);
    whole_is_accepted();
    put(size, 0);
    is_refused("a byte too many", size);
}

/* Blocks of 4,096 bytes that never reached the disk: they are zeros, or have the bytes of another block. */
static void blocks_that_were_lost(void **state) {
    (void)state;
    static const unsigned char zeros[BLOCK];
    for (size_t at = 0; at < size; at += BLOCK) {
        size_t count = KM_MIN((size_t)BLOCK, size - at);
        if (memcmp(bytes + at, zeros, count) == 0) {
            continue;
        }
        spill(size);
        int fd = open("d.h5", O_WRONLY | O_CLOEXEC);
        ok(km_pwrite_all(fd, zeros, count, at, "d.h5"));
        is_refused("a block of zeros", at);
        size_t other = at == 0 ? BLOCK : 0;
        ok(km_pwrite_all(fd, bytes + other, count, at, "d.h5"));
        is_refused("another block's bytes", at);
        assert_int_equal(close(fd), 0);
    }
}

/* The file as it would be in another version of the format, with a checksum that fits. */
static void spill_version(uint32_t version) {
    enum { AT_VERSION = 8, AT_CHECK = BLOCK - 16 };
    unsigned char *changed = km_new(size, 1);
    memcpy(changed, bytes, size);
    memcpy(changed + AT_VERSION, &version, sizeof version);
    const km_hash check = km_hash_bytes(changed, AT_CHECK);
    memcpy(changed + AT_CHECK, &check.low, 8);
    memcpy(changed + AT_CHECK + 8, &check.high, 8);
    int fd = open("d.h5", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    ok(km_pwrite_all(fd, changed, size, 0, "d.h5"));
    assert_int_equal(close(fd), 0);
    free(changed);
}

static void versions_up_to_the_newest_open(void **state) {
    (void)state;
    for (int version = KM_FORMAT_FIRST; version <= KM_FORMAT_NEWEST; version++) {
        km_store *store = NULL;
        spill_version((uint32_t)version);
        whole_is_accepted();
        ok(km_store_open(&store, "d.h5"));
        assert_int_equal(km_store_format(store), version);
        km_store_close(store);
    }
}

static void a_later_version_is_refused(void **state) {
    (void)state;
    static const uint32_t later[] = {KM_FORMAT_NEWEST + 1, 99, UINT32_MAX};
    for (size_t i = 0; i < KM_COUNT(later); i++) {
        km_store *store = NULL;
        spill_version(later[i]);
        assert_int_equal(km_store_open(&store, "d.h5"), KM_FAILED);
        assert_int_equal(km_message_kind(), KM_ERROR_LATER);
        assert_non_null(strstr(km_message(), "d.h5: written by a later kmask"));
        assert_non_null(strstr(km_message(), "Use the kmask that wrote it, or a newer one."));
        assert_int_equal(km_store_verify("d.h5"), KM_FAILED);
    }
    spill_version(0);
    is_refused("version 0", 8);
}

static void writers_say_what_readers_need(void **state) {
    (void)state;
    for (int version = KM_FORMAT_FIRST; version <= KM_FORMAT_NEWEST; version++) {
        km_store *store = NULL;
        ok(km_store_create(&store, "v.h5"));
        if (version != KM_FORMAT_FIRST) {
            km_store_set_format(store, version);
        }
        ok(km_store_layout(store));
        ok(km_store_commit(store));
        ok(km_store_open(&store, "v.h5"));
        assert_int_equal(km_store_format(store), version);
        km_store_close(store);
        unlink("v.h5");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions_up_to_the_newest_open),
        cmocka_unit_test(a_later_version_is_refused),
        cmocka_unit_test(writers_say_what_readers_need),
        cmocka_unit_test(every_byte_of_the_block),
        cmocka_unit_test(bytes_elsewhere),
        cmocka_unit_test(cut_everywhere),
        cmocka_unit_test(blocks_that_were_lost),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
