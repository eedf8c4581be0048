/* Any bytes as a probe's input: read, or refused with a sentence; what is read is the model's. */
#include "kmask/model.h"
#include "probe_input.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const km_model *small_model(void) {
    static km_model *model;
    const km_model_config config = {.type = "roberta",
                                    .hidden_act = "gelu",
                                    .vocab_size = 50,
                                    .hidden_size = 4,
                                    .num_hidden_layers = 1,
                                    .num_attention_heads = 1,
                                    .intermediate_size = 4,
                                    .max_position_embeddings = 20,
                                    .type_vocab_size = 2,
                                    .layer_norm_eps = 1e-5,
                                    .pad_token_id = 1};
    if (model == NULL && km_model_create(&model, &config, KM_HEAD_TOKENS) != KM_OK) {
        abort();
    }
    return model;
}

static void check(const km_probe_input *input) {
    int64_t labelled = 0;
    for (int i = 0; i < input->rows * input->length; i++) {
        labelled += input->labels[i] != KM_NO_LABEL;
        if (input->ids[i] < 0 || input->ids[i] >= 50 || input->types[i] < 0 || input->types[i] > 1 ||
            input->seen[i] > 1 || input->labels[i] >= 50) {
            abort();
        }
    }
    if (input->rows < 1 || input->length < 1 || input->length > 18 || labelled != input->labelled) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    km_probe_input input;
    char path[64];
    int fd = memfd_create("probe", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size) {
        abort();
    }
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (km_probe_input_read(&input, path, small_model()) == KM_OK) {
        check(&input);
    } else if (km_message()[0] == '\0') {
        abort();
    }
    km_probe_input_free(&input);
    close(fd);
    return 0;
}
