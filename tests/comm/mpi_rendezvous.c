/* The rendezvous, with the launcher's name service and with messages: texts and timed messages. And the connection test. */
#include "kmask/comm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static km_rendezvous *rendezvous;

/* A text of `length` that tells whose and which it is. */
static char *text_of(int rank, int number, size_t length) {
    char *text = km_new(length + 1, 1);
    for (size_t i = 0; i < length; i++) {
        text[i] = (char)('a' + (int)(i * 7 + (size_t)(rank * 3 + number)) % 26);
    }
    return text;
}

static void exchange_texts(int number, size_t length) {
    int rank = km_rendezvous_rank(rendezvous), size = km_rendezvous_size(rendezvous);
    char *mine = text_of(rank, number, length);
    char **texts = km_rendezvous_gather(rendezvous, mine, 20);
    assert_true((texts != NULL) == (rank == 0));
    for (int r = 0; rank == 0 && r < size; r++) {
        char *expected = text_of(r, number, length);
        assert_non_null(texts[r]);
        assert_string_equal(texts[r], expected);
        free(expected);
        free(texts[r]);
    }
    free(texts);
    char *expected = text_of(0, number, length), *heard = km_rendezvous_broadcast(rendezvous, mine, 20);
    assert_non_null(heard);
    assert_string_equal(heard, expected);
    free(heard);
    free(expected);
    free(mine);
}

static void texts_of_any_length_arrive_in_order(void **state) {
    static const size_t lengths[] = {0, 1, 899, 900, 901, 1800, 5000};
    (void)state;
    for (size_t i = 0; i < KM_COUNT(lengths); i++) {
        exchange_texts((int)i, lengths[i]);
    }
}

/* The last rank sends nothing for a while: rank 0 goes on without it. */
static void late_ranks_are_left_out(void **state) {
    (void)state;
    int rank = km_rendezvous_rank(rendezvous), size = km_rendezvous_size(rendezvous);
    if (size == 1) {
        skip();
    }
    if (rank == size - 1) {
        sleep(2);
    }
    char **texts = km_rendezvous_gather(rendezvous, "word", 0.5);
    for (int r = 0; rank == 0 && r < size; r++) {
        assert_true((texts[r] == NULL) == (r == size - 1));
        free(texts[r]);
    }
    free(texts);
    char *nothing = rank == size - 1 ? km_rendezvous_broadcast(rendezvous, "", 0.5)
                                     : NULL; /* rank 0 has left it out, or was early */
    free(nothing);
    if (rank != size - 1) {
        char *heard = km_rendezvous_broadcast(rendezvous, "on", 20);
        assert_string_equal(heard, "on");
        free(heard);
    }
}

static void messages_are_timed(void **state) {
    (void)state;
    int rank = km_rendezvous_rank(rendezvous), other = rank ^ 1;
    if (other >= km_rendezvous_size(rendezvous)) {
        skip();
    }
    double small = km_rendezvous_ping(rendezvous, other, 8, 20, 20),
           big = km_rendezvous_ping(rendezvous, other, 1 << 20, 4, 20);
    assert_true(small > 0 && small < 20);
    assert_true(big > 0 && big < 20);
}

static void servers_answer_and_other_keys_do_not_count(void **state) {
    (void)state;
    km_connection_server *server = NULL;
    assert_int_equal(km_connection_server_open(&server), KM_OK);
    char *here = km_connection_server_print(server),
         *other_key = km_format("1%s", here); /* its address, another key */
    km_connection_result results[] = {
        {.server = here}, {.server = other_key}, {.server = "0"}, {.server = ""}, {.server = "12 nowhere 1.2.3/4"}};
    km_connection_test(results, (int)KM_COUNT(results), 2);
    assert_true(results[0].reached || strchr(here, '/') == NULL); /* without any network there is no address */
    assert_true(!results[0].reached || (results[0].clock_offset > -1 && results[0].clock_offset < 1));
    for (size_t i = 1; i < KM_COUNT(results); i++) {
        assert_false(results[i].reached);
    }
    km_connection_server_close(server);
    results[0] = (km_connection_result){.server = here};
    km_connection_test(results, 1, 2);
    assert_false(results[0].reached);
    free(other_key);
    free(here);
}

static int by_messages(void **state) {
    (void)state;
    km_rendezvous_use_messages(rendezvous);
    return 0;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_of_any_length_arrive_in_order),
        cmocka_unit_test(late_ranks_are_left_out),
        cmocka_unit_test(messages_are_timed),
        cmocka_unit_test(servers_answer_and_other_keys_do_not_count),
        cmocka_unit_test_setup(texts_of_any_length_arrive_in_order, by_messages),
    };
    if (km_rendezvous_open(&rendezvous, &argc, &argv, ".") != KM_OK) {
        return 1;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    km_rendezvous_close(rendezvous);
    return failed;
}
