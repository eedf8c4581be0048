/* mark: who makes the marks of rows for policies that were learned. */
#include "kmask/run.h"

static km_marker *marker;

void km_run_set_marker(km_marker *to) {
    marker = to;
}

km_status km_run_mark(km_marks **out, km_comm *comm, const km_mask_config *mask, const km_mark_request *request) {
    const km_mask_policy *policy = km_mask_policy_named(mask->policy);
    *out = NULL;
    if (policy == NULL || !policy->needs_model) {
        return KM_OK;
    }
    if (marker == NULL) {
        return km_fail(KM_USAGE, "mask.policy %s: this program cannot mark the rows of a corpus.", mask->policy);
    }
    km_mark_request whole = *request;
    whole.policy = mask->policy;
    whole.model = mask->model;
    whole.kept = (int)KM_MAX(KM_MAX(mask->top, mask->splits), 5);
    return marker(comm, &whole, out);
}
