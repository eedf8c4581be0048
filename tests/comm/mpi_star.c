/* Texts, calls and timed messages between ranks: what doctor goes by. Both by the launcher's name service and by messages. */
#include "kmask/comm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static km_star *star;

/* A text of `length` that tells whose and which it is. */
static char *text_of(int rank, int number, size_t length) {
    char *text = km_new(length + 1, 1);
    for (size_t i = 0; i < length; i++) {
        text[i] = (char)('a' + (int)(i * 7 + (size_t)(rank * 3 + number)) % 26);
    }
    return text;
}

static void exchange_texts(int number, size_t length) {
    int rank = km_star_rank(star), size = km_star_size(star);
    char *mine = text_of(rank, number, length);
    char **texts = km_star_gather(star, mine, 20);
    assert_true((texts != NULL) == (rank == 0));
    for (int r = 0; rank == 0 && r < size; r++) {
        char *expected = text_of(r, number, length);
        assert_non_null(texts[r]);
        assert_string_equal(texts[r], expected);
        free(expected);
        free(texts[r]);
    }
    free(texts);
    char *expected = text_of(0, number, length), *heard = km_star_spread(star, mine, 20);
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

/* The last rank says nothing for a while: rank 0 goes on without it. */
static void who_is_late_is_missed(void **state) {
    (void)state;
    int rank = km_star_rank(star), size = km_star_size(star);
    if (size == 1) {
        skip();
    }
    if (rank == size - 1) {
        sleep(2);
    }
    char **texts = km_star_gather(star, "word", 0.5);
    for (int r = 0; rank == 0 && r < size; r++) {
        assert_true((texts[r] == NULL) == (r == size - 1));
        free(texts[r]);
    }
    free(texts);
    char *nothing =
        rank == size - 1 ? km_star_spread(star, "", 0.5) : NULL; /* rank 0 has left it out, or was early */
    free(nothing);
    if (rank != size - 1) {
        char *heard = km_star_spread(star, "on", 20);
        assert_string_equal(heard, "on");
        free(heard);
    }
}

static void messages_are_timed(void **state) {
    (void)state;
    int rank = km_star_rank(star), other = rank ^ 1;
    if (other >= km_star_size(star)) {
        skip();
    }
    double small = km_star_ping(star, other, 8, 20, 20), big = km_star_ping(star, other, 1 << 20, 4, 20);
    assert_true(small > 0 && small < 20);
    assert_true(big > 0 && big < 20);
}

static void doors_answer_and_strangers_do_not_count(void **state) {
    (void)state;
    km_door *door = NULL;
    assert_int_equal(km_door_open(&door), KM_OK);
    char *here = km_door_print(door), *stranger = km_format("1%s", here); /* its address, another token */
    km_visit visits[] = {
        {.door = here}, {.door = stranger}, {.door = "0"}, {.door = ""}, {.door = "12 nowhere 1.2.3/4"}};
    km_door_visit(visits, (int)KM_COUNT(visits), 2);
    assert_true(visits[0].reached || strchr(here, '/') == NULL); /* without any network there is no address */
    assert_true(!visits[0].reached || (visits[0].clock_offset > -1 && visits[0].clock_offset < 1));
    for (size_t i = 1; i < KM_COUNT(visits); i++) {
        assert_false(visits[i].reached);
    }
    km_door_close(door);
    visits[0] = (km_visit){.door = here};
    km_door_visit(visits, 1, 2);
    assert_false(visits[0].reached);
    free(stranger);
    free(here);
}

static int by_messages(void **state) {
    (void)state;
    km_star_use_messages(star);
    return 0;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_of_any_length_arrive_in_order),
        cmocka_unit_test(who_is_late_is_missed),
        cmocka_unit_test(messages_are_timed),
        cmocka_unit_test(doors_answer_and_strangers_do_not_count),
        cmocka_unit_test_setup(texts_of_any_length_arrive_in_order, by_messages),
    };
    if (km_star_open(&star, &argc, &argv) != KM_OK) {
        return 1;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    km_star_close(star);
    return failed;
}
