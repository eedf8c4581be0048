/* page_policy: the Content-Security-Policy of a page. It names the page's own scripts and styles by their SHA-256, so that a
 * browser runs nothing else, loads nothing, and refuses every attempt to parse a text as HTML. */
#include "page_policy.h"

#include <stdlib.h>
#include <string.h>

/* Adds 'sha256-...' for what stands between each `<tag>` and `</tag>`. Elements with attributes are data and not run. */
static void add_hashes(km_buffer *out, const char *page, const char *tag) {
    char *begin = km_format("<%s>", tag), *end = km_format("</%s>", tag), hash[KM_SHA256_TEXT];
    for (const char *at = strstr(page, begin); at != NULL; at = strstr(at, begin)) {
        at += strlen(begin);
        const char *stop = strstr(at, end);
        if (stop == NULL) {
            break;
        }
        km_sha256_base64(hash, at, (size_t)(stop - at));
        km_buffer_print(out, " 'sha256-%s'", hash);
    }
    free(begin);
    free(end);
}

km_status report_add_policy(km_buffer *page) {
    static const char marker[] = "@POLICY@";
    const char *place = page->size > 0 ? strstr(page->data, marker) : NULL;
    if (place == NULL) {
        return km_fail(KM_FAILED, "a page has no %s; this kmask is built wrongly", marker);
    }
    km_buffer out = {0};
    km_buffer_add(&out, page->data, (size_t)(place - page->data));
    km_buffer_print(&out, "default-src 'none'; base-uri 'none'; form-action 'none'; "
                          "require-trusted-types-for 'script'; trusted-types 'none'; script-src");
    add_hashes(&out, page->data, "script");
    km_buffer_print(&out, "; style-src");
    add_hashes(&out, page->data, "style");
    place += strlen(marker);
    km_buffer_add(&out, place, page->size - (size_t)(place - page->data));
    km_buffer_free(page);
    *page = out;
    return KM_OK;
}
