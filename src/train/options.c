/* options: the sections `train`, `optimizer`, `schedule` and `parallel` of a config. */
#include "kmask/train.h"

#include <string.h>

#define AT(member) offsetof(km_train_config, member)
static const km_option train_options[] = {
    {"steps", KM_INT, AT(steps), "1..1e9", KM_REQUIRED, KM_MAY_CHANGE,
     .help = "updates in all; a pass over the corpus takes its rows / sequences of them",
     .consequence = "the schedule follows the new end",
     .also = "epochs|num_epochs|num_train_epochs|max_epochs|max_steps|num_steps|num_train_steps|total_steps|"
             "training_steps|iterations|max_update|total_num_update"},
    {"sequences", KM_INT, AT(sequences), "1..1048576", KM_REQUIRED, KM_FIXED,
     .help = "rows of each step, of all ranks together; memory does not depend on it, so nothing is accumulated by "
             "hand",
     .also =
         "batch_size|train_batch_size|per_device_train_batch_size|per_gpu_train_batch_size|global_batch_size|batch|"
         "bsz|max_sentences|gradient_accumulation_steps|gradient_accumulation|accumulate_grad_batches|update_freq"},
    {"micro_batch", KM_INT, AT(micro_batch), "1..4096", NULL, KM_FIXED,
     .help = "views computed at once by one thread (default: 1024 / length)",
     .also = "micro_batch_size|train_micro_batch_size_per_gpu"},
    {"loss_norm", KM_CHOICE, AT(loss_norm), "tokens|masks", "tokens", KM_FIXED,
     .help = "the summed loss is divided by masked tokens, or by masks (Eq. 4)"},
    {"precision", KM_CHOICE, AT(precision), "fp32|bf16", "fp32", KM_FIXED,
     .help = "of what is multiplied; bf16 is twice as fast on CPUs with AVX512_BF16 or AMX, by oneDNN",
     .also = "fp16|bf16|dtype|torch_dtype|mixed_precision|amp"},
    {"recompute", KM_FLAG, AT(recompute), NULL, "false", KM_MAY_CHANGE,
     .help = "less memory, about a third more work, the same bits",
     .also = "gradient_checkpointing|activation_checkpointing|checkpoint_activations"},
};
#undef AT
KM_SECTION(km_train_section, "train", km_train_config, train_options);

#define AT(member) offsetof(km_optimizer_config, member)
static const km_option optimizer_options[] = {
    {"lr", KM_DOUBLE, AT(lr), ">0..", KM_REQUIRED, KM_FIXED, .help = "learning rate at its peak",
     .also = "learning_rate|peak_lr|max_lr"},
    {"beta1", KM_DOUBLE, AT(beta1), "0..<1", "0.9", KM_FIXED, .help = "AdamW",
     .also = "adam_beta1|betas|adam_betas"},
    {"beta2", KM_DOUBLE, AT(beta2), "0..<1", "0.999", KM_FIXED, .help = "AdamW", .also = "adam_beta2"},
    {"eps", KM_DOUBLE, AT(eps), ">0..1", "1e-6", KM_FIXED, .help = "AdamW",
     .also = "adam_epsilon|adam_eps|epsilon"},
    {"weight_decay", KM_DOUBLE, AT(weight_decay), "0..", "0.01", KM_FIXED, .help = "not on biases and layer norms",
     .also = "decay|wd|l2"},
    {"clip", KM_DOUBLE, AT(clip), "0..", "1", KM_FIXED,
     .help = "largest global norm of the gradient, 0: off (default 0 with loss_norm masks)",
     .also = "max_grad_norm|clip_norm|grad_clip|gradient_clipping|gradient_clip_val"},
    {"init", KM_FLAG, AT(init), NULL, "false", KM_FIXED,
     .help = "take moments and Adam's step count of the checkpoint model.init too; the schedule and the order of "
             "rows begin at 0",
     .also = "load_optimizer|resume_optimizer|load_optimizer_state"},
};
#undef AT
KM_SECTION(km_optimizer_section, "optimizer", km_optimizer_config, optimizer_options);

#define AT(member) offsetof(km_schedule_config, member)
static const km_option schedule_options[] = {
    {"name", KM_CHOICE, AT(name), "linear|cosine|constant|inverse_sqrt", "linear", KM_FIXED,
     .help = "of the learning rate after warmup",
     .also = "lr_scheduler_type|lr_scheduler|scheduler|lr_schedule|decay_type"},
    {"warmup", KM_INT, AT(warmup), "0..1e9", "0", KM_FIXED, .help = "steps from 0 to the full learning rate",
     .also = "warmup_steps|num_warmup_steps|warmup_updates|warmup_ratio|warmup_proportion|warm_up"},
};
#undef AT
KM_SECTION(km_schedule_section, "schedule", km_schedule_config, schedule_options);

#define AT(member) offsetof(km_parallel_config, member)
static const km_option parallel_options[] = {
    {"threads", KM_INT, AT(threads), "1..1024", "1", KM_MAY_CHANGE, .help = "of each rank",
     .also = "num_threads|n_threads|omp_num_threads|cpus_per_task|num_workers|dataloader_num_workers|nproc"},
    {"gemm", KM_CHOICE, AT(gemm), "openblas|onednn", "openblas", KM_MAY_CHANGE,
     .help = "the library that multiplies in fp32; another one, other bits"},
    {"timeout", KM_DOUBLE, AT(timeout), "0..", "600", KM_MAY_CHANGE,
     .help = "seconds without a sign of life or of progress until a run is given up; 0: never",
     .also = "ddp_timeout"},
};
#undef AT
KM_SECTION(km_parallel_section, "parallel", km_parallel_config, parallel_options);

#define AT(member) offsetof(km_proposal_config, member)
static const km_option proposal_options[] = {
    {"width", KM_INT, AT(width), "1..1024", "32", KM_FIXED,
     .help = "of the embeddings of mask.policy proposal's network"},
    {"kernel", KM_INT, AT(kernel), "1..15", "3", KM_FIXED,
     .help = "tokens that its convolution spans, an odd number"},
    {"hidden", KM_INT, AT(hidden), "1..1024", "64", KM_FIXED,
     .help = "units of its convolution and of its linear layer"},
    {"lr", KM_DOUBLE, AT(lr), ">0..", "5e-3", KM_FIXED, .help = "learning rate of its own Adam, which is constant"},
};
#undef AT
KM_SECTION(km_proposal_section, "proposal", km_proposal_config, proposal_options);

km_status km_proposal_net_create(km_policy_net **out, const km_proposal_config *config, int V) {
    const km_policy_shape shape = {.kind = KM_POLICY_PROPOSAL,
                                   .V = V,
                                   .C = (int)config->width,
                                   .H = (int)config->hidden,
                                   .K = (int)config->kernel,
                                   .M = (int)config->hidden};
    return km_policy_net_create(out, &shape);
}

void km_train_resolve(km_train_config *train, km_optimizer_config *optimizer, int64_t length) {
    if (train->micro_batch == 0) {
        train->micro_batch = KM_MAX(1, 1024 / length);
    }
    if (strcmp(train->loss_norm, "masks") == 0 && !km_given(&km_optimizer_section, optimizer, "clip")) {
        /* Gradients of losses that are summed over a mask's tau units are about tau times larger. */
        optimizer->clip = 0;
    }
}

km_status km_schedule_check(const km_schedule_config *schedule, const km_train_config *train) {
    if (train->steps > 0 && schedule->warmup > train->steps) {
        return km_fail(KM_USAGE, "schedule.warmup: found %lld, expected at most train.steps (%lld)",
                       (long long)schedule->warmup, (long long)train->steps);
    }
    return KM_OK;
}
