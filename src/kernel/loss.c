/* Softmax and cross entropy over the vocabulary. */
#include "bf16.h"

#include <math.h>

/* x = exp(x - top); returns the sum of the results, which is NaN if one of x is. */
KM_INLINE float exponentials(float *x, float top, int V) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int v = 0; v < V; v++) {
        x[v] = km_exp(x[v] - top);
        sum += x[v];
    }
    return sum;
}

/* The same sum; x stays as it is. */
KM_INLINE float sum_of_exponentials(const float *x, float top, int V) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int v = 0; v < V; v++) {
        sum += km_exp(x[v] - top);
    }
    return sum;
}

KM_INLINE void scale(float *x, float factor, int V) {
    for (int v = 0; v < V; v++) {
        x[v] *= factor;
    }
}

KM_INLINE void add_row(float *x, const float *bias, int V) {
    for (int v = 0; bias != NULL && v < V; v++) {
        x[v] += bias[v];
    }
}

/* 1 if the label has the largest logit and no lower id has an equal one, else 0. */
KM_INLINE uint8_t is_best(const float *x, int32_t label, float top) {
    if (x[label] != top) {
        return 0;
    }
    for (int32_t v = 0; v < label; v++) {
        if (x[v] == top) {
            return 0;
        }
    }
    return 1;
}

KM_SIMD void km_loss(float *logits, float *loss, uint8_t *hit, const float *bias, const int32_t *labels,
                     bool backward, int M, int V) {
    for (int m = 0; m < M; m++) {
        float *x = logits + (size_t)m * (size_t)V;
        add_row(x, bias, V);
        const float top = km_largest(x, V), at_label = x[labels[m]];
        if (hit != NULL) {
            hit[m] = is_best(x, labels[m], top);
        }
        float sum = backward ? exponentials(x, top, V) : sum_of_exponentials(x, top, V);
        if (loss != NULL) {
            loss[m] = logf(sum) - (at_label - top);
        }
        if (backward) {
            scale(x, 1.0f / sum, V);
            x[labels[m]] -= 1.0f;
        }
    }
}

/* The sum of x - top, in double: it is a sum of V numbers of one sign. */
KM_INLINE double sum_of_distances(const float *x, float top, int V) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int v = 0; v < V; v++) {
        sum += (double)(x[v] - top);
    }
    return sum;
}

/* x = x * factor - less. */
KM_INLINE void scale_and_lower(float *x, float factor, float less, int V) {
    for (int v = 0; v < V; v++) {
        x[v] = x[v] * factor - less;
    }
}

KM_SIMD void km_loss_smoothed(float *logits, float *loss, uint8_t *hit, const float *bias, const int32_t *labels,
                              float kept, float spread, int M, int V) {
    for (int m = 0; m < M; m++) {
        float *x = logits + (size_t)m * (size_t)V;
        add_row(x, bias, V);
        const float top = km_largest(x, V), at_label = x[labels[m]];
        hit[m] = is_best(x, labels[m], top);
        const float all = (float)sum_of_distances(x, top, V), sum = exponentials(x, top, V);
        loss[m] = logf(sum) - kept * (at_label - top) - spread * all;
        scale_and_lower(x, 1.0f / sum, spread, V);
        x[labels[m]] -= kept;
    }
}

/* to (V) = x * factor. `to` may begin at the same address as x: numbers are read before their place is overwritten. */
KM_INLINE void scale_bf16(km_bf16 *to, const float *x, float factor, int V) {
    enum { STRETCH = 256 };
    km_bf16 piece[STRETCH];
    for (int v = 0; v < V; v += STRETCH) {
        const int count = V - v < STRETCH ? V - v : STRETCH;
        for (int i = 0; i < count; i++) {
            piece[i] = km_bf16_of(x[v + i] * factor);
        }
        memcpy(to + v, piece, (size_t)count * sizeof *to);
    }
}

KM_SIMD void km_loss_bf16(float *logits, float *loss, uint8_t *hit, const float *bias, const int32_t *labels, int M,
                          int V) {
    for (int m = 0; m < M; m++) {
        float *x = logits + (size_t)m * (size_t)V;
        add_row(x, bias, V);
        const float top = km_largest(x, V), at_label = x[labels[m]];
        hit[m] = is_best(x, labels[m], top);
        const float sum = exponentials(x, top, V);
        loss[m] = logf(sum) - (at_label - top);
        x[labels[m]] -= sum;
        scale_bf16((km_bf16 *)(void *)x, x, 1.0f / sum, V);
    }
}

KM_SIMD void km_softmax(float *logits, const float *bias, int M, int V) {
    for (int m = 0; m < M; m++) {
        float *x = logits + (size_t)m * (size_t)V;
        add_row(x, bias, V);
        float sum = exponentials(x, km_largest(x, V), V);
        scale(x, 1.0f / sum, V);
    }
}

KM_SIMD void km_log_softmax(float *logits, int M, int V) {
    for (int m = 0; m < M; m++) {
        float *x = logits + (size_t)m * (size_t)V;
        const float top = km_largest(x, V), rest = logf(sum_of_exponentials(x, top, V));
        for (int v = 0; v < V; v++) {
            x[v] = (x[v] - top) - rest;
        }
    }
}
