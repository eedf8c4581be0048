/* Any bytes as a probe's input: read, or refused with a sentence; what is read is the model's. */
#include "kmask/model.h"
#include "probe_input.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { VOCABULARY = 50, LONGEST = 18, MOST_LABELS = 3 };

static const km_model *create(const km_model_config *config, km_head_kind head) {
    km_model *model = NULL;
    if (km_model_create(&model, config, head) != KM_OK) {
        abort();
    }
    return model;
}

/* labels 0: it predicts tokens; else a classifier. */
static const km_model *small_roberta(int labels) {
    static const km_model *models[MOST_LABELS + 1];
    const km_model_config config = {.num_labels = labels,
                                    .type = "roberta",
                                    .hidden_act = "gelu",
                                    .vocab_size = VOCABULARY,
                                    .hidden_size = 4,
                                    .num_hidden_layers = 1,
                                    .num_attention_heads = 1,
                                    .intermediate_size = 4,
                                    .max_position_embeddings = LONGEST + 2,
                                    .type_vocab_size = 2,
                                    .layer_norm_eps = 1e-5,
                                    .pad_token_id = 1};
    const km_head_kind head = labels > 0 ? KM_HEAD_CLASSES : KM_HEAD_TOKENS;
    return models[labels] = models[labels] == NULL ? create(&config, head) : models[labels];
}

static const km_model *small_bart(void) {
    static const km_model *model;
    const km_model_config config = {.type = "bart",
                                    .activation_function = "gelu",
                                    .vocab_size = VOCABULARY,
                                    .d_model = 4,
                                    .encoder_layers = 1,
                                    .decoder_layers = 1,
                                    .encoder_attention_heads = 1,
                                    .decoder_attention_heads = 1,
                                    .encoder_ffn_dim = 4,
                                    .decoder_ffn_dim = 4,
                                    .max_position_embeddings = LONGEST,
                                    .pad_token_id = 1,
                                    .decoder_start_token_id = 2};
    return model = model == NULL ? create(&config, KM_HEAD_TOKENS) : model;
}

static void expect(bool good) {
    if (!good) {
        abort();
    }
}

/* classes: of a classifier; 0: the model predicts tokens. */
static void check(const km_probe_input *input, bool two, int classes) {
    int64_t labelled = 0;
    expect(input->rows >= 1 && input->length >= 1 && input->length <= LONGEST);
    expect(input->target >= 1 && input->target <= LONGEST && (two || input->target == input->length));
    expect((input->decoder != NULL) == two && (input->types == NULL) == two);
    for (int i = 0; i < input->rows * input->length; i++) {
        expect(input->ids[i] >= 0 && input->ids[i] < VOCABULARY && input->seen[i] <= 1);
        expect(two || (input->types[i] >= 0 && input->types[i] <= 1));
    }
    expect(input->classifier == (classes > 0) && (input->numbers != NULL) == (classes == 1));
    const int last = classes > 0 ? classes - 1 : VOCABULARY - 1;
    for (int i = 0; i < input->rows * (classes > 0 ? 1 : input->target); i++) {
        labelled += input->labels[i] != KM_NO_LABEL;
        expect(input->labels[i] <= last && (input->labels[i] >= 0 || input->labels[i] == KM_NO_LABEL));
        expect(!two || (input->decoder[i] >= 0 && input->decoder[i] < VOCABULARY));
    }
    expect(labelled == input->labelled);
}

static void read_input(const char *path, const km_model *model, bool two, int classes) {
    km_probe_input input;
    if (km_probe_input_read(&input, path, model) == KM_OK) {
        check(&input, two, classes);
    } else {
        expect(km_message()[0] != '\0');
    }
    km_probe_input_free(&input);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[64];
    int fd = memfd_create("probe", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size) {
        abort();
    }
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    read_input(path, small_roberta(0), false, 0);
    read_input(path, small_roberta(MOST_LABELS), false, MOST_LABELS);
    read_input(path, small_roberta(1), false, 1);
    read_input(path, small_bart(), true, 0);
    close(fd);
    return 0;
}
