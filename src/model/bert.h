/* Private to model/: what RoBERTa has in common with BERT. Everything but the rows of positions, the names and the defaults. */
#ifndef KMASK_MODEL_BERT_H
#define KMASK_MODEL_BERT_H

#include "architecture.h"

/* Sets sizes of a preset that are not given. */
void km_bert_fill_sizes(km_model_config *config, int64_t width, int64_t layers, int64_t heads,
                        int64_t intermediate);
/* Sets what follows from the type and is not given. */
void km_bert_fill(km_model_config *config, int64_t positions, int64_t types, double eps);
/* All but the pad token's id, which may be `least_pad` or more. */
km_status km_bert_check(const km_model_config *config);
km_status km_bert_check_pad(const km_model_config *config, int64_t least);
void km_bert_take_config(km_model *model);
void km_bert_place(km_model *model, km_table *table);
void km_bert_clear_rows(const km_model *model, float *weights);
void km_bert_forward(const km_pass *pass);
void km_bert_backward(const km_pass *pass);

/* In their config.json and in the names of their tensors, both have the same. */
extern const km_interchange_switch km_bert_switches[];
extern const char *const km_bert_words[], *const km_bert_backbone[], *const km_bert_unused[],
                                                                         *const km_bert_buffers[];
extern const char *const km_bert_required[], *const km_bert_dropouts[];

#endif
