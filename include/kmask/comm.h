/* comm: ranks. Shares of work, agreement, pieces to rank 0, and the exact sum over a flat table cut in parts.
 * The only floor that sees MPI. Calls are collective where their comment ends with "Collective."; all MPI calls
 * come from the thread that opened the communicator. */
#ifndef KMASK_COMM_H
#define KMASK_COMM_H

#include "kmask/base.h"

typedef struct km_comm km_comm;

/* MPI_Init (alone too: one rank), muted log on all ranks but 0. Collective. */
km_status km_comm_open(km_comm **out, int *argc, char ***argv) KM_NODISCARD;
void km_comm_close(km_comm *comm);             /* Collective. NULL is fine. */
void km_comm_abort(km_comm *comm, int status); /* ends every rank at once; does not return */
int km_comm_rank(const km_comm *comm);
int km_comm_size(const km_comm *comm);
/* Seconds that this rank has spent since the start in what exchanges with other ranks, transfers and waiting: its computing
 * thread did nothing else meanwhile. What goes on while it computes is not in it. */
double km_comm_seconds(const km_comm *comm);
/* For tests: exchanges created from now on take every run of `ranks` consecutive ranks for one node (found when the
 * communicator is opened). False when nodes cannot be that long. The same on all ranks. */
bool km_comm_set_node(km_comm *comm, int ranks);
/* For tests: exchanges created from now on send every share by message, as where ranks of a node may not read each other's
 * memory. The same on all ranks. */
void km_comm_set_apart(km_comm *comm, bool apart);

/* Everyone learns whether anyone failed: returns `mine` of the lowest failing rank, whose message and kind of error all ranks
 * then have; KM_OK when all are KM_OK. Wrap what can fail on one rank only: KM_TRY(km_comm_agree(comm, f(...))).
 * Collective. */
km_status km_comm_agree(km_comm *comm, km_status mine) KM_NODISCARD;

void km_comm_sum(km_comm *comm, int64_t *values, int count);      /* in place. Collective. */
void km_comm_max(km_comm *comm, double *values, int count);       /* in place. Collective. */
void km_comm_broadcast(km_comm *comm, void *bytes, size_t count); /* from rank 0. Collective. */
void km_comm_scan(km_comm *comm, uint64_t *values, int count); /* exclusive prefix sums over ranks. Collective. */
void km_comm_barrier(km_comm *comm);                           /* Collective. */
/* Bytes between two different ranks (blocking; any size). */
void km_comm_send(km_comm *comm, const void *bytes, size_t count, int to);
void km_comm_receive(km_comm *comm, void *bytes, size_t count, int from);

/* Rank r's contiguous run of `count` pieces of work: first and number. Runs differ by at most one. */
void km_share(uint64_t *first, uint64_t *number, uint64_t count, int rank, int size);

/* ---- Signs of life ---------------------------------------------------------------------------------------- */
/* Outside MPI, which waits for ever for a rank that is stopped or cut off: a thread of every rank beats over a TCP
 * connection to rank 0, which beats back. A rank that is silent or gone is named in one sentence on standard error (host,
 * rank, pid, step, phase) and every rank has ended, with status 1, within `timeout` seconds of its last sign of life;
 * likewise all ranks once none has made progress for so long. A rank that is steadily slower than the others is named in
 * the log. What the ranks say of themselves costs an atomic store. */
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

/* On rank 0, in a thread of its own, before the process ends: a last act (a status file). `reason` is the sentence, `step`
 * rank 0's. It has two seconds, fewer where the timeout is short. */
typedef void km_last_act(void *payload, const char *reason, int64_t step);
/* timeout 0: no watch. Where no TCP connection comes about the log says so, and training goes on unwatched. `payload` lives
 * until km_pulse_stop. Collective. */
void km_pulse_start(km_comm *comm, double timeout, km_last_act *last_act, void *payload);
void km_pulse_stop(km_comm *comm); /* takes leave, so that nobody waits for this rank; never started is fine */
/* All below: any thread, also without a pulse. Returns the phase before. */
km_phase km_pulse_phase(km_comm *comm, km_phase phase);
void km_pulse_step(km_comm *comm, int64_t step);
/* Progress within a phase: to be called at least every few seconds of work that is getting on. The sums, transfers and
 * bytes that the process reads and writes count by themselves. */
void km_pulse_tick(km_comm *comm);
/* Seconds of one micro-batch's arithmetic on this rank: what stragglers are found by. */
void km_pulse_pace(km_comm *comm, double seconds);

/* ---- Whether ranks reach each other ------------------------------------------------------------------------ */
/* For `kmask doctor`. Over a wire that is cut MPI waits for ever, or ends the job. So until it is known that all wires are
 * there, nothing is sent over MPI: ranks and rank 0 exchange texts through mpirun, which has reached every host (MPI's name
 * service), under srun over TCP by rank 0's host, before MPI has even started (its start needs all wires); elsewhere by MPI
 * messages. Over TCP connections of their own they find out who reaches whom. Everything has a time limit. */
typedef struct km_star km_star;
/* Starts MPI where texts need it, and nothing more. Collective. */
km_status km_star_open(km_star **out, int *argc, char ***argv) KM_NODISCARD;
/* Before the first ping. Collective. */
km_status km_star_start_mpi(km_star *star, int *argc, char ***argv) KM_NODISCARD;
void km_star_close(km_star *star); /* without waiting for what never came. NULL is fine. */
/* For tests: texts go by MPI messages although the launcher has a name service. The same on all ranks. */
void km_star_use_messages(km_star *star);
int km_star_rank(const km_star *star);
int km_star_size(const km_star *star);
/* Everyone's text to rank 0, where the result is one text a rank, NULL for those of which none came in time; the caller
 * frees all. NULL elsewhere. Collective. */
char **km_star_gather(km_star *star, const char *text, double seconds);
/* Rank 0's text to everyone; NULL where it did not come in time. The caller frees. Collective. */
char *km_star_spread(km_star *star, const char *text, double seconds);
/* Over MPI with another rank, which calls the same: `times` messages of `bytes` there and back. Seconds of one way;
 * negative where they did not come in time, after which nothing more is sent over MPI. */
double km_star_ping(km_star *star, int other, size_t bytes, int times, double seconds);
/* "Open MPI 4.1.4: ob1 over tcp, vader"; the caller frees. */
char *km_star_transport(void);

/* A listening socket and a thread that tells every caller who is there and what time it is. */
typedef struct km_door km_door;
typedef struct km_visit {
    const char *door; /* of another host: what km_door_print gave there */
    bool reached;
    char address[64];                /* the one that answered first */
    double round_trip, clock_offset; /* seconds; the other host's clock less ours */
} km_visit;
km_status km_door_open(km_door **out) KM_NODISCARD;
void km_door_close(km_door *door);        /* NULL is fine */
char *km_door_print(const km_door *door); /* all that others need; the caller frees */
/* Knocks at all doors at once. Local. */
void km_door_visit(km_visit *visits, int count, double seconds);

/* ---- The exact sum ---------------------------------------------------------------------------------------- */
/* A flat table of `size` elements (a multiple of KM_BLOCK) is cut into buckets, from its end to its start, which is
 * the order in which backward finishes them; each bucket into one part a rank, on block ends. A rank owns its part
 * of every bucket: it gets the sums there, updates the weights there, and the weights are then gathered. */
enum { KM_BLOCK = 4096 };
enum {
    KM_CHUNK = 1 << 15
}; /* elements that a rank of a node reads out of another one's memory, and adds, at a time */

typedef struct km_exchange km_exchange;

/* Collective: all ranks give the same numbers. */
km_status km_exchange_create(km_exchange **out, km_comm *comm, size_t size, size_t bucket) KM_NODISCARD;
void km_exchange_destroy(km_exchange *exchange);
int km_exchange_buckets(const km_exchange *exchange);
/* Elements first..first+count-1 of the table are bucket b's. */
void km_exchange_bucket(const km_exchange *exchange, int bucket, size_t *first, size_t *count);
/* Rank's part of bucket b: elements first..first+count-1 of the table (count may be 0); `local` is where the part
 * begins in the rank's own compact arrays (moments, received sums), which hold the parts in the table's order. */
void km_exchange_part(const km_exchange *exchange, int bucket, int rank, size_t *first, size_t *count,
                      size_t *local);
size_t km_exchange_owned(const km_exchange *exchange, int rank); /* elements of all parts together */
/* The same for an exchange of so many ranks that is not there, and the bytes that it would take on a rank; *owned may be
 * NULL. Local. */
size_t km_exchange_bytes(size_t *owned, size_t size, size_t bucket, int rank, int ranks);

/* Starts adding up bucket b of every rank's `sum` (the whole table; not touched again until km_exchange_end);
 * all ranks begin buckets in the order 0, 1, 2, ... Collective. */
void km_exchange_begin(km_exchange *exchange, int bucket, int64_t *sum);
/* Lets pending sums advance (Open MPI has no progress thread): call it now and then from the computing thread. */
void km_exchange_poll(km_exchange *exchange);
/* Waits for all buckets; returns the owned sums, compact (valid until the next begin; with one rank they are the caller's
 * array itself). Collective. */
const int64_t *km_exchange_end(km_exchange *exchange);
/* Every rank's owned block values to every rank, at their place: `blocks` has size/KM_BLOCK doubles, of which the
 * caller has filled those of its own parts. Collective. */
void km_exchange_gather_blocks(km_exchange *exchange, double *blocks);
/* Every rank's parts of `weights` to all ranks. Collective. */
void km_exchange_gather(km_exchange *exchange, float *weights);
/* Compact arrays of one rank at a time to rank 0 (in: owned floats; on rank 0 `piece` is called for every part of
 * every rank with its place in the table; data is valid during the call only). A failing `piece` is reported to all
 * by the return value. Collective. */
typedef km_status km_piece(void *payload, size_t first, size_t count, const float *data);
km_status km_exchange_collect(km_exchange *exchange, const float *owned, km_piece *piece,
                              void *payload) KM_NODISCARD;
/* The way back: on rank 0 `piece` fills data for each part. Collective. */
typedef km_status km_fill(void *payload, size_t first, size_t count, float *data);
km_status km_exchange_distribute(km_exchange *exchange, float *owned, km_fill *fill, void *payload) KM_NODISCARD;

/* ---- Pieces to rank 0 while other work goes on ---------------------------------------------------------------- */
/* Every rank has an array of floats, which goes to rank 0 in messages of bounded size: the first piece of ranks 0, 1,
 * 2, ..., then their second pieces, and so on. Nothing here waits but km_pieces_finish: what has been begun advances
 * in polls. Rank 0 takes pieces in that order and says when it is done with them; few are on their way at a time, so a
 * slow taker holds up the senders and nobody's memory grows. Own messages, so no other call is mixed up with them. */
typedef struct km_pieces km_pieces;
typedef struct km_arrived {
    int rank;
    size_t first, count; /* elements of that rank's array */
    const float *data;   /* valid until it is released; NULL: the sender had to give up */
    const km_error
        *error; /* then, of rank 0's own: the reason, as long as data would be valid; else NULL or empty */
} km_arrived;
enum { KM_PIECES_UNDER_WAY = 4 };

/* Rank r's array has times * counts[r] elements, `times` being given anew for each transfer, up to `most_times`; all
 * ranks give the same numbers. Collective. */
km_status km_pieces_create(km_pieces **out, km_comm *comm, const size_t *counts, int most_times) KM_NODISCARD;
void km_pieces_destroy(km_pieces *pieces); /* NULL is fine; nothing may be under way. Collective. */
/* Bytes that a rank's km_pieces takes, for the same numbers. */
size_t km_pieces_bytes(int ranks, int rank, size_t largest);
/* A transfer of `own`, which stays as it is until km_pieces_over. All ranks begin the same ones in the same order, each
 * when it comes to it. Not `good`: this rank has nothing to send but word of its failure. */
void km_pieces_begin(km_pieces *pieces, const float *own, int times, bool good);
/* Rank 0 lets `elements` more be sent (at first: none). */
void km_pieces_allow(km_pieces *pieces, size_t elements);
void km_pieces_poll(km_pieces *pieces);
/* Rank 0: the next piece, if it is there; to be asked after polls. */
bool km_pieces_take(km_pieces *pieces, km_arrived *out);
/* Rank 0: so many pieces of this transfer, in their order, are done with. */
void km_pieces_release(km_pieces *pieces, uint64_t number);
/* Rank 0: all pieces were taken; others: all were sent. True when nothing was begun. */
bool km_pieces_over(const km_pieces *pieces);
size_t km_pieces_elements(const km_pieces *pieces); /* of all ranks, of the transfer begun last */
/* Not on rank 0: waits until all own pieces were sent. */
void km_pieces_finish(km_pieces *pieces);

#endif
