/* options: the section `data` of a config, and its choices by their names. */
#include "kmask/corpus.h"

#include <string.h>

/* ---- Names ---- */

static const char *const packings[] = {
    [KM_PACK_FULL_SENTENCES] = "full_sentences", [KM_PACK_DOCUMENTS] = "documents", [KM_PACK_STREAM] = "stream"};
static const char *const units[] = {
    [KM_UNIT_SUBWORD] = "subword", [KM_UNIT_WORD] = "word", [KM_UNIT_SPAN] = "span", [KM_UNIT_SALIENT] = "salient"};
enum { CHOICES = KM_UNIT_SALIENT }; /* units that an option may name */

static bool find(int *out, const char *name, const char *const *names, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0) {
            *out = (int)i;
            return true;
        }
    }
    return false;
}

bool km_packing_named(km_packing *out, const char *name) {
    int found = 0;
    bool known = find(&found, name, packings, KM_COUNT(packings));
    if (known) {
        *out = (km_packing)found;
    }
    return known;
}

bool km_unit_named(km_unit *out, const char *name) {
    int found = 0;
    bool known = find(&found, name, units, CHOICES);
    if (known) {
        *out = (km_unit)found;
    }
    return known;
}

const char *km_unit_name(km_unit unit) {
    return units[unit];
}

const char *km_unit_counted(km_unit unit) {
    return unit == KM_UNIT_SUBWORD ? "tokens" : unit == KM_UNIT_SALIENT ? "names, dates and numbers" : "words";
}

const char *km_packing_names(void) {
    static char names[KM_NAMES];
    return km_names_join(names, packings, KM_COUNT(packings));
}

const char *km_unit_names(void) {
    static char names[KM_NAMES];
    return km_names_join(names, units, CHOICES);
}

/* ---- The section ---- */

#define AT(member) offsetof(km_data_config, member)
static const km_option data_options[] = {
    {"train", KM_FILE, AT(train), NULL, KM_REQUIRED, KM_MAY_CHANGE,
     .help = "the corpus; another path must have the same content",
     .also = "train_file|train_data|train_path|train_dataset|dataset|dataset_name|corpus|data_path|input_file|"
             "train_data_file"},
    {"eval", KM_FILE, AT(eval), NULL, NULL, KM_MAY_CHANGE, .help = "a corpus that is held out",
     .also = "validation_file|eval_file|dev_file|valid|validation|dev|eval_data|eval_dataset|valid_subset|eval_"
             "data_file|holdout"},
    {"length", KM_INT, AT(length), "3..65535", "128", KM_FIXED,
     .help = "tokens of a row, with first and last special token",
     .also = "max_seq_length|max_sequence_length|max_length|max_seq_len|seq_length|seq_len|sequence_length|block_"
             "size|tokens_per_sample|context_length|max_tokens"},
    {"packing", KM_CHOICE, AT(packing), NULL, "full_sentences", KM_FIXED,
     .help = "whole sentences; the same, never across documents; or filled to the brim",
     .choices = km_packing_names, .also = "sample_break_mode|group_texts|line_by_line|pack"},
};
#undef AT
KM_SECTION(km_data_section, "data", km_data_config, data_options);
