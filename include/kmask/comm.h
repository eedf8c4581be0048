/* comm: communication between ranks. It divides work among them, has them agree on failures, adds up their gradients exactly, sends
 * arrays to rank 0 in the background, runs the heartbeat, and tests connections for `kmask doctor`. No other folder uses MPI.
 *
 * A call is collective where its comment ends with "Collective.": all ranks make it, in the same order. All other calls are local.
 * All MPI calls come from the thread that opened the communicator. */
#ifndef KMASK_COMM_H
#define KMASK_COMM_H

#include "kmask/base.h"

typedef struct km_comm km_comm;

/* Starts MPI, unless it has started already, and mutes the log on all ranks but 0. A program that was started without mpirun is
 * one rank. Collective. */
km_status km_comm_open(km_comm **out, int *argc, char ***argv) KM_NODISCARD;
void km_comm_close(km_comm *comm); /* NULL is fine. Collective. */
/* Divides the ranks into groups that work side by side: the ranks that give the same `group` (>= 0) get a communicator of their
 * own, in which they have the order that they have here. It is closed with km_comm_close before `comm` is. Signs of life of its
 * work count as those of `comm`, whose heartbeat goes on. Collective. */
km_comm *km_comm_split(km_comm *comm, int group);
void km_comm_abort(km_comm *comm, int status); /* ends all ranks at once; does not return */
int km_comm_rank(const km_comm *comm);
int km_comm_size(const km_comm *comm);
/* Seconds since the start that this rank's thread for MPI calls has spent on exchanges with other ranks: transfers, adding up
 * what has arrived, and waiting. Transfers that advance while the thread computes are not counted. */
double km_comm_seconds(const km_comm *comm);
/* For tests: exchanges that are created from now on treat each group of `ranks` consecutive ranks as one node, whatever was
 * found when the communicator was opened. False when the number of ranks is not a multiple of it. All ranks give the same
 * number. */
bool km_comm_set_node(km_comm *comm, int ranks);
/* For tests: with true, exchanges that are created from now on send every share by message, as they do where ranks of a node may
 * not read each other's memory. All ranks give the same value. */
void km_comm_set_messages_only(km_comm *comm, bool messages_only);

/* Tells every rank whether any rank has failed; `mine` is this rank's status. Returns KM_OK when all are KM_OK. Otherwise all ranks
 * return the status of the lowest rank that failed, with its message and kind of error. It stands around calls that can fail on one
 * rank only, before the next collective call: KM_TRY(km_comm_agree(comm, f(...))). Collective. */
km_status km_comm_agree(km_comm *comm, km_status mine) KM_NODISCARD;

void km_comm_sum(km_comm *comm, int64_t *values, int count);      /* in place. Collective. */
void km_comm_max(km_comm *comm, double *values, int count);       /* in place. Collective. */
void km_comm_broadcast(km_comm *comm, void *bytes, size_t count); /* from rank 0. Collective. */
/* Replaces the values by their sums over all lower ranks, without this one (MPI_Exscan). Collective. */
void km_comm_scan(km_comm *comm, uint64_t *values, int count);
void km_comm_barrier(km_comm *comm); /* Collective. */
/* Transfer any number of bytes between two different ranks; they block. */
void km_comm_send(km_comm *comm, const void *bytes, size_t count, int to);
void km_comm_receive(km_comm *comm, void *bytes, size_t count, int from);
/* The transport that MPI's messages take, such as "Open MPI 4.1.4: ob1 over tcp, vader"; the caller frees. */
char *km_comm_transport(void);

/* Divides `count` pieces of work among `size` ranks: rank `rank` gets the *number pieces from *first on. The ranks' shares
 * follow each other, and their sizes differ by at most one. */
void km_share(uint64_t *first, uint64_t *number, uint64_t count, int rank, int size);

/* ---- The heartbeat ------------------------------------------------------------------------------------------ */
/* MPI waits for ever for a rank that is stopped or cut off. So a thread of every rank sends heartbeats to rank 0 over a TCP
 * connection of its own, and rank 0 sends its own back. A rank that is silent or gone is reported in one sentence on standard
 * error (rank, host, pid, step, phase), and every rank has ended, with status 1, within `timeout` seconds of its last heartbeat.
 * The same happens when no rank has made progress for that long. A rank that is steadily slower than the others is named in the
 * log. Reporting a phase, a step or progress costs an atomic store. */
typedef enum km_phase {
    KM_STARTING,
    KM_READING,
    KM_COMPUTING,
    KM_SUMMING,
    KM_UPDATING,
    KM_EVALUATING,
    KM_SAVING,
    KM_ENDING,
    KM_PHASES
} km_phase;
const char *km_phase_name(km_phase phase);

/* Called on the rank that reports the failure, in a thread of its own, before the process ends: it may write a status file.
 * `reason` is the sentence, `step` this rank's. The process does not wait longer than two seconds for it, less where the timeout
 * is short. */
typedef void km_exit_hook(void *payload, const char *reason, int64_t step);
/* Starts the heartbeat; with timeout 0 there is none. Where no TCP connection can be made, the log says so and training goes on
 * without a heartbeat. `exit_hook` may be NULL; `payload` must exist until km_heartbeat_stop. Collective. */
void km_heartbeat_start(km_comm *comm, double timeout, km_exit_hook *exit_hook, void *payload);
/* Tells the others that this rank leaves, so that it is not reported as gone. Nothing happens where no heartbeat runs. */
void km_heartbeat_stop(km_comm *comm);
/* The next four functions may be called from any thread, and also where no heartbeat runs. */
km_phase km_heartbeat_phase(km_comm *comm, km_phase phase); /* sets this rank's phase; returns the one before */
void km_heartbeat_step(km_comm *comm, int64_t step);
/* Reports progress within a phase: to be called at least every few seconds of long work. Sums, transfers, and bytes that the
 * process reads and writes count as progress by themselves. */
void km_heartbeat_progress(km_comm *comm);
/* Reports the seconds that one micro-batch took. Stragglers (ranks that are steadily slower than the others) are found by them. */
void km_heartbeat_pace(km_comm *comm, double seconds);

/* ---- The rendezvous: texts between ranks that may not reach each other ------------------------------------------ */
/* For `kmask doctor`. Where two hosts do not reach each other, MPI waits for ever or ends the job. So until the connections have
 * been tested, ranks and rank 0 exchange texts without MPI messages: under mpirun by MPI's name service, since mpirun has
 * reached every host; under srun over TCP by a server on rank 0's host, before MPI has even started, since its start needs all
 * connections. Under other launchers texts go by MPI messages. Everything has a time limit. */
typedef struct km_rendezvous km_rendezvous;
/* Opens the rendezvous, and starts MPI where texts are exchanged by MPI. Under srun rank 0 leaves a file in `folder`, or near it, by which
 * the ranks know each other; all hosts must share that folder. Collective. */
km_status km_rendezvous_open(km_rendezvous **out, int *argc, char ***argv, const char *folder) KM_NODISCARD;
/* Starts MPI where it has not started yet: needed before km_rendezvous_ping. Collective. */
km_status km_rendezvous_start_mpi(km_rendezvous *rendezvous, int *argc, char ***argv) KM_NODISCARD;
/* Closes the rendezvous and ends MPI. MPI is not ended where a message has not finished in time, because ending it would wait
 * for that message. NULL is fine. Collective. */
void km_rendezvous_close(km_rendezvous *rendezvous);
/* For tests: texts go by MPI messages although there is a name service. All ranks call it. */
void km_rendezvous_use_messages(km_rendezvous *rendezvous);
int km_rendezvous_rank(const km_rendezvous *rendezvous);
int km_rendezvous_size(const km_rendezvous *rendezvous);
/* Sends every rank's text to rank 0, where the result is an array of one text a rank, NULL for ranks of which none came within
 * `seconds`; the caller frees all. NULL on other ranks. Collective. */
char **km_rendezvous_gather(km_rendezvous *rendezvous, const char *text, double seconds);
/* Returns rank 0's text on every rank; NULL where it did not come within `seconds`. The caller frees. Collective. */
char *km_rendezvous_broadcast(km_rendezvous *rendezvous, const char *text, double seconds);
/* Sends `bytes` bytes to rank `other` and back by MPI, `times` times; `other` makes the same call. Returns the mean seconds of
 * one way; a negative number where the messages did not come within `seconds`, after which this rank sends nothing more over
 * MPI. */
double km_rendezvous_ping(km_rendezvous *rendezvous, int other, size_t bytes, int times, double seconds);

/* ---- The connection test ---------------------------------------------------------------------------------------- */
/* For `kmask doctor`: which hosts reach each other over TCP. A server is a thread that answers every connection with a token and
 * the time of its clock. */
typedef struct km_connection_server km_connection_server;
km_status km_connection_server_open(km_connection_server **out) KM_NODISCARD;
void km_connection_server_close(km_connection_server *server); /* NULL is fine */
/* A text with the server's public key and all addresses, which other hosts need for the test; the caller frees. */
char *km_connection_server_print(const km_connection_server *server);
typedef struct km_connection_result {
    const char *server; /* in: the other host's km_connection_server_print */
    bool reached;
    char address[64];    /* the address that answered first */
    double round_trip;   /* seconds from the challenge to the answer */
    double clock_offset; /* seconds: the other host's clock less this one's */
} km_connection_result;
/* Connects to all servers at the same time, and waits for their answers for at most `seconds`. */
void km_connection_test(km_connection_result *results, int count, double seconds);

/* ---- The exact sum ---------------------------------------------------------------------------------------- */
/* Adds up the ranks' gradients, which are integers, so that the result has the same bits in whatever order they are added. A
 * flat table of `size` elements (a multiple of KM_BLOCK) is cut into buckets, from its end to its start, which is the order in
 * which backward finishes them. Each bucket is cut into one part for each rank, at multiples of KM_BLOCK. A rank owns its part
 * of every bucket: it receives the sums of these elements and updates their weights; then the weights are gathered on all ranks. */
enum { KM_BLOCK = 4096 };    /* elements of a block */
enum { KM_CHUNK = 1 << 15 }; /* elements that a rank reads from another rank's memory, and adds, at a time */

typedef struct km_exchange km_exchange;

/* size: elements of the table; bucket: elements of a bucket. All ranks give the same numbers. Collective. */
km_status km_exchange_create(km_exchange **out, km_comm *comm, size_t size, size_t bucket) KM_NODISCARD;
void km_exchange_destroy(km_exchange *exchange); /* NULL is fine. Collective. */
int km_exchange_buckets(const km_exchange *exchange);
/* Bucket b has the elements *first to *first + *count - 1 of the table. */
void km_exchange_bucket(const km_exchange *exchange, int bucket, size_t *first, size_t *count);
/* A rank's part of bucket b has the elements *first to *first + *count - 1 of the table; *count may be 0. *local is where the part
 * begins in the rank's own compact arrays (moments, received sums), which hold the parts in the table's order. */
void km_exchange_part(const km_exchange *exchange, int bucket, int rank, size_t *first, size_t *count,
                      size_t *local);
size_t km_exchange_owned(const km_exchange *exchange, int rank); /* elements of all its parts */
/* For planning: returns the bytes that an exchange would take on rank `rank` of `ranks`, and sets *owned (may be NULL) to the
 * number of elements that this rank would own. */
size_t km_exchange_bytes(size_t *owned, size_t size, size_t bucket, int rank, int ranks);

/* Begins to add up bucket b of every rank's `sum` (the whole table), which must not be touched until km_exchange_end. All ranks
 * begin buckets in the order 0, 1, 2, ... Collective. */
void km_exchange_begin(km_exchange *exchange, int bucket, int64_t *sum);
/* Lets the sums under way advance: to be called often from the computing thread, since MPI advances transfers only within calls. */
void km_exchange_poll(km_exchange *exchange);
/* Waits for all buckets; returns the sums of the elements that this rank owns, as a compact array. It is valid until the next
 * km_exchange_begin; with one rank it is the caller's `sum` itself. Collective. */
const int64_t *km_exchange_end(km_exchange *exchange);
/* Gathers one number for each block on all ranks. `blocks` has size/KM_BLOCK doubles; each rank has filled those of the parts
 * that it owns. Collective. */
void km_exchange_gather_blocks(km_exchange *exchange, double *blocks);
/* Gathers the weights on all ranks. `weights` is the whole table; each rank has filled the parts that it owns. Collective. */
void km_exchange_gather(km_exchange *exchange, float *weights);
/* Fills every rank's compact array `owned` from rank 0, where `read` is called for every part of every rank and fills `data`
 * with the elements first to first + count - 1 of the table. When it fails, all ranks get its failure. Collective. */
typedef km_status km_part_reader(void *payload, size_t first, size_t count, float *data);
km_status km_exchange_distribute(km_exchange *exchange, float *owned, km_part_reader *read,
                                 void *payload) KM_NODISCARD;

/* ---- Arrays to rank 0 in the background ------------------------------------------------------------------------- */
/* Every rank's array of floats goes to rank 0 in pieces, messages of bounded size: the first pieces of ranks 0, 1, 2, ..., then
 * their second pieces, and so on. No call but km_pieces_finish waits: transfers advance in polls. Rank 0 takes pieces in that
 * order and says when it no longer needs them; only a few are on their way at a time, so that a slow disk delays the senders
 * instead of filling rank 0's memory. The messages have a communicator of their own, so other calls may come in between. */
typedef struct km_pieces km_pieces;
typedef struct km_piece {
    int rank;
    size_t first, count; /* elements of that rank's array */
    const float *data;   /* valid until the piece is released; NULL: the rank has failed and sent nothing */
    /* Why rank 0 failed, where `rank` is 0 and `data` is NULL; else NULL, or without a failure. */
    const km_error *error;
} km_piece;
enum { KM_PIECES_IN_FLIGHT = 4 };

/* Prepares transfers in which the array of rank r has at most most[r] elements. All ranks give the same numbers. Collective. */
km_status km_pieces_create(km_pieces **out, km_comm *comm, const size_t *most) KM_NODISCARD;
void km_pieces_destroy(km_pieces *pieces); /* No transfer may be under way. NULL is fine. Collective. */
/* For planning: the bytes that km_pieces would take on a rank where the longest array of any rank has `longest` elements. */
size_t km_pieces_bytes(int ranks, int rank, size_t longest);
/* Begins the transfer of `own`, which must not change until km_pieces_over; the array of rank r has counts[r] elements. All
 * ranks begin the same transfers in the same order, but not at the same time. good = false: this rank has failed and sends empty
 * messages. */
void km_pieces_begin(km_pieces *pieces, const float *own, const size_t *counts, bool good);
/* Rank 0: allows the ranks to send `elements` more elements. At the beginning of a transfer none are allowed. */
void km_pieces_allow(km_pieces *pieces, size_t elements);
/* Lets the transfer advance. It never waits. */
void km_pieces_poll(km_pieces *pieces);
/* Rank 0: the next piece; false when it has not come yet. To be called after polls. */
bool km_pieces_take(km_pieces *pieces, km_piece *out);
/* Rank 0: says that the first `number` pieces of this transfer are no longer needed, so that their memory can be used again. */
void km_pieces_release(km_pieces *pieces, uint64_t number);
/* Whether the transfer is over: on rank 0 all pieces were taken, on other ranks all were sent. True when no transfer was begun. */
bool km_pieces_over(const km_pieces *pieces);
/* Elements of all ranks together in the transfer that was begun last. */
size_t km_pieces_elements(const km_pieces *pieces);
/* Ranks other than 0: waits until all own pieces have been sent. */
void km_pieces_finish(km_pieces *pieces);

#endif
