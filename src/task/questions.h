/* questions: private to task. Texts with the answers that are accepted, as text-to-text tasks have them. */
#ifndef KMASK_TASK_QUESTIONS_H
#define KMASK_TASK_QUESTIONS_H

#include "kmask/task.h"

/* Reads a file, compressed with gzip or not, in one of the forms in which questions are published. A .csv or .tsv is a table, whose
 * `columns` have the text and the answer: one, or a list such as ["a", "b"] or ['a', 'b']. Anything else is JSON: an object a line, a list
 * of objects, or one object with a list of articles. What an object is, follows from its keys:
 *
 *   source, target, context, choices       kmask's own; target is a text or a list of accepted answers
 *   question, answer (or answers)          open-domain question answering; context and choices (or options) may be there too
 *   input, output: [{answer}, ...]         KILT (Petroni et al. 2021), without the provenance
 *   text, mentions: [[begin, end, title]]  entity linking; each mention is marked in its text as KILT's AIDA has it
 *   data: [{paragraphs: [...]}]            SQuAD, and ROPES, whose background and situation are the context
 *   Data: [{Question, Answer}]             TriviaQA
 *
 * A question in the form of UnifiedQA (Khashabi et al. 2020), "question \n (A) first (B) second \n context" with a backslash and an n,
 * also says what its options are. Each record has the text, the context as its pair (NULL: none), the accepted answers without
 * duplicates, and the first of them as its label. With columns->label_may_lack a question may have no answer, and has no label; else
 * those without are left out and counted. KM_FAILED names file and place. Free with km_records_free, also after a failure. */
km_status km_questions_read(km_records *out, const char *path, const km_columns *columns) KM_NODISCARD;

/* What a model reads of a question: the text; its options, where the text does not have them already; and with `context` its context; with
 * " \n " between them, as UnifiedQA has it. `lower`: in lower case. The caller frees. */
char *km_question_source(const km_record *record, bool context, bool lower);

/* What stands around a mention in KILT's entity linking. */
#define KM_MENTION_BEGINS "[START_ENT]"
#define KM_MENTION_ENDS "[END_ENT]"

#endif
