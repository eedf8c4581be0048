/* Other encodings, by ICU: conversion to UTF-8, and a guess at what an encoding is. */
#include <stdlib.h>
#include <unicode/ucnv.h>
#include <unicode/ucnv_err.h>
#include <unicode/ucsdet.h>

#include "kmask/text.h"

enum { PIVOT = 4096, SURE = 10 /* of 100: below this the detector has no idea */ };

struct km_converter {
    UConverter *source, *target;
    UChar pivot[PIVOT], *pivot_from, *pivot_to;
    uint64_t replaced;
    bool begun, ended;
};

/* Called where a sequence of bytes has no character. */
static void count_and_replace(const void *context, UConverterToUnicodeArgs *arguments, const char *bytes,
                              int32_t count, UConverterCallbackReason reason, UErrorCode *code) {
    uint64_t *replaced = (uint64_t *)(uintptr_t)context;
    if (reason <= UCNV_IRREGULAR) {
        *replaced += 1;
    }
    UCNV_TO_U_CALLBACK_SUBSTITUTE(NULL, arguments, bytes, count, reason, code);
}

km_status km_converter_create(km_converter **out, const char *encoding) {
    km_converter *c = km_new(1, sizeof *c);
    UErrorCode code = U_ZERO_ERROR;
    c->source = *encoding != '\0' ? ucnv_open(encoding, &code) : NULL;
    c->target = c->source != NULL ? ucnv_open("UTF-8", &code) : NULL;
    if (c->target != NULL) {
        ucnv_setToUCallBack(c->source, count_and_replace, &c->replaced, NULL, NULL, &code);
    }
    c->pivot_from = c->pivot_to = c->pivot;
    *out = c;
    if (c->target == NULL || U_FAILURE(code)) {
        km_converter_destroy(c);
        *out = NULL;
        return km_fail(
            KM_USAGE,
            "--encoding %.60s: no encoding of this name is known; expected one like utf-8, utf-16, latin-1, "
            "windows-1252, cp1251, koi8-r, gb18030, big5, shift_jis or euc-kr",
            encoding);
    }
    return KM_OK;
}

void km_converter_destroy(km_converter *converter) {
    if (converter != NULL) {
        ucnv_close(converter->source);
        ucnv_close(converter->target);
        free(converter);
    }
}

size_t km_converter_run(km_converter *c, const char **from, const char *end, bool last, char *to, size_t room) {
    UErrorCode code = U_ZERO_ERROR;
    char *at = to;
    if (!c->ended) {
        ucnv_convertEx(c->target, c->source, &at, to + room, from, end, c->pivot, &c->pivot_from, &c->pivot_to,
                       c->pivot + PIVOT, !c->begun, last, &code);
        c->begun = true;
        c->ended = last && code != U_BUFFER_OVERFLOW_ERROR;
    }
    return (size_t)(at - to);
}

uint64_t km_converter_replaced(const km_converter *converter) {
    return converter->replaced;
}

char *km_encoding_guess(const char *text, size_t count) {
    UErrorCode code = U_ZERO_ERROR;
    UCharsetDetector *detector = ucsdet_open(&code);
    char *name = NULL;
    if (detector != NULL) {
        ucsdet_setText(detector, text, (int32_t)KM_MIN(count, (size_t)1 << 20), &code);
        const UCharsetMatch *match = ucsdet_detect(detector, &code);
        if (U_SUCCESS(code) && match != NULL && ucsdet_getConfidence(match, &code) >= SURE) {
            name = km_strdup(ucsdet_getName(match, &code));
        }
        ucsdet_close(detector);
    }
    return name;
}
