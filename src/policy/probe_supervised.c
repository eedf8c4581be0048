/* probe_supervised: logits, loss and gradients of a supervised policy. The loss is the mean over rows of the mean of both cross entropies,
 * over a row's real tokens. The logits of padding are what the heads make of a hidden state of 0, as with PyTorch's packed sequences. */
#include "probe.h"

#include <math.h>
#include <stdlib.h>

typedef struct input {
    km_grid ids, mask, start, end;
    int *lengths;
    km_probe_stream stream;
    int32_t *first, *last; /* NULL: no answers are given */
} input;

static void free_input(input *in) {
    km_grid_free(&in->ids);
    km_grid_free(&in->mask);
    km_grid_free(&in->start);
    km_grid_free(&in->end);
    km_probe_stream_free(&in->stream);
    free(in->lengths);
    free(in->first);
    free(in->last);
}

/* Real tokens come first in a row. */
static km_status find_lengths(input *in, const char *path) {
    in->lengths = km_new((size_t)in->ids.rows, sizeof *in->lengths);
    for (int r = 0; r < in->ids.rows; r++) {
        int length = in->ids.lengths[r];
        for (int t = 0; in->mask.values != NULL && t < length; t++) {
            const double seen =
                t < in->mask.length ? in->mask.values[(size_t)r * (size_t)in->mask.length + (size_t)t] : 0;
            length = seen > 0 ? length : t;
        }
        if (length == 0) {
            return km_fail(KM_FAILED, "%s: row %d has no token", path, r);
        }
        in->lengths[r] = length;
    }
    return KM_OK;
}

/* A list with a position for each row, as places in the stream. */
static km_status take_places(int32_t **out, const input *in, const km_json *json, const char *key,
                             const char *path) {
    const km_json *list = km_json_get(json, key);
    *out = km_new((size_t)in->ids.rows, sizeof **out);
    const km_json *item = km_json_first(list);
    for (int r = 0; r < in->ids.rows; r++, item = km_json_next(item)) {
        double at = -1;
        if (!km_json_number(&at, item) || at < 0 || at >= in->lengths[r]) {
            return km_fail(KM_FAILED, "%s: %s: row %d: expected a position from 0 to %d", path, key, r,
                           in->lengths[r] - 1);
        }
        (*out)[r] = in->stream.starts[r] + (int32_t)at;
    }
    return KM_OK;
}

static km_status read_input(input *in, const km_policy *policy, const km_json *json, const char *path) {
    KM_TRY(km_grid_read(&in->ids, json, "input_ids", 2, 0, path));
    if (km_json_get(json, "attention_mask") != NULL) {
        KM_TRY(km_grid_read(&in->mask, json, "attention_mask", 2, 0, path));
        if (in->mask.rows != in->ids.rows) {
            return km_fail(KM_FAILED, "%s: attention_mask: %d rows where input_ids has %d", path, in->mask.rows,
                           in->ids.rows);
        }
    }
    KM_TRY(find_lengths(in, path));
    KM_TRY(km_probe_stream_make(&in->stream, &in->ids, in->lengths, km_policy_net_shape(policy->net)->V,
                                "input_ids", path));
    if (km_json_get(json, "start") == NULL) {
        return KM_OK;
    }
    KM_TRY(take_places(&in->first, in, json, "start", path));
    return take_places(&in->last, in, json, "end", path);
}

static void add_logits(km_probe_file *out, const input *in, const km_policy *policy, const float *logits,
                       int which) {
    static const char *const names[] = {"/start_logits", "/end_logits"}, *const biases[] = {"start.bias",
                                                                                            "end.bias"};
    const size_t T = (size_t)in->ids.length, count = (size_t)in->ids.rows * T;
    const size_t bias = km_table_find(km_policy_net_table(policy->net), biases[which])->offset;
    double *values = km_new(count, sizeof *values);
    for (size_t i = 0; i < count; i++) {
        values[i] = (double)policy->weights[bias];
    }
    for (int r = 0; r < in->ids.rows; r++) {
        for (int t = 0; t < in->lengths[r]; t++) {
            values[(size_t)r * T + (size_t)t] = (double)logits[2 * (in->stream.starts[r] + t) + which];
        }
    }
    km_probe_add(out, names[which], 2, (const uint64_t[]){(uint64_t)in->ids.rows, T}, values);
    free(values);
}

static km_status compute(km_probe_file *out, const input *in, const km_policy *policy, km_policy_work *work) {
    const km_stream *stream = &in->stream.stream;
    const float *logits = km_policy_forward(policy->net, policy->weights, stream, in->ids.rows, work);
    add_logits(out, in, policy, logits, 0);
    add_logits(out, in, policy, logits, 1);
    if (in->last == NULL) {
        return KM_OK;
    }
    km_gradient_double gradient = {km_new(km_policy_net_table(policy->net)->size, sizeof(double))};
    const km_sink sink = km_gradient_double_sink(&gradient);
    float *dlogits = km_new((size_t)stream->tokens * 2, sizeof *dlogits);
    const double loss =
        km_span_loss(logits, in->stream.starts, in->ids.rows, in->first, in->last, dlogits) / in->ids.rows;
    km_policy_backward(policy->net, policy->weights, stream, in->ids.rows, dlogits, true, work, &sink);
    km_probe_add(out, "/loss", 0, NULL, &loss);
    km_probe_add_gradient(out, policy->net, gradient.sum, 1.0 / in->ids.rows);
    free(dlogits);
    free(gradient.sum);
    return KM_OK;
}

km_status km_probe_supervised(const km_policy *policy, const km_json *json, const char *path, km_probe_file *out) {
    input in = {0};
    km_policy_work *work = NULL;
    km_status status = read_input(&in, policy, json, path);
    if (status == KM_OK) {
        status = km_policy_work_create(&work, policy->net, in.stream.stream.tokens, in.ids.rows);
    }
    status = status == KM_OK ? compute(out, &in, policy, work) : status;
    km_policy_work_destroy(work);
    free_input(&in);
    return status;
}
