/* The pulse among living ranks: it lets them live, also when strangers knock; and it may be started again. */
#include "kmask/comm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static km_comm *comm;
static int acts;

static void last_act(void *payload, const char *reason, int64_t step) {
    (void)payload;
    (void)reason;
    (void)step;
    acts++;
}

/* At work and in phases, as many steps on every rank. */
static void live(double seconds) {
    double start = km_seconds(), longest = 0;
    for (int64_t step = 1; longest < seconds; step++) {
        km_pulse_step(comm, step);
        km_pulse_phase(comm, KM_COMPUTING);
        (void)nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
        km_pulse_pace(comm, 0.02);
        assert_int_equal(km_pulse_phase(comm, KM_SUMMING), KM_COMPUTING);
        longest = km_seconds() - start;
        km_comm_max(comm, &longest, 1);
    }
}

static void ranks_that_beat_live_on(void **state) {
    (void)state;
    for (int again = 0; again < 2; again++) {
        km_pulse_start(comm, 5, last_act, NULL);
        live(again == 0 ? 6 : 0.1);
        km_pulse_stop(comm);
    }
    km_pulse_stop(comm);
    km_pulse_start(comm, 0, last_act, NULL); /* no watch */
    km_pulse_tick(comm);
    km_pulse_stop(comm);
    km_comm_barrier(comm);
    assert_int_equal(acts, 0);
}

/* One leaves long before the others, and is not missed. */
static void leave_may_be_taken(void **state) {
    (void)state;
    km_pulse_start(comm, 4, last_act, NULL);
    bool first = km_comm_rank(comm) == 0;
    for (int i = 0; i < (first ? 5 : 250); i++) {
        km_pulse_tick(comm);
        (void)nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    km_pulse_stop(comm);
    km_comm_barrier(comm);
    assert_int_equal(acts, 0);
}

/* This process' listening sockets. */
static int listening(uint16_t *ports, int room) {
    int count = 0;
    for (int fd = 3; fd < 256 && count < room; fd++) {
        struct sockaddr_in at;
        socklen_t size = sizeof at;
        int listens = 0;
        socklen_t length = sizeof listens;
        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) == 0 && listens &&
            getsockname(fd, (struct sockaddr *)&at, &size) == 0 && at.sin_family == AF_INET) {
            ports[count++] = at.sin_port;
        }
    }
    return count;
}

static void knock(uint16_t port, const void *bytes, size_t count) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    if (connect(fd, (struct sockaddr *)&at, sizeof at) == 0) {
        (void)send(fd, bytes, count, MSG_NOSIGNAL);
    }
    close(fd);
}

static void strangers_are_ignored(void **state) {
    (void)state;
    uint16_t before[16], ports[16];
    int others = listening(before, 16); /* MPI's */
    km_pulse_start(comm, 5, last_act, NULL);
    km_comm_barrier(comm);
    int all = listening(ports, 16), count = 0;
    for (int i = 0; i < all; i++) {
        bool old = false;
        for (int j = 0; j < others; j++) {
            old = old || before[j] == ports[i];
        }
        if (!old) {
            ports[count++] = ports[i];
        }
    }
    assert_true(km_comm_rank(comm) > 0 || km_comm_size(comm) == 1 || count > 0);
    for (int size = 0; size < 400; size += 17) {
        char noise[400];
        for (int i = 0; i < size; i++) {
            noise[i] = (char)(i * 7 + size);
        }
        for (int i = 0; i < count; i++) {
            knock(ports[i], noise, (size_t)size);
        }
    }
    live(1);
    km_pulse_stop(comm);
    km_comm_barrier(comm);
    assert_int_equal(acts, 0);
}

int main(int argc, char **argv) {
    if (km_comm_open(&comm, &argc, &argv) != KM_OK) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_that_beat_live_on),
        cmocka_unit_test(leave_may_be_taken),
        cmocka_unit_test(strangers_are_ignored),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    km_comm_close(comm);
    return failed;
}
