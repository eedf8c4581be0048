/* Softmax and dropout of a block of attention scores, forward and backward, sixteen scores at a time. */
#include "attention_rows.h"

#include "vector.h"

/* x = exp(x) for x <= 0, by the same formula as km_exp. */
KM_INLINE void exp_below(km_vector *x) {
    const km_vector v = *x;
    const km_vector shifted = v * 1.44269504f + 12582912.0f;
    const km_vector n = shifted - 12582912.0f;
    const km_vector r = (v - n * 0.693359375f) + n * 2.12194440e-4f;
    km_vector p = r * 2.762920432e-03f + 1.673743073e-02f;
    p = p * r + 8.333677578e-02f;
    p = p * r + 3.333304128e-01f;
    p = p * r + 9.999998690e-01f;
    p = p * r + 2.0f;
    p = p * r + 2.0f;
    const km_vector y = p * (km_vector)(((km_vector_bits)shifted << 23) +
                                        (126u << 23)); /* wraps around far below, where the next line replaces it */
    *x = (km_vector)((km_vector_ints)y & ~(v < KM_EXP_LEAST)); /* NaN stays: it is not below */
}

/* Sets lane i to all ones if bit i is set, else to 0. */
KM_INLINE void lanes_of(km_vector_ints *lanes, uint16_t bits) {
    const km_vector_ints own = {1,      1 << 1, 1 << 2,  1 << 3,  1 << 4,  1 << 5,  1 << 6,  1 << 7,
                                1 << 8, 1 << 9, 1 << 10, 1 << 11, 1 << 12, 1 << 13, 1 << 14, 1 << 15};
    *lanes = (own & (int32_t)bits) != 0;
}

/* The sum of the lanes, in a fixed order. */
KM_INLINE float sum_of(const km_vector *x) {
    float sum = 0;
    for (int i = 0; i < KM_LANES; i++) {
        sum += (*x)[i];
    }
    return sum;
}

KM_INLINE int whole_vectors(int count) {
    return (count + KM_LANES - 1) / KM_LANES * KM_LANES;
}

/* How many keys row r sees. */
KM_INLINE int keys_of(const km_score_rows *s, int r) {
    return s->visible == NULL || s->visible[r] > s->T ? s->T : s->visible[r];
}

/* Sets the scores of masked keys, and of the places from the row's `own` keys to `end`, so that their probability becomes 0. */
KM_INLINE void hide(float *x, const uint8_t *seen, int own, int end) {
    for (int t = 0; seen != NULL && t < own; t++) {
        x[t] = seen[t] ? x[t] : -INFINITY;
    }
    for (int t = own; t < end; t++) {
        x[t] = -INFINITY;
    }
}

/* Sets whole vectors of places that only other rows of the block see to 0. */
KM_INLINE void clear(float *x, int from, int end) {
    for (int t = from; t < end; t += KM_LANES) {
        KM_VECTOR_AT(x + t) = (km_vector){0};
    }
}

KM_SIMD void km_attention_rows_forward(float *scores, float *factor, float *lse, const km_score_rows *shape) {
    const km_score_rows s = *shape;
    for (int r = 0; r < s.rows; r++) {
        const int own = keys_of(&s, r), end = whole_vectors(own);
        float *x = scores + (size_t)r * s.ld;
        hide(x, s.seen, own, end);
        const float top = km_largest(x, own) * s.scale;
        km_vector sums = {0};
        if (s.kept == NULL) {
            for (int t = 0; t < end; t += KM_LANES) {
                km_vector p = KM_VECTOR_FROM(x + t) * s.scale - top;
                exp_below(&p);
                sums += p;
                KM_VECTOR_AT(x + t) = p;
            }
        } else {
            const uint16_t *kept = s.kept + (size_t)r * s.kept_row;
            for (int t = 0; t < end; t += KM_LANES) {
                km_vector p = KM_VECTOR_FROM(x + t) * s.scale - top;
                km_vector_ints lanes;
                exp_below(&p);
                lanes_of(&lanes, kept[t / KM_LANES]);
                sums += p;
                KM_VECTOR_AT(x + t) = (km_vector)((km_vector_ints)p & lanes);
            }
        }
        clear(x, end, whole_vectors(s.T));
        const float sum = sum_of(&sums);
        factor[r] = s.kept_scale / sum;
        lse[(size_t)r * s.lse_row] = top + logf(sum);
    }
}

/* With p = exp(score - lse) and d = dp * dropout's factor, the gradient of the scores is p * (d - mean), where the mean is
 * the expected value of d under p. The mean also equals out . dout, but it has to be computed from the same rounded numbers
 * that it is subtracted from: where the values of all keys are nearly equal, d is close to the mean and little is left of the
 * difference. */
KM_SIMD void km_attention_rows_backward(float *scores, float *dp, const float *lse, const km_score_rows *shape) {
    const km_score_rows s = *shape;
    for (int r = 0; r < s.rows; r++) {
        const int own = keys_of(&s, r), end = whole_vectors(own);
        float *x = scores + (size_t)r * s.ld, *g = dp + (size_t)r * s.ld;
        const uint16_t *kept = s.kept == NULL ? NULL : s.kept + (size_t)r * s.kept_row;
        const float denominator = lse[(size_t)r * s.lse_row];
        km_vector totals = {0}, dots = {0};
        hide(x, s.seen, own, end);
        for (int t = 0; t < end; t += KM_LANES) {
            km_vector p = KM_VECTOR_FROM(x + t) * s.scale - denominator, d = KM_VECTOR_FROM(g + t);
            exp_below(&p);
            if (kept != NULL) {
                km_vector_ints lanes;
                lanes_of(&lanes, kept[t / KM_LANES]);
                d = (km_vector)((km_vector_ints)(d * s.kept_scale) & lanes);
                KM_VECTOR_AT(g + t) = d;
            }
            totals += p;
            dots += p * d;
            KM_VECTOR_AT(x + t) = p;
        }
        const float mean = sum_of(&dots) / sum_of(&totals);
        for (int t = 0; t < end; t += KM_LANES) {
            const km_vector p = KM_VECTOR_FROM(x + t);
            KM_VECTOR_AT(g + t) = p * (KM_VECTOR_FROM(g + t) - mean);
            if (kept != NULL) {
                km_vector_ints lanes;
                lanes_of(&lanes, kept[t / KM_LANES]);
                KM_VECTOR_AT(x + t) = (km_vector)((km_vector_ints)(p * s.kept_scale) & lanes);
            }
        }
        clear(x, end, whole_vectors(s.T));
        clear(g, end, whole_vectors(s.T));
    }
}
