/* The slow twins of the kernels: the formulas of textbooks, in double, element by element, without BLAS. */
#ifndef KMASK_TESTS_KERNEL_TWINS_H
#define KMASK_TESTS_KERNEL_TWINS_H

#include "kernel/support.h"

/* y_no = sum_i x_ni w_oi + b_o */
static inline void twin_linear(double *y, const double *x, const double *w, const double *b, int N, int I, int O) {
    for (int n = 0; n < N; n++) {
        for (int o = 0; o < O; o++) {
            double sum = b == NULL ? 0.0 : b[o];
            for (int i = 0; i < I; i++) {
                sum += x[n * I + i] * w[o * I + i];
            }
            y[n * O + o] = sum;
        }
    }
}

/* The factor of element e of the row with this key, as kernel.h defines it. */
static inline double twin_factor(const km_dropout *d, uint64_t key, uint32_t e) {
    const double threshold = floor((double)d->p * 65536.0 + 0.5);
    const uint32_t counter[4] = {e / 8, d->site, (uint32_t)key, (uint32_t)(key >> 32)};
    uint32_t words[4];
    if (!(d->p > 0)) {
        return 1.0;
    }
    km_philox(words, counter, d->key);
    const uint32_t number = e % 8 < 4 ? words[e % 8] & 0xFFFFu : words[e % 8 - 4] >> 16;
    return (double)number >= threshold ? 1.0 / (1.0 - threshold / 65536.0) : 0.0;
}

static inline void twin_dropout(double *y, const double *x, const km_dropout *d, const uint64_t *keys, int N,
                                int C) {
    for (int n = 0; n < N; n++) {
        for (int c = 0; c < C; c++) {
            y[n * C + c] = x[n * C + c] * twin_factor(d, keys[n], (uint32_t)c);
        }
    }
}

/* y = (x - mean) / sqrt(variance + eps) * w + b; mean and rstd may be NULL. */
static inline void twin_norm(double *y, double *mean, double *rstd, const double *x, const double *w,
                             const double *b, double eps, int N, int C) {
    for (int n = 0; n < N; n++) {
        double m = 0, variance = 0;
        for (int c = 0; c < C; c++) {
            m += x[n * C + c] / C;
        }
        for (int c = 0; c < C; c++) {
            variance += (x[n * C + c] - m) * (x[n * C + c] - m) / C;
        }
        const double r = 1 / sqrt(variance + eps);
        for (int c = 0; c < C; c++) {
            y[n * C + c] = (x[n * C + c] - m) * r * w[c] + b[c];
        }
        if (mean != NULL) {
            mean[n] = m;
            rstd[n] = r;
        }
    }
}

static inline double twin_normal_cdf(double x) {
    return 0.5 * erfc(-x / sqrt(2.0));
}

static inline double twin_activation(double x, km_activation kind) {
    const double pi = 3.14159265358979323846;
    return kind == KM_RELU       ? fmax(x, 0)
           : kind == KM_GELU_ERF ? x * twin_normal_cdf(x)
                                 : 0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x * x * x)));
}

/* p = exp(x) / sum exp(x) for one row; returns the logarithm of the sum. */
static inline double twin_softmax(double *p, const double *x, int V) {
    double top = -INFINITY, sum = 0;
    for (int v = 0; v < V; v++) {
        top = x[v] > top ? x[v] : top;
    }
    for (int v = 0; v < V; v++) {
        sum += exp(x[v] - top);
    }
    for (int v = 0; v < V; v++) {
        p[v] = exp(x[v] - top) / sum;
    }
    return top + log(sum);
}

/* out_i = sum_j factor_ij softmax_j(q_i . k_j / sqrt D) v_j for each view and head. */
static inline void twin_attention(double *out, double *lse, const double *q, const double *k, const double *v,
                                  const km_attention *s) {
    const double scale = 1 / sqrt(s->D);
    for (int view = 0; view < s->views; view++) {
        const int first = s->k_starts[view], keys = s->k_starts[view + 1] - first;
        double *x = malloc((size_t)keys * sizeof *x + 1), *p = malloc((size_t)keys * sizeof *p + 1);
        for (int i = s->q_starts[view]; i < s->q_starts[view + 1]; i++) {
            for (int h = 0; h < s->H; h++) {
                for (int j = 0; j < keys; j++) {
                    x[j] = 0;
                    for (int c = h * s->D; c < (h + 1) * s->D; c++) {
                        x[j] += q[i * s->ldq + c] * k[(first + j) * s->ldk + c] * scale;
                    }
                    const bool seen = s->seen == NULL || s->seen[first + j];
                    x[j] = seen && (s->visible == NULL || j < s->visible[i]) ? x[j] : -INFINITY;
                }
                lse[i * s->H + h] = twin_softmax(p, x, keys);
                for (int j = 0; j < keys; j++) {
                    p[j] *= twin_factor(&s->dropout, s->keys[i], (uint32_t)(h * 65536 + j));
                }
                for (int c = h * s->D; c < (h + 1) * s->D; c++) {
                    out[i * s->ldo + c] = 0;
                    for (int j = 0; j < keys; j++) {
                        out[i * s->ldo + c] += p[j] * v[(first + j) * s->ldk + c];
                    }
                }
            }
        }
        free(x);
        free(p);
    }
}

/* One step of AdamW with gradient g. */
static inline void twin_adamw(double *w, double *m, double *v, const double *g, const km_adamw *o, size_t count) {
    const double lr = (double)o->lr, b1 = (double)o->beta1, b2 = (double)o->beta2, eps = (double)o->eps;
    const double c1 = (double)o->correction1, c2 = (double)o->correction2, decay = (double)o->weight_decay;
    for (size_t i = 0; i < count; i++) {
        m[i] = b1 * m[i] + (1 - b1) * g[i];
        v[i] = b2 * v[i] + (1 - b2) * g[i] * g[i];
        w[i] -= lr * (m[i] / c1 / (sqrt(v[i] / c2) + eps) + decay * w[i]);
    }
}

#endif
