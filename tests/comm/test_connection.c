/* The connection test of doctor: an answer counts only from the host that has the private key, and only to this challenge; what a server
 * sends helps nobody to answer in its place, and neither silent nor foreign callers keep it from answering. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "address.h"
#include "connection_test.h"
#include "kmask/comm.h"

static void only_the_right_answer_is_believed(void **state) {
    (void)state;
    unsigned char public_key[KM_PUBLIC_KEY], private_key[KM_PRIVATE_KEY], other[KM_PUBLIC_KEY];
    unsigned char challenge[KM_CHALLENGE], later[KM_CHALLENGE];
    char text[KM_PUBLIC_KEY_TEXT];
    km_answer answer;
    km_sign_keys(other, private_key);
    km_sign_keys(public_key, private_key);
    km_random_bytes(challenge, sizeof challenge);
    km_random_bytes(later, sizeof later);
    km_connection_answer(&answer, challenge, private_key);
    assert_true(km_connection_believed(&answer, challenge, public_key));
    assert_false(km_connection_believed(&answer, later, public_key)); /* recorded and sent again */
    assert_false(km_connection_believed(&answer, challenge, other));
    for (size_t i = 0; i < sizeof answer; i++) {
        km_answer changed = answer;
        ((unsigned char *)&changed)[i] ^= 1;
        assert_false(km_connection_believed(&changed, challenge, public_key));
    }
    km_public_key_print(text, public_key);
    assert_int_equal(strlen(text), 2 * KM_PUBLIC_KEY);
    assert_true(km_public_key_parse(other, text) && memcmp(other, public_key, sizeof other) == 0);
    text[2 * KM_PUBLIC_KEY - 1] = '\0';
    assert_false(km_public_key_parse(other, text));
    assert_false(km_public_key_parse(other, "12 nowhere"));
    assert_false(km_public_key_parse(other, ""));
}

/* A socket that is connected to the first address in "key address/port ..."; -1: there is none. */
static int call(const char *server) {
    char name[64];
    int port = 0;
    km_address address = {.family = AF_INET};
    const char *blank = strchr(server, ' ');
    if (blank == NULL || sscanf(blank, " %45[^/]/%d", name, &port) != 2) {
        return -1;
    }
    address.family = strchr(name, ':') != NULL ? AF_INET6 : AF_INET;
    address.port = htons((uint16_t)port);
    assert_int_equal(inet_pton(address.family, name, address.bytes), 1);
    km_endpoint to;
    const socklen_t size = km_endpoint_of(&to, &address);
    const int fd = socket(address.family, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, &to.any, size), 0);
    return fd;
}

static void strangers_do_not_keep_a_server_from_answering(void **state) {
    (void)state;
    enum { STRANGERS = 1500 };
    km_connection_server *server = NULL;
    assert_int_equal(km_connection_server_open(&server), KM_OK);
    char *text = km_connection_server_print(server);
    static int fds[STRANGERS];
    char junk[4096];
    memset(junk, 'x', sizeof junk);
    km_allow_files(3 * STRANGERS);
    int count = 0;
    for (; count < STRANGERS && (fds[count] = call(text)) >= 0; count++) {
        /* A third says nothing, a third begins and waits, a third says much. */
        const size_t bytes = count % 3 == 0 ? 0 : count % 3 == 1 ? 7 : sizeof junk;
        (void)!send(fds[count], junk, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    km_connection_result result = {.server = text};
    km_connection_test(&result, 1, 20);
    assert_true(result.reached || count == 0); /* without any network there is no address */
    for (int i = 0; i < count; i++) {
        close(fds[i]);
    }
    km_connection_server_close(server);
    free(text);
}

/* Answers one caller as somebody who has seen the answer to another challenge. */
static void *forge(void *payload) {
    const int listener = *(int *)payload, fd = accept(listener, NULL, NULL);
    unsigned char private_key[KM_PRIVATE_KEY], public_key[KM_PUBLIC_KEY], challenge[KM_CHALLENGE];
    km_answer answer;
    km_sign_keys(public_key, private_key);
    if (recv(fd, challenge, sizeof challenge, MSG_WAITALL) == (ssize_t)sizeof challenge) {
        km_connection_answer(&answer, challenge, private_key);
        (void)!send(fd, &answer, sizeof answer, MSG_NOSIGNAL);
    }
    close(fd);
    return NULL;
}

static void a_foreign_server_is_not_taken_for_the_host(void **state) {
    (void)state;
    int listeners[2] = {-1, -1};
    km_address addresses[KM_ADDRESSES];
    assert_true(km_listen(listeners, addresses, KM_ADDRESSES, true) > 0);
    (void)fcntl(listeners[0], F_SETFL, 0);
    unsigned char public_key[KM_PUBLIC_KEY], private_key[KM_PRIVATE_KEY];
    char key[KM_PUBLIC_KEY_TEXT];
    km_sign_keys(public_key, private_key);
    km_public_key_print(key, public_key);
    char *server = km_format("%s 127.0.0.1/%d", key, ntohs(addresses[0].port));
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, forge, &listeners[0]), 0);
    km_connection_result result = {.server = server};
    km_connection_test(&result, 1, 20);
    assert_false(result.reached);
    pthread_join(thread, NULL);
    close(listeners[0]);
    if (listeners[1] >= 0) {
        close(listeners[1]);
    }
    free(server);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_right_answer_is_believed),
        cmocka_unit_test(strangers_do_not_keep_a_server_from_answering),
        cmocka_unit_test(a_foreign_server_is_not_taken_for_the_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
