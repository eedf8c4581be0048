/* span: the loss of spans that are known, and the best spans of a sequence (Ye et al. 2021, section 4.2). */
#include "kmask/policy.h"

#include <math.h>

/* -log softmax(column of the logits)[answer] over places begin..end-1; the gradient, half of it counted, where dlogits is not NULL. */
static double column_loss(const float *logits, float *dlogits, int column, int32_t begin, int32_t end,
                          int32_t answer) {
    double most = -INFINITY, sum = 0;
    for (int32_t n = begin; n < end; n++) {
        most = KM_MAX(most, (double)logits[2 * n + column]);
    }
    for (int32_t n = begin; n < end; n++) {
        sum += exp((double)logits[2 * n + column] - most);
    }
    for (int32_t n = begin; dlogits != NULL && n < end; n++) {
        const double p = exp((double)logits[2 * n + column] - most) / sum;
        dlogits[2 * n + column] = (float)(0.5 * (p - (n == answer ? 1 : 0)));
    }
    return log(sum) + most - (double)logits[2 * answer + column];
}

double km_span_loss(const float *logits, const int32_t *starts, int views, const int32_t *first,
                    const int32_t *last, float *dlogits) {
    double loss = 0;
    for (int v = 0; v < views; v++) {
        loss += 0.5 * column_loss(logits, dlogits, 0, starts[v], starts[v + 1], first[v]);
        loss += 0.5 * column_loss(logits, dlogits, 1, starts[v], starts[v + 1], last[v]);
    }
    return loss;
}

/* Puts a span where it belongs among the best; spans come by start, then by length, and an equal one goes behind. */
static int insert(km_mark_span *out, int count, int top, km_mark_span span) {
    if (count == top && !(span.score > out[top - 1].score)) {
        return count;
    }
    int at = count < top ? count : top - 1;
    for (; at > 0 && span.score > out[at - 1].score; at--) {
        out[at] = out[at - 1];
    }
    out[at] = span;
    return KM_MIN(count + 1, top);
}

static bool begins(const km_span_rule *rule, int at) {
    return rule->starts_word == NULL || rule->starts_word[at];
}

int km_span_best(km_mark_span *out, int top, const float *logits, const km_span_rule *rule, int length) {
    int count = 0;
    for (int i = 0; i < length; i++) {
        int units = 0;
        for (int j = i; j < length && rule->allowed[j] && begins(rule, i); j++) {
            units += begins(rule, j);
            if (units > rule->longest) {
                break;
            }
            if (j + 1 == length || !rule->allowed[j + 1] || begins(rule, j + 1)) {
                const km_mark_span span = {
                    .begin = (uint16_t)i, .end = (uint16_t)(j + 1), .score = logits[2 * i] + logits[2 * j + 1]};
                count = insert(out, count, top, span);
            }
        }
    }
    return count;
}
