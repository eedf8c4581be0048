/* notes: what a model's file says beside its weights: how the model came here, and how it was trained and answers. */
#include "notes.h"

#include <stdlib.h>
#include <string.h>

static km_json *notes_of(const km_bundle *bundle) {
    km_json *json = NULL;
    const char *text = bundle->source;
    return text != NULL && km_json_parse_decimals(&json, text, strlen(text), "source") == KM_OK ? json : NULL;
}

static km_json *copy_of(const km_json *json) {
    km_json *copy = NULL;
    char *text = km_json_print(json, false);
    if (km_json_parse_decimals(&copy, text, strlen(text), "source") != KM_OK) {
        copy = NULL; /* what was printed is always JSON */
    }
    free(text);
    return copy;
}

void km_bundle_note(km_bundle *bundle, const char *key, km_json *value) {
    km_json *notes = notes_of(bundle);
    notes = notes != NULL ? notes : km_json_object();
    km_json_set(notes, key, value);
    free(bundle->source);
    bundle->source = km_json_print(notes, false);
    km_json_destroy(notes);
}

km_json *km_bundle_noted(const km_bundle *bundle, const char *key) {
    km_json *notes = notes_of(bundle);
    const km_json *found = km_json_get(notes, key);
    km_json *copy = found != NULL ? copy_of(found) : NULL;
    km_json_destroy(notes);
    return copy;
}

char *km_notes_without(const km_bundle *bundle, const char *key) {
    km_json *notes = notes_of(bundle), *rest = km_json_object();
    for (const km_json *item = km_json_first(notes); item != NULL; item = km_json_next(item)) {
        if (strcmp(km_json_key(item), key) != 0) {
            km_json_set(rest, km_json_key(item), copy_of(item));
        }
    }
    char *text = notes != NULL ? km_json_print(rest, false) : NULL;
    km_json_destroy(rest);
    km_json_destroy(notes);
    return text;
}
