/* outputs: the two files of a measurement in its folder. */
#ifndef KMASK_STUDY_OUTPUTS_H
#define KMASK_STUDY_OUTPUTS_H

#include "kmask/base.h"

/* Whether <folder>/<name>.json and .h5 may be written: asked before hours of work. The folder is there. */
km_status km_outputs_check(const char *folder, const char *name) KM_NODISCARD;

#endif
