/* metric: how good predictions are. Metrics of predictions against what was expected, the scores of anyone's files, and a test of
 * whether two series of scores differ. Everything is local. */
#ifndef KMASK_METRIC_H
#define KMASK_METRIC_H

#include "kmask/base.h"

/* ---- Metrics -------------------------------------------------------------------------------------------------- */
/* Each is computed as the program that the field uses computes it, degenerate cases included:
 *
 *   accuracy, f1, f1_macro, f1_micro, matthews   scikit-learn; what has no denominator is 0
 *   pearson, spearman                            scipy.stats; NaN where one side is constant or there are fewer than 2 examples
 *   em, f1_token                                 the SQuAD script, which KILT's and DPR's agree with: lower case, no ASCII punctuation, no articles, one blank between
 *                                                words; the best over an example's accepted answers
 *   em_regex                                     DrQA's script for CuratedTREC: accepted answers are regular expressions, of which one
 *                                                matches at the prediction's beginning
 *   has_answer                                   DPR's qa_validation: the tokens of an accepted answer (km_text_tokens) occur in the prediction's, one behind the other
 *   rouge_l                                      rouge_score's rougeL, F-measure without stemming; the best over accepted answers
 *   choice                                       the share of examples whose prediction overlaps most with the right option
 *
 * f1 is that of class "1" where there is one, else of the second class. All are 0..1, correlations -1..1. */
typedef enum km_metric {
    KM_METRIC_ACCURACY,
    KM_METRIC_F1,
    KM_METRIC_F1_MACRO,
    KM_METRIC_F1_MICRO,
    KM_METRIC_MATTHEWS,
    KM_METRIC_PEARSON,
    KM_METRIC_SPEARMAN,
    KM_METRIC_EM,
    KM_METRIC_F1_TOKEN,
    KM_METRIC_ROUGE_L,
    KM_METRIC_CHOICE,
    KM_METRIC_EM_REGEX,
    KM_METRIC_HAS_ANSWER,
    KM_METRICS
} km_metric;

typedef enum km_metric_of { KM_METRIC_OF_CLASSES, KM_METRIC_OF_NUMBERS, KM_METRIC_OF_ANSWERS } km_metric_of;

const char *km_metric_name(km_metric metric);
bool km_metric_named(km_metric *out, const char *name);
km_metric_of km_metric_kind(km_metric metric);
/* The names of all metrics with bars between them, for messages and option tables. */
const char *km_metric_names(void);

/* gold and predicted (n): classes 0..classes-1; positive: the class that f1 is of. A predicted class that no example has counts as
 * any other. n = 0 gives NaN. */
double km_metric_of_classes(km_metric metric, const int32_t *gold, const int32_t *predicted, size_t n,
                            int32_t classes, int32_t positive);
/* gold and predicted (n). NaN where one of them holds a number that is not finite. */
double km_metric_of_numbers(km_metric metric, const double *gold, const double *predicted, size_t n);

/* One example with a text as its answer. */
typedef struct km_answer {
    const char *predicted;
    const char *const *accepted; /* (accepted_count) */
    int accepted_count;
    const char *const *
        options; /* (option_count) of a multiple choice; 0: the metric `choice` compares with the accepted answers */
    int option_count;
} km_answer;
/* The metric of one example; a metric of many is the mean of these. */
double km_metric_of_answer(km_metric metric, const km_answer *answer);
/* The text as the SQuAD script normalizes it before it compares. The caller frees. */
char *km_answer_normalize(const char *text);

/* Scores predictions against what was expected, a line an example in each file; `metrics`: names with commas between them.
 *
 *   classes   a label a line; the classes are the labels of both files, in ascending order of their bytes
 *   numbers   a number a line
 *   answers   gold: the accepted answers with tabs between them; predictions: an answer
 *   choice    gold: the right option, then the other options, with tabs between them; predictions: an answer
 *
 * *out: {"<metric>": value, ...}, the caller's. Files that cannot be scored (other numbers of lines, no number where one is
 * needed) are KM_FAILED with file, line and what was expected. */
km_status km_score_files(km_json **out, const char *metrics, const char *gold, const char *predicted) KM_NODISCARD;

/* Student's t-test for paired samples a and b (n >= 2): two-sided p, as scipy.stats.ttest_rel has it. NaN where all differences are
 * equal to 0; 0 where they are equal and not 0. */
double km_paired_t_test(double *t, const double *a, const double *b, size_t n);

#endif
