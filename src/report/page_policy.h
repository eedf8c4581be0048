/* page_policy: the Content-Security-Policy of a page. */
#ifndef KMASK_PAGE_POLICY_H
#define KMASK_PAGE_POLICY_H

#include "kmask/base.h"

/* Replaces the first @POLICY@ of a finished page, which stands in its Content-Security-Policy, by a policy that allows this
 * page's own <script> and <style> elements and nothing else. Call it last: any later change to a script would stop it. */
km_status report_add_policy(km_buffer *page) KM_NODISCARD;

#endif
