/* text_server: a server on rank 0's host where ranks put and get texts, over TCP and before MPI has started. `kmask doctor`
 * needs it under srun, where starting MPI (PMIx) hangs or fails if two hosts do not reach each other. The host
 * follows from the SLURM step's environment; port and secret are in a file that only this user can read. */
#ifndef KM_TEXT_SERVER_H
#define KM_TEXT_SERVER_H

#include "kmask/base.h"

/* On rank 0 this is the server itself; on other ranks it holds the server's address. */
typedef struct km_text_server km_text_server;

/* Whether this process is a task of a SLURM step that srun itself started; then *rank is its number and *size the number of
 * tasks. */
bool km_srun_task(int *rank, int *size);
/* On rank 0 it starts the server, and leaves the step's secret in a file in `folder` or near it (text_secret.h); an error where it
 * cannot. The other ranks look for that file with every request. `size`: the number of ranks. */
km_status km_text_server_open(km_text_server **out, int rank, int size, const char *folder) KM_NODISCARD;
void km_text_server_close(km_text_server *server); /* NULL is fine */
/* Puts a text, which is found by the round and the rank that put it. It makes one attempt: false where rank 0's host did not
 * take it. */
bool km_text_server_put(km_text_server *server, int round, int rank, const char *text);
/* Gets a text; NULL where it is not there or rank 0's host does not answer. The caller frees. */
char *km_text_server_get(km_text_server *server, int round, int rank);

#endif
