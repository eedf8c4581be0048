/* A text server on rank 0's host: ranks put texts there and get them, over TCP and before MPI has started. `kmask doctor` needs it
 * under srun, where starting MPI (PMIx) hangs or fails if two hosts do not reach each other. Host and port follow from the
 * SLURM step's environment, so the ranks need no other way to find it. */
#ifndef KM_TEXT_SERVER_H
#define KM_TEXT_SERVER_H

#include "kmask/base.h"

/* On rank 0 the server itself; on other ranks where it is. */
typedef struct km_text_server km_text_server;

/* Whether this process is a task of a SLURM step that srun itself started; then its number, and how many there are. */
bool km_srun_task(int *rank, int *size);
/* NULL where rank 0 cannot listen. */
km_text_server *km_text_server_open(int rank);
void km_text_server_close(km_text_server *server); /* NULL is fine */
/* A text is known by the round and rank that put it. One attempt: false where rank 0's host did not take it. */
bool km_text_server_put(km_text_server *server, int round, int rank, const char *text);
/* NULL: it is not there, or rank 0's host does not answer. The caller frees. */
char *km_text_server_get(km_text_server *server, int round, int rank);

#endif
