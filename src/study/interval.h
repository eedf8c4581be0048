/* interval: means with 95 % intervals, by Student's t. */
#ifndef KMASK_STUDY_INTERVAL_H
#define KMASK_STUDY_INTERVAL_H

typedef struct km_interval {
    double mean, low, high;
} km_interval;
/* The mean of n values with Student's 95 % interval. */
km_interval km_interval_of(const double *values, int n);
double km_student_quantile(int degrees); /* of 97.5 % */

#endif
