/* records: what the readers of different file forms share. */
#ifndef KMASK_TASK_RECORDS_H
#define KMASK_TASK_RECORDS_H

#include "kmask/task.h"

/* `text` is the records' from now on; returns it. */
char *km_records_keep(km_records *records, char *text);
/* KM_FAILED where a text is too long. */
km_status km_records_add(km_records *records, const km_record *record) KM_NODISCARD;
/* The articles of SemEval 2019 task 4 as published: <article id title> with HTML inside, and in the file beside it, named with
 * "ground-truth" in place of "articles", <article id hyperpartisan="true"/>. Columns are the attributes, and `text` for what is
 * inside, without tags. `text` has a NUL at its end and is changed. */
km_status km_records_read_xml(km_records *out, const char *path, char *text,
                              const km_columns *columns) KM_NODISCARD;

#endif
