/* The heartbeat among healthy ranks: nothing is reported, also when other programs connect to its port; and it may be started again. */
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
static int hook_calls;

static void exit_hook(void *payload, const char *reason, int64_t step) {
    (void)payload;
    (void)reason;
    (void)step;
    hook_calls++;
}

/* Steps of two phases, as many on every rank, for so many seconds. */
static void work_for(double seconds) {
    double start = km_seconds(), longest = 0;
    for (int64_t step = 1; longest < seconds; step++) {
        km_heartbeat_step(comm, step);
        km_heartbeat_phase(comm, KM_COMPUTING);
        km_sleep(0.02);
        km_heartbeat_pace(comm, 0.02);
        assert_int_equal(km_heartbeat_phase(comm, KM_SUMMING), KM_COMPUTING);
        longest = km_seconds() - start;
        km_comm_max(comm, &longest, 1);
    }
}

static void healthy_ranks_are_not_reported(void **state) {
    (void)state;
    for (int again = 0; again < 2; again++) {
        km_heartbeat_start(comm, 5, exit_hook, NULL);
        work_for(again == 0 ? 6 : 0.1);
        km_heartbeat_stop(comm);
    }
    km_heartbeat_stop(comm);
    km_heartbeat_start(comm, 0, exit_hook, NULL); /* no heartbeat */
    km_heartbeat_progress(comm);
    km_heartbeat_stop(comm);
    km_comm_barrier(comm);
    assert_int_equal(hook_calls, 0);
}

/* Rank 0 leaves long before the others, and is not reported. */
static void ranks_may_leave(void **state) {
    (void)state;
    km_heartbeat_start(comm, 4, exit_hook, NULL);
    bool first = km_comm_rank(comm) == 0;
    for (int i = 0; i < (first ? 5 : 250); i++) {
        km_heartbeat_progress(comm);
        km_sleep(0.02);
    }
    km_heartbeat_stop(comm);
    km_comm_barrier(comm);
    assert_int_equal(hook_calls, 0);
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

static void connect_and_send(uint16_t port, const void *bytes, size_t count) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    if (connect(fd, (struct sockaddr *)&at, sizeof at) == 0) {
        (void)send(fd, bytes, count, MSG_NOSIGNAL);
    }
    close(fd);
}

static void other_programs_are_ignored(void **state) {
    (void)state;
    uint16_t before[16], ports[16];
    int others = listening(before, 16); /* MPI's */
    km_heartbeat_start(comm, 5, exit_hook, NULL);
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
            connect_and_send(ports[i], noise, (size_t)size);
        }
    }
    work_for(1);
    km_heartbeat_stop(comm);
    km_comm_barrier(comm);
    assert_int_equal(hook_calls, 0);
}

int main(int argc, char **argv) {
    if (km_comm_open(&comm, &argc, &argv) != KM_OK) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(healthy_ranks_are_not_reported),
        cmocka_unit_test(ranks_may_leave),
        cmocka_unit_test(other_programs_are_ignored),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    km_comm_close(comm);
    return failed;
}
