/* Means with intervals. */
#include "interval.h"

#include <assert.h>
#include <math.h>

#include "kmask/base.h"

/* The expansion in 1/degrees about the normal quantile (Abramowitz and Stegun 26.7.5), which is exact to 1e-3 from 4 degrees on; for fewer
 * degrees the known values. */
double km_student_quantile(int degrees) {
    static const double few[] = {12.7062, 4.3027, 3.1824};
    assert(degrees >= 1);
    if (degrees <= (int)KM_COUNT(few)) {
        return few[degrees - 1];
    }
    const double z = 1.959963985;
    double z2 = z * z, v = degrees;
    double g1 = z * (z2 + 1) / 4, g2 = z * ((5 * z2 + 16) * z2 + 3) / 96;
    double g3 = z * (((3 * z2 + 19) * z2 + 17) * z2 - 15) / 384;
    double g4 = z * ((((79 * z2 + 776) * z2 + 1482) * z2 - 1920) * z2 - 945) / 92160;
    return z + g1 / v + g2 / (v * v) + g3 / (v * v * v) + g4 / (v * v * v * v);
}

km_interval km_interval_of(const double *values, int n) {
    double mean = 0, squares = 0;
    for (int i = 0; i < n; i++) {
        mean += values[i] / n;
    }
    for (int i = 0; i < n; i++) {
        squares += (values[i] - mean) * (values[i] - mean);
    }
    double half = n > 1 ? km_student_quantile(n - 1) * sqrt(squares / (n - 1) / n) : 0;
    return (km_interval){mean, mean - half, mean + half};
}
