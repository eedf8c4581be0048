/* simulate_sum: one step's communication of the real program, on simulated nodes. Built with smpicc from src/comm as it is;
 * tools/simulate_sum.sh makes the nodes and runs it. Prints seconds of simulated time beside those that src/advise/plan_cost.c, by
 * which `kmask plan` plans, gives for the same nodes.
 *
 *   simulate_sum ELEMENTS NODE_RANKS NETWORK_BYTES_PER_S LATENCY_S CORE_BYTES_PER_S NEAR_LATENCY_S [messages|gather]
 *
 * Ranks of a node read each other's memory, which takes the reader's core its time and is no message. With `messages` they send each
 * other their shares, through the cores' links; with `gather` nothing is summed.
 *
 * What is simulated are messages, their sizes and order, and reading and adding inside of a node: memory is one small piece that all
 * ranks share, and all other arithmetic takes no time. */
#include "kmask/comm.h"
#include "plan_cost.h"

#include <mpi.h>
#include <smpi/smpi.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKET = 1 << 22 }; /* as include/kmask/train.h has it */

/* In place of src/base/memory.c's: a thousand ranks' tables do not fit into one machine. */
km_status km_allocate(void **out, size_t bytes, const char *what) {
    (void)what;
    *out = SMPI_SHARED_MALLOC(bytes + 64);
    return *out != NULL ? KM_OK : km_fail(KM_FAILED, "no shared memory");
}

static double core_rate;

/* In place of src/base/process.c's: all ranks are one process. */
bool km_process_read(int64_t pid, uint64_t address, void *out, size_t bytes) {
    const size_t word = 64; /* the ranks' first look at each other, which must see what is there */
    const double host_speed = 1e9;
    (void)pid;
    if (bytes <= word) {
        memcpy(out, (const void *)(uintptr_t)address, bytes);
    } else {
        smpi_execute_flops((double)bytes / core_rate * host_speed);
    }
    return true;
}

/* Of the slowest rank. */
static double since(km_comm *comm, double start) {
    double took = MPI_Wtime() - start;
    km_comm_max(comm, &took, 1);
    return took;
}

static void print(const char *name, double simulated, double planned) {
    printf("%s %.6g %.6g\n", name, simulated, planned);
}

int main(int argc, char **argv) {
    km_comm *comm = NULL;
    MPI_Init(&argc, &argv); /* SMPI has no MPI_Init_thread that km_comm_open would take */
    if (argc < 7 || argc > 8 || km_comm_open(&comm, &argc, &argv) != KM_OK) {
        return 2;
    }
    const size_t size = (size_t)strtoull(argv[1], NULL, 10) / KM_BLOCK * KM_BLOCK;
    km_machine machine = {.node_ranks = atoi(argv[2]),
                          .network = atof(argv[3]),
                          .latency = atof(argv[4]),
                          .core = atof(argv[5]),
                          .copy = atof(argv[5]),
                          .near_latency = atof(argv[6])};
    if (!km_comm_set_node(comm, machine.node_ranks)) {
        return 2;
    }
    const bool sums = argc < 8 || strcmp(argv[7], "gather") != 0;
    core_rate = machine.core;
    machine.direct = argc < 8 || strcmp(argv[7], "messages") != 0;
    km_comm_set_messages_only(comm, !machine.direct);
    machine.nodes = km_comm_size(comm) / machine.node_ranks;
    km_traffic planned;
    km_traffic_of(&planned, &machine, size, BUCKET);

    km_exchange *exchange = NULL;
    int64_t *sum = NULL;
    float *weights = NULL;
    double *blocks = NULL;
    if (km_exchange_create(&exchange, comm, size, BUCKET) != KM_OK ||
        km_allocate((void **)&sum, size * sizeof *sum, "") != KM_OK ||
        km_allocate((void **)&weights, size * sizeof *weights, "") != KM_OK ||
        km_allocate((void **)&blocks, size / KM_BLOCK * sizeof *blocks, "") != KM_OK) {
        return 1;
    }
    km_comm_barrier(comm);
    double start = MPI_Wtime();
    for (int bucket = 0; sums && bucket < km_exchange_buckets(exchange); bucket++) {
        km_exchange_begin(exchange, bucket, sum);
    }
    if (sums) {
        (void)km_exchange_end(exchange);
    }
    const double summed = since(comm, start);

    km_comm_barrier(comm);
    start = MPI_Wtime();
    km_exchange_gather_blocks(exchange, blocks);
    km_exchange_gather(exchange, weights);
    const double gathered = since(comm, start);

    km_comm_barrier(comm);
    start = MPI_Wtime();
    int64_t totals[8] = {0};
    bool agreed = km_comm_agree(comm, KM_OK) == KM_OK;
    km_comm_sum(comm, totals, 8);
    agreed = km_comm_agree(comm, KM_OK) == KM_OK && agreed;
    const double waited = since(comm, start);
    if (km_comm_rank(comm) == 0 && agreed) {
        if (!sums) {
            planned.sum = 0;
        }
        print("sum", summed, planned.sum);
        print("gather", gathered, planned.gather);
        print("waits", waited, planned.waits);
        print("all", summed + gathered + waited, planned.sum + planned.gather + planned.waits);
        fflush(stdout);
    }
    MPI_Finalize(); /* memory goes with the process */
    return 0;
}
