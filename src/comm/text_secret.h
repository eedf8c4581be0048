/* text_secret: how the tasks of a SLURM step know each other before MPI has started. Rank 0 leaves a file of mode 600 in a folder that
 * the hosts share. It holds a secret and the port on which rank 0 listens. Other users, who see the ids of job and step, cannot
 * read it. */
#ifndef KM_TEXT_SECRET_H
#define KM_TEXT_SECRET_H

#include "kmask/base.h"

typedef struct km_text_secret {
    unsigned char secret[KM_SECRET];
    uint16_t port;
} km_text_secret;

/* Writes rank 0's file into `folder`, or the nearest folder above it that exists, or else into the home folder. The caller removes
 * *path and frees it. */
km_status km_text_secret_write(char **path, const km_text_secret *secret, const char *folder) KM_NODISCARD;
/* Reads it on another rank; false where it is not there (yet), or where somebody else could have written or read it. */
bool km_text_secret_read(km_text_secret *out, const char *folder);

#endif
