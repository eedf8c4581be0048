/* Layers that look along a sequence: one direction of an LSTM layer, and the windows of a one-dimensional convolution. */
#include "gemm.h"

#include <math.h>
#include <string.h>

/* ---- LSTM ------------------------------------------------------------------------------------------------------- */

static float sigmoid(float x) {
    return 1.0f / (1.0f + expf(-x));
}

/* One step of one sequence. gates (4H): in i|f|g|o before their activations, out after; before (H): the cell of the step before, or
 * NULL at the first. */
static void cell_forward(float *hidden, float *cell, float *gates, const float *before, int H) {
    for (int j = 0; j < H; j++) {
        const float i = sigmoid(gates[j]), f = sigmoid(gates[H + j]);
        const float g = tanhf(gates[2 * H + j]), o = sigmoid(gates[3 * H + j]);
        cell[j] = (before != NULL ? f * before[j] : 0.0f) + i * g;
        hidden[j] = o * tanhf(cell[j]);
        gates[j] = i;
        gates[H + j] = f;
        gates[2 * H + j] = g;
        gates[3 * H + j] = o;
    }
}

/* dcell (H): in the gradient of this step's cell that comes from the step behind it, out that of the cell before. */
static void cell_backward(float *dgates, float *dcell, const float *dhidden, const float *gates, const float *cell,
                          const float *before, int H) {
    for (int j = 0; j < H; j++) {
        const float i = gates[j], f = gates[H + j], g = gates[2 * H + j], o = gates[3 * H + j];
        const float t = tanhf(cell[j]), dc = dcell[j] + dhidden[j] * o * (1.0f - t * t);
        dgates[j] = dc * g * i * (1.0f - i);
        dgates[H + j] = before != NULL ? dc * before[j] * f * (1.0f - f) : 0.0f;
        dgates[2 * H + j] = dc * i * (1.0f - g * g);
        dgates[3 * H + j] = dhidden[j] * t * o * (1.0f - o);
        dcell[j] = dc * f;
    }
}

void km_lstm_forward(float *hidden, float *cells, float *gates, const float *w, const km_lstm *shape) {
    const size_t H = (size_t)shape->H;
    size_t at = 0, before = 0;
    for (int t = 0; t < shape->steps; t++) {
        const int rows = shape->active[t];
        if (t > 0) {
            km_gemm(&(km_matrix){hidden + before * H, shape->H, false}, &(km_matrix){w, shape->H, true},
                    gates + at * 4 * H, 4 * shape->H, rows, 4 * shape->H, shape->H, true);
        }
        for (size_t r = 0; r < (size_t)rows; r++) {
            cell_forward(hidden + (at + r) * H, cells + (at + r) * H, gates + (at + r) * 4 * H,
                         t > 0 ? cells + (before + r) * H : NULL, shape->H);
        }
        before = at;
        at += (size_t)rows;
    }
}

void km_lstm_backward(float *dgates, float *dhidden, float *dcell, const float *gates, const float *cells,
                      const float *w, const km_lstm *shape) {
    const size_t H = (size_t)shape->H;
    size_t at = (size_t)shape->tokens;
    memset(dcell, 0, (shape->steps > 0 ? (size_t)shape->active[0] : 0) * H * sizeof *dcell);
    for (int t = shape->steps - 1; t >= 0; t--) {
        const int rows = shape->active[t];
        at -= (size_t)rows;
        const size_t before = t > 0 ? at - (size_t)shape->active[t - 1] : 0;
        for (size_t r = 0; r < (size_t)rows; r++) {
            cell_backward(dgates + (at + r) * 4 * H, dcell + r * H, dhidden + (at + r) * H,
                          gates + (at + r) * 4 * H, cells + (at + r) * H, t > 0 ? cells + (before + r) * H : NULL,
                          shape->H);
        }
        if (t > 0) {
            km_gemm(&(km_matrix){dgates + at * 4 * H, 4 * shape->H, false}, &(km_matrix){w, shape->H, false},
                    dhidden + before * H, shape->H, rows, shape->H, 4 * shape->H, true);
        }
    }
}

/* ---- Convolution ------------------------------------------------------------------------------------------------ */

void km_windows_forward(float *out, const float *x, const int32_t *starts, int views, int C, int K) {
    for (int v = 0; v < views; v++) {
        for (int n = starts[v]; n < starts[v + 1]; n++) {
            float *row = out + (size_t)n * (size_t)C * (size_t)K;
            for (int k = 0; k < K; k++) {
                const int from = n + k - K / 2;
                const bool inside = from >= starts[v] && from < starts[v + 1];
                for (int c = 0; c < C; c++) {
                    row[(size_t)c * (size_t)K + (size_t)k] =
                        inside ? x[(size_t)from * (size_t)C + (size_t)c] : 0.0f;
                }
            }
        }
    }
}

void km_windows_backward(float *dx, const float *dout, const int32_t *starts, int views, int C, int K) {
    memset(dx, 0, (size_t)starts[views] * (size_t)C * sizeof *dx);
    for (int v = 0; v < views; v++) {
        for (int n = starts[v]; n < starts[v + 1]; n++) {
            const float *row = dout + (size_t)n * (size_t)C * (size_t)K;
            for (int k = 0; k < K; k++) {
                const int from = n + k - K / 2;
                for (int c = 0; from >= starts[v] && from < starts[v + 1] && c < C; c++) {
                    dx[(size_t)from * (size_t)C + (size_t)c] += row[(size_t)c * (size_t)K + (size_t)k];
                }
            }
        }
    }
}
