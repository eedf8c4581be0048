/* The text server among neighbours: texts come back, on however slow a network; who does not know the step's secret changes nothing,
 * reads nothing, and holds up nobody; and the file with the secret is believed only where nobody else could have written it. */
#include "text_protocol.h"
#include "text_secret.h"
#include "text_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { SIZE = 4 };

static char folder[] = "/tmp/kmask-texts-XXXXXX";
static km_text_server *server, *client;

static int enter(void **state) {
    (void)state;
    if (mkdtemp(folder) == NULL || chdir(folder) != 0) {
        return 1;
    }
    setenv("SLURM_STEP_NODELIST", "localhost", 1);
    setenv("SLURM_JOB_ID", "12", 1);
    setenv("SLURM_STEP_ID", "3", 1);
    setenv("HOME", folder, 1);
    return km_text_server_open(&server, 0, SIZE, "not/yet/made") != KM_OK ||
           km_text_server_open(&client, 1, SIZE, "not/yet/made") != KM_OK;
}

static int leave(void **state) {
    (void)state;
    km_text_server_close(client);
    km_text_server_close(server);
    bool gone = access(".kmask-12-3-0", F_OK) != 0;
    return !gone || chdir("/") != 0 || rmdir(folder) != 0;
}

static void texts_come_back(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 100, 5000000};
    for (size_t i = 0; i < KM_COUNT(sizes); i++) {
        char *text = km_new(sizes[i] + 1, 1), *got;
        memset(text, 'a' + (int)i, sizes[i]);
        assert_true(km_text_server_put(client, 7, 1, text));
        got = km_text_server_get(server, 7, 1);
        assert_string_equal(got, text);
        free(got);
        assert_true(km_text_server_put(server, (int)i, 0, text));
        got = km_text_server_get(client, (int)i, 0);
        assert_string_equal(got, text);
        free(got);
        free(text);
    }
    assert_null(km_text_server_get(client, 99, 0));
}

static km_text_secret secret_of_file(void) {
    km_text_secret secret;
    assert_true(km_text_secret_read(&secret, "."));
    return secret;
}

static int connection(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(secret_of_file().port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

/* Sends a head that `change` has spoiled before or after it was proved; true where an answer comes. */
static bool answered(km_text_head head, const unsigned char *key, const unsigned char *given_nonce) {
    unsigned char nonce[KM_TEXT_NONCE], byte;
    int fd = connection();
    assert_int_equal(recv(fd, nonce, sizeof nonce, MSG_WAITALL), sizeof nonce);
    km_text_prove_head(head.proof, key, given_nonce != NULL ? given_nonce : nonce, &head);
    assert_int_equal(send(fd, &head, sizeof head, MSG_NOSIGNAL), sizeof head);
    const bool answer = recv(fd, &byte, 1, 0) == 1;
    close(fd);
    return answer;
}

static void forged_requests_are_not_answered(void **state) {
    (void)state;
    const km_text_secret secret = secret_of_file();
    const unsigned char other[KM_SECRET] = {1}, old[KM_TEXT_NONCE] = {2};
    const km_text_head get = {.kind = KM_TEXT_GET, .round = 7, .rank = 1};
    assert_true(answered(get, secret.secret, NULL));
    assert_false(answered(get, other, NULL));
    assert_false(
        answered(get, secret.secret, old)); /* of another connection: a request that was heard and repeated */
    assert_false(answered((km_text_head){.kind = KM_TEXT_GET, .round = 7, .rank = SIZE}, secret.secret, NULL));
    assert_false(answered((km_text_head){.kind = KM_TEXT_GET, .round = 7, .rank = -1}, secret.secret, NULL));
    assert_false(answered((km_text_head){.kind = KM_TEXT_GET, .round = -1, .rank = 1}, secret.secret, NULL));
    assert_false(answered((km_text_head){.kind = 9, .round = 7, .rank = 1}, secret.secret, NULL));
    assert_false(
        answered((km_text_head){.kind = KM_TEXT_PUT, .rank = 1, .length = UINT64_MAX}, secret.secret, NULL));
}

/* Hundreds of connections that say nothing, or say it slowly, at the same time as the ranks'. */
static void silent_peers_hold_up_nobody(void **state) {
    (void)state;
    int files[400];
    for (size_t i = 0; i < KM_COUNT(files); i++) {
        files[i] = connection();
        (void)!send(files[i], "slow", i % 5, MSG_NOSIGNAL);
        if (i % 50 == 0) {
            assert_true(km_text_server_put(client, 8, 2, "through"));
        }
    }
    char *got = km_text_server_get(client, 8, 2);
    assert_string_equal(got, "through");
    free(got);
    for (size_t i = 0; i < KM_COUNT(files); i++) {
        close(files[i]);
    }
}

static void only_a_private_file_is_believed(void **state) {
    (void)state;
    static const char name[] = ".kmask-12-3-0";
    km_text_secret secret;
    struct stat info;
    assert_int_equal(stat(name, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
    assert_int_equal(chmod(name, 0640), 0);
    assert_false(km_text_secret_read(&secret, "."));
    assert_int_equal(chmod(name, 0600), 0);
    assert_int_equal(rename(name, "elsewhere"), 0);
    assert_int_equal(symlink("elsewhere", name), 0);
    assert_false(km_text_secret_read(&secret, "."));
    assert_int_equal(rename("elsewhere", name), 0);
    assert_true(km_text_secret_read(&secret, "./no/such/folder"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_come_back),
        cmocka_unit_test(forged_requests_are_not_answered),
        cmocka_unit_test(silent_peers_hold_up_nobody),
        cmocka_unit_test(only_a_private_file_is_believed),
    };
    return cmocka_run_group_tests(tests, enter, leave);
}
