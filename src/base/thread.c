/* thread: starting a thread, and a pool of threads that do the same job at the same time. */
#include "kmask/base.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

typedef struct worker {
    km_pool *pool;
    pthread_t thread;
    int number;
} worker;

struct km_pool {
    int workers;
    worker *others; /* (workers - 1) all but worker 0, which is the caller */
    int started;
    pthread_mutex_t mutex;
    pthread_cond_t wake, done;
    uint64_t round; /* the number of jobs so far: a worker that has done fewer has a job to do */
    int busy;
    bool quit;
    km_job *job;
    void *payload;
};

static void *work(void *argument) {
    worker *self = argument;
    km_pool *pool = self->pool;
    uint64_t seen = 0;
    pthread_mutex_lock(&pool->mutex);
    for (;;) {
        km_op_begin(KM_OP_IDLE);
        while (pool->round == seen && !pool->quit) {
            pthread_cond_wait(&pool->wake, &pool->mutex);
        }
        km_op_end();
        if (pool->quit) {
            break;
        }
        seen = pool->round;
        pthread_mutex_unlock(&pool->mutex);
        pool->job(pool->payload, self->number);
        pthread_mutex_lock(&pool->mutex);
        if (--pool->busy == 0) {
            pthread_cond_signal(&pool->done);
        }
    }
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

int km_thread_start(pthread_t *thread, void *(*run)(void *payload), void *payload) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(thread, NULL, run, payload);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

km_status km_pool_create(km_pool **out, int workers) {
    *out = NULL;
    km_pool *pool = km_new(1, sizeof *pool);
    pool->workers = workers;
    pool->others = km_new((size_t)workers, sizeof *pool->others);
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->done, NULL);
    *out = pool;
    for (int i = 0; i < workers - 1; i++) {
        pool->others[i] = (worker){.pool = pool, .number = i + 1};
        int failed = km_thread_start(&pool->others[i].thread, work, &pool->others[i]);
        if (failed) {
            km_pool_destroy(pool);
            *out = NULL;
            return km_fail_errno(failed, "parallel.threads: cannot start thread %d of %d", i + 2, workers);
        }
        pool->started++;
    }
    return KM_OK;
}

void km_pool_destroy(km_pool *pool) {
    if (pool == NULL) {
        return;
    }
    pthread_mutex_lock(&pool->mutex);
    pool->quit = true;
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
    for (int i = 0; i < pool->started; i++) {
        pthread_join(pool->others[i].thread, NULL);
    }
    pthread_mutex_destroy(&pool->mutex);
    pthread_cond_destroy(&pool->wake);
    pthread_cond_destroy(&pool->done);
    free(pool->others);
    free(pool);
}

int km_pool_workers(const km_pool *pool) {
    return pool->workers;
}

void km_pool_begin(km_pool *pool, km_job *job, void *payload) {
    pthread_mutex_lock(&pool->mutex);
    pool->job = job;
    pool->payload = payload;
    pool->busy = pool->started;
    pool->round++;
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
}

void km_pool_end(km_pool *pool) {
    km_op_begin(KM_OP_IDLE);
    pthread_mutex_lock(&pool->mutex);
    while (pool->busy > 0) {
        pthread_cond_wait(&pool->done, &pool->mutex);
    }
    pthread_mutex_unlock(&pool->mutex);
    km_op_end();
}

void km_pool_run(km_pool *pool, km_job *job, void *payload) {
    km_pool_begin(pool, job, payload);
    job(payload, 0);
    km_pool_end(pool);
}
