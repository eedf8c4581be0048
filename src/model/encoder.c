/* Layers in a row. The last one makes its output at the labelled tokens alone. */
#include "parts.h"

static km_rows all_rows(const km_pass *pass) {
    return (km_rows){pass->batch->input.tokens, pass->batch->input.starts, pass->batch->input.keys, NULL};
}

static km_rows labelled_rows(const km_pass *pass) {
    return (km_rows){pass->batch->labelled, pass->work->labelled_starts, pass->work->labelled_keys,
                     pass->batch->at};
}

static km_rows rows_of_layer(const km_pass *pass, int l) {
    return l == pass->model->L - 1 ? labelled_rows(pass) : all_rows(pass);
}

static uint32_t site_of_layer(int l) {
    return KM_SITE_LAYERS + KM_SITES_PER_LAYER * (uint32_t)l;
}

static void name_labelled_rows(const km_pass *pass) {
    const km_batch *batch = pass->batch;
    km_work *work = pass->work;
    int m = 0;
    work->labelled_starts[0] = 0;
    for (int view = 0; view < batch->views; view++) {
        for (; m < batch->labelled && batch->at[m] < batch->input.starts[view + 1]; m++) {
            work->labelled_keys[m] = batch->input.keys[batch->at[m]];
        }
        work->labelled_starts[view + 1] = m;
    }
}

static void run_layer(const km_pass *pass, int l) {
    km_work *work = pass->work;
    km_rows rows = rows_of_layer(pass, l);
    km_layer_forward(pass, &pass->model->layers[l], &work->acts[l], work->hidden[l], &rows, site_of_layer(l));
}

void km_encoder_forward(const km_pass *pass) {
    name_labelled_rows(pass);
    for (int l = 0; l < pass->model->L; l++) {
        run_layer(pass, l);
    }
}

void km_encoder_backward(const km_pass *pass) {
    const km_model *model = pass->model;
    km_work *work = pass->work;
    for (int l = model->L - 1; l >= 0; l--) {
        bool last = l == model->L - 1;
        km_rows rows = rows_of_layer(pass, l);
        if (work->options.recompute && !last) { /* the last layer's activations are still there */
            run_layer(pass, l);
        }
        km_layer_backward(pass, &model->layers[l], &work->acts[l], work->hidden[l], &rows, site_of_layer(l),
                          last ? work->d_at : work->d, work->d);
        pass->sink->done(pass->sink->payload, model->layers[l].qkv.w);
    }
}
