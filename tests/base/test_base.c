/* Status, memory, Philox, checksums, files and JSON. */
#include "kmask/base.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void messages_grow(void **state) {
    (void)state;
    assert_int_equal(km_fail(KM_FAILED, "%d bytes", 3), KM_FAILED);
    assert_int_equal(km_context(KM_USAGE, "file %s", "a"), KM_USAGE);
    assert_string_equal(km_message(), "file a: 3 bytes");
    assert_int_equal(km_fail(KM_FAILED, "again: %s", km_message()), KM_FAILED);
    assert_string_equal(km_message(), "again: file a: 3 bytes");
}

static void kinds_follow_the_failure(void **state) {
    (void)state;
    (void)km_fail(KM_USAGE, "a key");
    assert_int_equal(km_message_kind(), KM_ERROR_USAGE);
    (void)km_fail(KM_STOPPED, "by a signal");
    assert_int_equal(km_message_kind(), KM_ERROR_STOPPED);
    assert_int_equal(km_fail_errno(ENOSPC, "%s: cannot write", "a.h5"), KM_FAILED);
    assert_string_equal(km_message(), "a.h5: cannot write: No space left on device");
    assert_int_equal(km_message_kind(), KM_ERROR_NO_SPACE);
    assert_int_equal(km_context(KM_FAILED, "step %d", 3), KM_FAILED);
    assert_int_equal(km_message_kind(), KM_ERROR_NO_SPACE);
    assert_int_equal(km_rephrase(KM_FAILED, "%s. Make room.", km_message()), KM_FAILED);
    assert_string_equal(km_message(), "step 3: a.h5: cannot write: No space left on device. Make room.");
    assert_int_equal(km_message_kind(), KM_ERROR_NO_SPACE);
    assert_int_equal(km_fail_kind(KM_ERROR_DAMAGED, "a.h5: cut short"), KM_FAILED);
    assert_int_equal(km_message_kind(), KM_ERROR_DAMAGED);
    (void)km_fail(KM_FAILED, "again: %s", km_message()); /* a new failure, although it quotes an old one */
    assert_int_equal(km_message_kind(), KM_ERROR_OTHER);
    static const struct {
        int number;
        km_error_kind kind;
    } known[] = {{EDQUOT, KM_ERROR_QUOTA},   {EIO, KM_ERROR_IO},        {ESTALE, KM_ERROR_IO},
                 {ENOENT, KM_ERROR_MISSING}, {EACCES, KM_ERROR_DENIED}, {EROFS, KM_ERROR_DENIED},
                 {ENOMEM, KM_ERROR_MEMORY},  {EFBIG, KM_ERROR_OTHER}};
    for (size_t i = 0; i < KM_COUNT(known); i++) {
        assert_int_equal(km_errno_kind(known[i].number), known[i].kind);
    }
}

static void calls_give_the_kind(void **state) {
    (void)state;
    char *text = NULL;
    void *block = NULL;
    assert_int_equal(km_file_read(&text, NULL, "/tmp/kmask-absent/x", 10), KM_FAILED);
    assert_int_equal(km_message_kind(), KM_ERROR_MISSING);
    assert_int_equal(km_allocate(&block, SIZE_MAX / 2, "everything"), KM_FAILED);
    assert_int_equal(km_message_kind(), KM_ERROR_MEMORY);
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_true(full >= 0);
    assert_int_equal(km_pwrite_all(full, "x", 1, 0, "/dev/full"), KM_FAILED);
    assert_int_equal(km_message_kind(), KM_ERROR_NO_SPACE);
    close(full);
    char byte = 0;
    int empty = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_int_equal(km_pread_all(empty, &byte, 1, 0, "/dev/null"), KM_FAILED);
    assert_int_equal(km_message_kind(), KM_ERROR_DAMAGED);
    close(empty);
}

static void *fail_elsewhere(void *payload) {
    km_error_copy(payload, km_fail_errno(EDQUOT, "b.h5: cannot write"));
    return NULL;
}

static void failures_go_from_thread_to_thread(void **state) {
    (void)state;
    km_error error = {0};
    pthread_t thread;
    (void)km_fail(KM_USAGE, "its own");
    assert_int_equal(km_thread_start(&thread, fail_elsewhere, &error), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_string_equal(km_message(), "its own");
    assert_int_equal(km_message_kind(), KM_ERROR_USAGE);
    assert_int_equal(km_error_raise(&error), KM_FAILED);
    assert_string_equal(km_message(), "b.h5: cannot write: Disk quota exceeded");
    assert_int_equal(km_message_kind(), KM_ERROR_QUOTA);
    km_error_copy(&error, KM_OK); /* nothing failed: what was kept goes */
    assert_null(error.message);
    assert_int_equal(km_error_raise(&error), KM_OK);
    assert_int_equal(km_message_kind(), KM_ERROR_QUOTA);
    km_error_clear(&error);
}

static double seconds_of(struct timespec time) {
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void times_lie_seconds_ahead(void **state) {
    (void)state;
    const double spans[] = {0, 0.25, 0.999999999, 1.75, 3600.5, -0.5};
    for (size_t i = 0; i < KM_COUNT(spans); i++) {
        double before = km_seconds();
        struct timespec time = km_clock_after(CLOCK_MONOTONIC, spans[i]);
        double after = km_seconds();
        assert_in_range(time.tv_nsec, 0, 999999999);
        assert_true(seconds_of(time) >= before + spans[i] - 1e-6 && seconds_of(time) <= after + spans[i] + 1e-6);
    }
}

static volatile sig_atomic_t alarms;

static void count_alarm(int number) {
    (void)number;
    alarms++;
}

static void signals_do_not_cut_sleep_short(void **state) {
    (void)state;
    struct sigaction action = {.sa_handler = count_alarm}, old;
    sigaction(SIGALRM, &action, &old);
    const struct itimerval often = {{0, 3000}, {0, 3000}}, never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &often, NULL);
    double start = km_seconds();
    km_sleep(0.05);
    assert_true(km_seconds() - start >= 0.05);
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &old, NULL);
    assert_true(alarms > 0);
}

static void sums_of_fractions_are_compared_apart_from_rounding(void **state) {
    (void)state;
    volatile double sum = 0.7;
    sum += 0.2;
    sum += 0.1;
    assert_true(km_at_most(sum, 1) && km_at_most(3 * 0.333333333333, 1) && km_at_most(1, 1));
    assert_false(km_at_most(1.00001, 1));
    assert_false(km_at_most(NAN, 1));
}

/* Known answers of the authors' Random123 distribution (kat_vectors, philox4x32 10). */
static void philox_gives_known_answers(void **state) {
    (void)state;
    const struct {
        uint32_t counter[4], key[2], out[4];
    } known[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < KM_COUNT(known); i++) {
        uint32_t out[4];
        km_philox(out, known[i].counter, known[i].key);
        assert_memory_equal(out, known[i].out, sizeof out);
    }
}

static void random_numbers_are_functions_of_their_purpose(void **state) {
    (void)state;
    km_rng a = km_rng_make(1, KM_RNG_TEST, 2, 3), b = km_rng_make(1, KM_RNG_TEST, 2, 3);
    km_rng other[] = {km_rng_make(2, KM_RNG_TEST, 2, 3), km_rng_make(1, KM_RNG_MASK, 2, 3),
                      km_rng_make(1, KM_RNG_TEST, 3, 3), km_rng_make(1, KM_RNG_TEST, 2, UINT64_C(1) << 32)};
    uint64_t first = km_rng_u64(&a);
    assert_true(first == km_rng_u64(&b));
    for (size_t i = 0; i < KM_COUNT(other); i++) {
        assert_true(first != km_rng_u64(&other[i]));
    }
}

static void numbers_below_n_are_uniform(void **state) {
    (void)state;
    km_rng rng = km_rng_make(7, KM_RNG_TEST, 0, 0);
    enum { N = 7, DRAWS = 70000 };
    double count[N] = {0}, chi = 0;
    for (int i = 0; i < DRAWS; i++) {
        count[km_rng_below(&rng, N)]++;
    }
    for (int i = 0; i < N; i++) {
        chi += (count[i] - DRAWS / N) * (count[i] - DRAWS / N) / (DRAWS / N);
    }
    assert_true(chi < 30); /* 6 degrees of freedom: p < 1e-4 beyond 28 */
    double sum = 0, squares = 0;
    for (int i = 0; i < DRAWS; i++) {
        double x = km_rng_normal(&rng);
        sum += x;
        squares += x * x;
    }
    assert_true(sum / DRAWS < 0.02 && sum / DRAWS > -0.02);
    assert_true(squares / DRAWS < 1.03 && squares / DRAWS > 0.97);
}

static void a_hash_in_pieces_is_the_hash(void **state) {
    (void)state;
    char bytes[1000];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (char)(i * 31);
    }
    km_hasher *hasher = km_hasher_create();
    km_hasher_add(hasher, bytes, 333);
    km_hasher_add(hasher, bytes + 333, 667);
    assert_true(km_hash_equal(km_hasher_end(hasher), km_hash_bytes(bytes, sizeof bytes)));
    char text[33];
    km_hash_text(text, (km_hash){.low = 0xAB, .high = 1});
    assert_string_equal(text, "000000000000000100000000000000ab");
}

static void files_are_replaced_whole(void **state) {
    (void)state;
    char folder[] = "/tmp/kmask-test-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char *deep = km_format("%s/a/b", folder), *path = km_format("%s/f", deep);
    assert_int_equal(km_make_folder(deep), KM_OK);
    assert_int_equal(km_make_folder(deep), KM_OK);
    assert_int_equal(km_file_replace(path, "one", 3), KM_OK);
    assert_int_equal(km_file_replace(path, "three", 5), KM_OK);
    char *text = NULL;
    size_t size = 0;
    assert_int_equal(km_file_read(&text, &size, path, 5), KM_OK);
    assert_string_equal(text, "three");
    free(text);
    assert_int_equal(km_file_read(&text, &size, path, 4), KM_FAILED);
    assert_int_equal(km_file_read(&text, &size, deep, 100), KM_FAILED);
    char *below = km_format("%s/x", path);
    assert_int_equal(km_make_folder(below), KM_FAILED);
    assert_int_equal(km_file_replace(below, "x", 1), KM_FAILED);
    free(below);
    char *remove = km_format("rm -r %s", folder);
    assert_int_equal(system(remove), 0);
    free(remove);
    free(path);
    free(deep);
}

static void json_refuses_what_is_not_json(void **state) {
    (void)state;
    static const char *const bad[] = {"", "{", "[1,]", "{\"a\":1} x", "nul", "{\"a\" 1}", "\"\\u12\"", "[1 2]"};
    km_json *json = NULL;
    for (size_t i = 0; i < KM_COUNT(bad); i++) {
        assert_int_equal(km_json_parse(&json, bad[i], strlen(bad[i]), "here"), KM_FAILED);
        assert_non_null(strstr(km_message(), "here"));
    }
    assert_int_equal(km_json_parse(&json, "[1]\0", 4, "here"), KM_FAILED);
    char deep[4000];
    memset(deep, '[', sizeof deep);
    assert_int_equal(km_json_parse(&json, deep, sizeof deep, "here"), KM_FAILED);
    assert_non_null(strstr(km_message(), "nested"));
    const char *two_lines = "{\n \"a\": ?}";
    assert_int_equal(km_json_parse(&json, two_lines, strlen(two_lines), "here"), KM_FAILED);
    assert_non_null(strstr(km_message(), "line 2"));
}

/* Numbers that were written with a point keep it where that is asked for; all read as before. */
static void json_keeps_decimals(void **state) {
    (void)state;
    static const char text[] =
        "{\"a\": 0.0, \"b\": -2, \"c\": [1e3, 3.25, \"4.0 \\\" 5.0\", 7], \"6.0\": -8.0, \"d\": 1e300}";
    km_json *json = NULL;
    double value = 1;
    assert_int_equal(km_json_parse_decimals(&json, text, strlen(text), "test"), KM_OK);
    assert_true(km_json_number(&value, km_json_get(json, "a")) && value == 0);
    char *printed = km_json_print(json, false), *again = km_json_print(json, false);
    assert_string_equal(printed,
                        "{\"a\":0.0,\"b\":-2,\"c\":[1000.0,3.25,\"4.0 \\\" 5.0\",7],\"6.0\":-8.0,\"d\":1e+300}");
    assert_string_equal(again, printed);
    assert_true(km_json_number(&value, km_json_get(json, "6.0")) && value == -8);
    free(printed);
    free(again);
    km_json_set_decimal(json, "c", 2);
    km_json_set_decimal(json, "a", 0.5);
    km_json_set_number(json, "6.0", 3);
    km_json_set_decimal(json, "d", NAN);
    printed = km_json_print(json, false);
    assert_string_equal(printed, "{\"b\":-2,\"c\":2.0,\"a\":0.5,\"6.0\":3,\"d\":null}");
    free(printed);
    km_json_destroy(json);
}

static void json_round_trip(void **state) {
    (void)state;
    km_json *object = km_json_object(), *array = km_json_array();
    km_json_set_number(object, "n", 0.1);
    km_json_set_string(object, "s", "a\"\n\xc3\xa9");
    km_json_set_boolean(object, "b", true);
    km_json_push_number(array, 1e300);
    km_json_push_string(array, "x");
    km_json_set(object, "list", array);
    char *text = km_json_print(object, true);
    km_json_destroy(object);
    km_json *again = NULL;
    assert_int_equal(km_json_parse(&again, text, strlen(text), "text"), KM_OK);
    double n = 0;
    bool b = false;
    assert_true(km_json_number(&n, km_json_get(again, "n")) && n == 0.1);
    assert_true(km_json_boolean(&b, km_json_get(again, "b")) && b);
    assert_string_equal(km_json_string(km_json_get(again, "s")), "a\"\n\xc3\xa9");
    assert_int_equal(km_json_size(km_json_get(again, "list")), 2);
    assert_null(km_json_get(again, "absent"));
    assert_null(km_json_string(km_json_get(again, "n")));
    km_json_destroy(again);
    free(text);
}

static void arenas_measure_and_place(void **state) {
    (void)state;
    km_arena measure = {0};
    assert_null(km_arena_take(&measure, 3, 4));
    assert_null(km_arena_take(&measure, 1, 65));
    assert_int_equal(measure.used, 64 + 128);
    char *block = NULL;
    assert_int_equal(km_allocate((void **)&block, measure.used, "a test"), KM_OK);
    km_arena arena = {.base = block, .capacity = measure.used};
    assert_ptr_equal(km_arena_take(&arena, 3, 4), block);
    assert_ptr_equal(km_arena_take(&arena, 1, 65), block + 64);
    assert_null(km_arena_take(&arena, 1, 1));
    free(block);
    void *huge = NULL;
    assert_int_equal(km_allocate(&huge, SIZE_MAX / 4, "too much"), KM_FAILED);
    assert_true(km_memory_available() > 1 << 20);
    assert_true(km_memory_available() < (uint64_t)1 << 50); /* this system says */
    assert_int_equal(km_allocate(&huge, (size_t)KM_MIN(km_memory_available() * 2, SIZE_MAX), "too much"),
                     KM_FAILED);
}

/* One's own memory may always be read, what is not there never, and a child's at least where that of any other process may be. */
static void memory_of_processes_is_read(void **state) {
    (void)state;
    volatile uint64_t word = UINT64_C(0x123456789abcdef0);
    const uint64_t at = (uint64_t)(uintptr_t)&word;
    uint64_t seen = 0;
    assert_true(km_process_read(getpid(), at, &seen, sizeof seen));
    assert_true(seen == word);
    errno = 0;
    assert_false(km_process_read(getpid(), 8, &seen, sizeof seen));
    assert_int_equal(errno, EFAULT);

    const bool others = km_process_readable();
    const pid_t child = fork();
    if (child == 0) {
        (void)pause();
        _exit(0);
    }
    assert_true(child > 0);
    word = 0; /* the child keeps the old one */
    seen = 0;
    const bool read = km_process_read(child, at, &seen, sizeof seen);
    const bool right = seen == UINT64_C(0x123456789abcdef0);
    (void)kill(child, SIGKILL);
    (void)waitpid(child, NULL, 0);
    assert_true(read ? right : !others);
    errno = 0;
    assert_false(km_process_read(child, at, &seen, sizeof seen));
    assert_int_equal(errno, ESRCH);
}

/* HMAC-SHA-512-256 and SHA-256 by values of other programs (Python's hmac and hashlib). */
static void secrets_prove(void **state) {
    (void)state;
    unsigned char secret[KM_SECRET], proof[KM_PROOF], other[KM_SECRET];
    static const unsigned char known[] = {0xf0, 0x02, 0x6a, 0x60, 0x98, 0x5c, 0x90, 0xf7, 0xdf, 0x0a, 0x6e,
                                          0x7a, 0x0e, 0x58, 0xd9, 0xae, 0x0f, 0x05, 0x10, 0xc0, 0x6d, 0x55,
                                          0x79, 0x18, 0x10, 0x77, 0x91, 0x4e, 0xea, 0xa8, 0xde, 0x69};
    char text[KM_SHA256_TEXT];
    for (int i = 0; i < KM_SECRET; i++) {
        secret[i] = (unsigned char)i;
    }
    km_prove(proof, "kmask", 5, secret);
    assert_memory_equal(proof, known, sizeof known);
    assert_true(km_proves(proof, "kmask", 5, secret));
    assert_false(km_proves(proof, "kmasq", 5, secret));
    proof[31] ^= 1;
    assert_false(km_proves(proof, "kmask", 5, secret));
    km_random_bytes(secret, sizeof secret);
    km_random_bytes(other, sizeof other);
    assert_memory_not_equal(secret, other, sizeof secret);
    km_sha256_base64(text, "abc", 3);
    assert_string_equal(text, "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_grow),
        cmocka_unit_test(kinds_follow_the_failure),
        cmocka_unit_test(calls_give_the_kind),
        cmocka_unit_test(failures_go_from_thread_to_thread),
        cmocka_unit_test(times_lie_seconds_ahead),
        cmocka_unit_test(signals_do_not_cut_sleep_short),
        cmocka_unit_test(sums_of_fractions_are_compared_apart_from_rounding),
        cmocka_unit_test(philox_gives_known_answers),
        cmocka_unit_test(random_numbers_are_functions_of_their_purpose),
        cmocka_unit_test(numbers_below_n_are_uniform),
        cmocka_unit_test(a_hash_in_pieces_is_the_hash),
        cmocka_unit_test(files_are_replaced_whole),
        cmocka_unit_test(json_refuses_what_is_not_json),
        cmocka_unit_test(json_round_trip),
        cmocka_unit_test(json_keeps_decimals),
        cmocka_unit_test(secrets_prove),
        cmocka_unit_test(arenas_measure_and_place),
        cmocka_unit_test(memory_of_processes_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
