/* Faults, for tests: KMASK_FAULT="place:n[:fail]" kills the process with SIGKILL at its n-th passage through `place`, or
 * with ":fail" makes that passage fail. */
#ifdef KMASK_FAULTS
#include "kmask/base.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

km_status km_fault(const char *place) {
    static int passages;
    const char *wanted = getenv("KMASK_FAULT");
    size_t size = strlen(place);
    if (wanted == NULL || strncmp(wanted, place, size) != 0 || wanted[size] != ':') {
        return KM_OK;
    }
    char *rest = NULL;
    if (__atomic_add_fetch(&passages, 1, __ATOMIC_RELAXED) != (int)strtol(wanted + size + 1, &rest, 10)) {
        return KM_OK;
    }
    if (strcmp(rest, ":fail") == 0) {
        return km_fail(KM_FAILED, "%s: failed as asked for by KMASK_FAULT", place);
    }
    (void)raise(SIGKILL);
    return KM_OK;
}
#else
typedef int km_no_faults; /* a translation unit is never empty */
#endif
