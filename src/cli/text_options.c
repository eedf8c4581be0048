/* text_options: the options of the verbs that read text. */
#include <string.h>

#include "cli.h"

/* The place of a name in "first|second|third", from 0. The name is one of them: cli_parse has refused all others. */
static size_t place_of(const char *name, const char *choices, size_t count) {
    size_t place = 0;
    for (const char *at = choices; *at != '\0' && place < count; at += *at == '|', place++) {
        const size_t length = strcspn(at, "|");
        if (strlen(name) == length && strncmp(at, name, length) == 0) {
            return place;
        }
        at += length;
    }
    return 0;
}

km_form cli_form(const char *name) {
    static const km_form forms[] = {KM_FORM_AUTO, KM_FORM_TEXT, KM_FORM_JSONL, KM_FORM_CSV, KM_FORM_TSV};
    return forms[place_of(name, CLI_FORMATS, KM_COUNT(forms))];
}

km_invalid cli_invalid(const char *name) {
    static const km_invalid ways[] = {KM_INVALID_REPLACE, KM_INVALID_SKIP, KM_INVALID_REFUSE};
    return *name != '\0' ? ways[place_of(name, CLI_INVALID, KM_COUNT(ways))] : KM_INVALID_JUDGE;
}

km_document cli_document(const char *name) {
    static const km_document documents[] = {KM_DOCUMENT_BLANK, KM_DOCUMENT_LINE, KM_DOCUMENT_FILE};
    return documents[place_of(name, CLI_DOCUMENTS, KM_COUNT(documents))];
}
