/* A few threads that do the same job side by side. The caller is worker 0: with one worker no thread is made. */
#ifndef KMASK_TRAIN_POOL_H
#define KMASK_TRAIN_POOL_H

#include "kmask/base.h"

typedef struct km_pool km_pool;
typedef void km_job(void *payload, int worker);

km_status km_pool_create(km_pool **out, int workers) KM_NODISCARD;
void km_pool_destroy(km_pool *pool); /* NULL is fine */
int km_pool_workers(const km_pool *pool);
/* job(payload, w) for each worker w at once; returns when all are done. */
void km_pool_run(km_pool *pool, km_job *job, void *payload);
/* The same in two halves: the caller does its own part, worker 0's, in between. */
void km_pool_begin(km_pool *pool, km_job *job, void *payload);
void km_pool_end(km_pool *pool);

#endif
