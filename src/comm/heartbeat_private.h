/* heartbeat_private: what the files of the heartbeat share. Rank 0 is the server: it listens. The other ranks, its clients,
 * connect to it. */
#ifndef KM_HEARTBEAT_PRIVATE_H
#define KM_HEARTBEAT_PRIVATE_H

#include "address.h"
#include "comm_private.h"
#include "failure_detector.h"

#include <poll.h>
#include <pthread.h>

/* ---- The protocol ---- */
/* Any program on the network may connect, so each side proves with every packet that it knows the secret, which rank 0 has drawn and
 * broadcast over MPI. When a connection opens, both sides send a nonce: KM_NONCE random bytes. After that they send packets of one
 * size. A packet's proof is the keyed hash of both nonces, of who sends, of how many packets that side has sent before, and of the
 * packet; so no packet can be made, changed, repeated, or sent back by somebody who does not know the secret. */

typedef enum km_packet_kind {
    KM_PACKET_BEAT = 1, /* a heartbeat */
    KM_PACKET_LEAVE,    /* the sender leaves: its silence from now on is no failure */
    KM_PACKET_END       /* from the server: end this process */
} km_packet_kind;
enum { KM_NONCE = 16 };
typedef struct km_packet {
    int32_t kind, rank;
    int32_t kill_rank; /* of KM_PACKET_END: a rank that the ranks of its host are to kill; -1: none */
    int32_t reserved;
    km_beat beat;
    unsigned char proof[KM_PROOF];
} km_packet;

/* One TCP connection. */
typedef struct km_connection {
    int fd;
    int rank;                          /* of the other side; -1: not known yet */
    bool connecting;                   /* connect has not finished yet */
    double since;                      /* when it was opened */
    bool greeted;                      /* the other side's nonce is there: packets can be sent */
    unsigned char nonces[2][KM_NONCE]; /* the server's and the client's */
    uint64_t sent, received;           /* packets */
    size_t in;                         /* bytes of `arriving` that are there */
    size_t out;                        /* bytes at the end of `leaving` that the socket has not taken yet */
    char arriving[sizeof(km_packet)], leaving[sizeof(km_packet)];
} km_connection;

/* Where the server listens: rank 0 broadcasts it over MPI. */
typedef struct km_server_address {
    unsigned char secret[KM_SECRET];
    int32_t count; /* 0: the server cannot listen */
    km_address addresses[KM_ADDRESSES];
} km_server_address;

/* ---- State ---- */

typedef struct km_heartbeat {
    int rank, size;
    double timeout, started;
    km_rank_state *state;  /* this rank's */
    km_process *processes; /* (size) */
    km_server_address server;
    km_detector detector; /* the server's watches all ranks; a client's has one peer, the server */
    int listeners[2];     /* the server's: IPv4 and IPv6; -1: none */
    km_connection *connections;
    int connection_count;
    int attempts;         /* a client's, to connect */
    struct pollfd *polls; /* the wake-up pipe, the two listeners, then the connections */
    int poll_count;
    int wake[2]; /* a pipe: the thread returns when it can be read */
    pthread_t thread;
    bool warned;    /* the log has named the ranks from which no heartbeat has come */
    uint64_t bytes; /* bytes that this process had read and written at the last km_heartbeat_note_bytes */
    km_exit_hook *exit_hook;
    void *payload;
} km_heartbeat;
enum { KM_FIRST_CONNECTION = 3 }; /* in polls */

/* ---- heartbeat_net.c ---- */
void km_net_listen(km_heartbeat *heartbeat);               /* fills `listeners` and `server` */
void km_net_accept(km_heartbeat *heartbeat, int listener); /* adds connections of unknown rank */
/* Begins connections to addresses of the server: at first those in a network that this host is in too, later all but those that are
 * this host's own. */
void km_net_connect(km_heartbeat *heartbeat);
void km_net_greet(km_heartbeat *heartbeat, km_connection *connection); /* sends this side's nonce */
void km_net_drop(km_heartbeat *heartbeat, int connection); /* closes it; the last connection takes its place */
void km_net_send(km_heartbeat *heartbeat, km_connection *connection, km_packet_kind kind, int kill_rank);
/* Sends a packet on all connections whose rank is known. */
void km_net_send_all(km_heartbeat *heartbeat, km_packet_kind kind, int kill_rank);
typedef enum km_received {
    KM_RECEIVED_NOTHING, /* no whole packet is there yet */
    KM_RECEIVED_NONCE,   /* the other side's nonce: packets can be sent now */
    KM_RECEIVED_PACKET,
    KM_RECEIVED_CLOSE, /* the other side has closed the connection */
    KM_RECEIVED_ERROR  /* the connection is broken, or what came is no packet of this run */
} km_received;
km_received km_net_receive(km_heartbeat *heartbeat, km_connection *connection, km_packet *packet);
/* Waits until a socket is ready, at most `seconds`; false when the thread is to return. */
bool km_net_wait(km_heartbeat *heartbeat, double seconds);
void km_net_close(km_heartbeat *heartbeat);

/* ---- heartbeat.c ---- */
km_beat km_heartbeat_own_beat(km_heartbeat *heartbeat); /* this rank's state now */
/* Counts as progress what this process has read and written since the last call. */
void km_heartbeat_note_bytes(km_heartbeat *heartbeat);

/* ---- heartbeat_server.c, heartbeat_client.c: the threads ---- */
void *km_heartbeat_server(void *heartbeat);
void *km_heartbeat_client(void *heartbeat);

/* ---- heartbeat_end.c: reports a failure and ends the process. None of these returns. ---- */
_Noreturn void km_heartbeat_end_all(km_heartbeat *heartbeat,
                                    const km_failure *failure); /* the server ends all ranks */
_Noreturn void km_heartbeat_end_alone(km_heartbeat *heartbeat,
                                      const km_failure *failure); /* a client has lost the server */
_Noreturn void km_heartbeat_end_as_told(km_heartbeat *heartbeat,
                                        const km_packet *packet); /* a client was told to end */

#endif
