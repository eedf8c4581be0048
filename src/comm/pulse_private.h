/* What the files of the pulse share. Rank 0 is the hub: it listens, the other ranks, the spokes, connect. */
#ifndef KM_PULSE_PRIVATE_H
#define KM_PULSE_PRIVATE_H

#include "address.h"
#include "comm_private.h"
#include "pulse_watch.h"

#include <poll.h>
#include <pthread.h>

/* ---- The wire: packets of one size, both ways ---- */

typedef enum km_packet_kind { KM_PACKET_BEAT = 1, KM_PACKET_LEAVE, KM_PACKET_END } km_packet_kind;
typedef struct km_packet {
    uint64_t token[2]; /* of this run: others' packets are ignored */
    int32_t kind, rank;
    int32_t culprit; /* of KM_PACKET_END: a rank to be killed by its neighbours; -1: none */
    int32_t reserved;
    km_beat beat;
} km_packet;

/* One connection. */
typedef struct km_line {
    int fd;
    int rank;        /* of the other side; -1: not known yet */
    bool connecting; /* the connection is not made yet */
    double since;    /* opened */
    size_t in, out;  /* bytes of the packet that is arriving; of the one that is leaving and did not fit */
    char arriving[sizeof(km_packet)], leaving[sizeof(km_packet)];
} km_line;

/* Where the hub can be reached: what every rank is told over MPI. */
typedef struct km_meeting {
    uint64_t token[2];
    int32_t count; /* 0: the hub cannot listen */
    km_address addresses[KM_ADDRESSES];
} km_meeting;

/* ---- State ---- */

typedef struct km_pulse {
    int rank, size;
    double timeout, started;
    km_self *self;
    km_process *peers; /* (size) */
    km_meeting meeting;
    km_watch watch; /* the hub's: of all ranks; a spoke's: of the hub, as its rank 0 */
    int listeners[2];
    km_line *lines;
    int line_count;
    struct pollfd *polls;
    int poll_count;
    int wake[2]; /* a pipe: the thread leaves when it can be read */
    pthread_t thread;
    bool warned;
    uint64_t disk_bytes; /* as last looked at */
    km_last_act *last_act;
    void *payload;
} km_pulse;

/* ---- pulse_net.c ---- */
void km_net_listen(km_pulse *pulse);               /* fills listeners and the meeting */
void km_net_accept(km_pulse *pulse, int listener); /* new lines of unknown rank */
void km_net_connect(km_pulse *pulse);              /* a line to every address of the hub */
void km_net_drop(km_pulse *pulse, int line);       /* closes; the last line takes its place */
void km_net_send(km_pulse *pulse, km_line *line, km_packet_kind kind, int culprit);
/* Sends to all lines whose rank is known, or is the hub. */
void km_net_send_all(km_pulse *pulse, km_packet_kind kind, int culprit);
typedef enum km_got { KM_GOT_NOTHING, KM_GOT_PACKET, KM_GOT_END, KM_GOT_ERROR } km_got;
/* The next whole packet of this run; KM_GOT_END: closed by the other side; KM_GOT_ERROR: a broken line or a stranger. */
km_got km_net_receive(km_pulse *pulse, km_line *line, km_packet *packet);
/* Waits for something to happen on any line, at most `seconds`; false when the thread is to leave. */
bool km_net_wait(km_pulse *pulse, double seconds);
void km_net_close(km_pulse *pulse);

/* ---- pulse.c ---- */
km_beat km_pulse_beat(km_pulse *pulse);    /* this rank's, now */
void km_pulse_note_bytes(km_pulse *pulse); /* read and written since the last call: progress */

/* ---- pulse_hub.c, pulse_spoke.c: the threads ---- */
void *km_pulse_hub(void *pulse);
void *km_pulse_spoke(void *pulse);

/* ---- pulse_end.c: sentences, and the end of the process. None returns. ---- */
_Noreturn void km_pulse_end_all(km_pulse *pulse, const km_verdict *verdict);   /* the hub's */
_Noreturn void km_pulse_end_alone(km_pulse *pulse, const km_verdict *verdict); /* a spoke's without a hub */
_Noreturn void km_pulse_end_as_told(km_pulse *pulse, const km_packet *packet); /* a spoke's */

#endif
