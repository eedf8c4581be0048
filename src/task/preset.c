/* preset: the columns, labels and metrics of published tasks, as their files are distributed. */
#include "preset.h"
#include "kind.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { FILES = 4 };

typedef struct preset {
    const char *name;
    bool numbers;
    const char *files[KM_SPLITS][FILES]; /* names in the task's folder, of which the first that is there is taken */
    bool no_header;                      /* of train and dev */
    const char *text[2], *pair, *label;
    const char *test_text[2]; /* of the published test file without labels, where its columns are others */
    bool skip_short;
    const char *labels, *metrics; /* with commas between them; labels NULL: those of train */
} preset;

#define TSV_FILES                                                                                                  \
    {                                                                                                              \
        {"train.tsv", "train.tsv.gz"}, {"dev.tsv", "dev.tsv.gz"}, {                                                \
            "test.tsv", "test.tsv.gz"                                                                              \
        }                                                                                                          \
    }
#define JSONL_FILES                                                                                                \
    {                                                                                                              \
        {"train.jsonl", "train.jsonl.gz"}, {"dev.jsonl", "dev.jsonl.gz"}, {                                        \
            "test.jsonl", "test.jsonl.gz"                                                                          \
        }                                                                                                          \
    }

/* GLUE (Wang et al. 2019): the metrics, and which one counts, are those of its paper. */
static const preset presets[] = {
    {.name = "cola",
     .files = TSV_FILES,
     .no_header = true,
     .text = {"4"},
     .label = "2",
     .test_text = {"sentence"},
     .labels = "0,1",
     .metrics = "matthews,accuracy"},
    {.name = "sst2",
     .files = TSV_FILES,
     .text = {"sentence"},
     .label = "label",
     .labels = "0,1",
     .metrics = "accuracy"},
    {.name = "mrpc",
     .files = {{"train.tsv", "train.tsv.gz", "msr_paraphrase_train.txt", "msr_paraphrase_train.txt.gz"},
               {"dev.tsv", "dev.tsv.gz"},
               {"test.tsv", "test.tsv.gz", "msr_paraphrase_test.txt", "msr_paraphrase_test.txt.gz"}},
     .text = {"#1 String"},
     .pair = "#2 String",
     .label = "Quality",
     .labels = "0,1",
     .metrics = "f1,accuracy"},
    {.name = "qqp",
     .files = TSV_FILES,
     .text = {"question1"},
     .pair = "question2",
     .label = "is_duplicate",
     .skip_short = true,
     .labels = "0,1",
     .metrics = "f1,accuracy"},
    {.name = "stsb",
     .numbers = true,
     .files = TSV_FILES,
     .text = {"sentence1"},
     .pair = "sentence2",
     .label = "score",
     .metrics = "pearson,spearman"},
    {.name = "mnli",
     .files = {{"train.tsv", "train.tsv.gz"},
               {"dev_matched.tsv", "dev_matched.tsv.gz"},
               {"dev_mismatched.tsv", "dev_mismatched.tsv.gz"}}, /* so that both parts are scored */
     .text = {"sentence1"},
     .pair = "sentence2",
     .label = "gold_label",
     .labels = "entailment,neutral,contradiction",
     .metrics = "accuracy"},
    {.name = "qnli",
     .files = TSV_FILES,
     .text = {"question"},
     .pair = "sentence",
     .label = "label",
     .labels = "entailment,not_entailment",
     .metrics = "accuracy"},
    {.name = "rte",
     .files = TSV_FILES,
     .text = {"sentence1"},
     .pair = "sentence2",
     .label = "label",
     .labels = "entailment,not_entailment",
     .metrics = "accuracy"},
    {.name = "wnli",
     .files = TSV_FILES,
     .text = {"sentence1"},
     .pair = "sentence2",
     .label = "label",
     .labels = "0,1",
     .metrics = "accuracy"},
    {.name = "acl-arc", .files = JSONL_FILES, .text = {"text"}, .label = "label", .metrics = "f1_macro,accuracy"},
    {.name = "sciie", .files = JSONL_FILES, .text = {"text"}, .label = "label", .metrics = "f1_macro,accuracy"},
    {.name = "hyperpartisan",
     .files = {{"articles-training-byarticle-20181122.xml", "articles-training-byarticle-20181122.xml.gz"}},
     .text = {"title", "text"},
     .label = "hyperpartisan",
     .labels = "false,true",
     .metrics = "f1_macro,accuracy"},
    {.name = "agnews",
     .files = {{"train.csv", "train.csv.gz"}, {"dev.csv"}, {"test.csv", "test.csv.gz"}},
     .no_header = true,
     .text = {"2", "3"},
     .label = "1",
     .labels = "1,2,3,4",
     .metrics = "f1_macro,accuracy"},
};

static const preset *named(const char *name) {
    for (size_t i = 0; i < KM_COUNT(presets); i++) {
        if (strcmp(presets[i].name, name) == 0) {
            return &presets[i];
        }
    }
    return NULL;
}

const char *km_preset_names(void) {
    static char names[KM_NAMES];
    const char *words[KM_COUNT(presets)];
    for (size_t i = 0; i < KM_COUNT(presets); i++) {
        words[i] = presets[i].name;
    }
    return km_names_join(names, words, KM_COUNT(presets));
}

/* ---- Files ---- */

static bool is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* out (KM_PATH) becomes the first of the split's files that is in the folder; "" where none is. */
static void find_file(char *out, const preset *p, int split, const char *folder) {
    out[0] = '\0';
    for (int i = 0; i < FILES && p->files[split][i] != NULL && out[0] == '\0'; i++) {
        char *path = km_format("%s/%s", folder, p->files[split][i]);
        if (km_file_exists(path)) {
            snprintf(out, KM_PATH, "%s", path);
        }
        free(path);
    }
}

static km_status find_files(km_task_config *config, const preset *p) {
    if (!km_file_exists(config->train)) {
        return km_fail(KM_USAGE, "task.train: %s is not there, expected a file, or the folder with the files of %s",
                       config->train, p->name);
    }
    char *files[] = {[KM_TRAIN] = config->train, [KM_DEV] = config->dev, [KM_TEST] = config->test};
    char folder[KM_PATH] = "";
    snprintf(folder, sizeof folder, "%s", is_folder(config->train) ? config->train : "");
    for (int split = 0; split < (int)KM_COUNT(files); split++) {
        const bool given = files[split][0] != '\0' && !is_folder(files[split]);
        char from[KM_PATH];
        snprintf(from, sizeof from, "%s", is_folder(files[split]) ? files[split] : folder);
        const bool shared = split == KM_DEV ? config->dev_share > 0 : split == KM_TEST && config->test_share > 0;
        if (!given && !shared && from[0] != '\0') {
            find_file(files[split], p, split, from);
        }
    }
    if (folder[0] != '\0' && config->train[0] == '\0') {
        return km_fail(KM_USAGE, "task.train: %s has no %s, expected the files of %s", folder,
                       p->files[KM_TRAIN][0], p->name);
    }
    return KM_OK;
}

/* ---- Keys ---- */

static void set_texts(km_texts *out, const char *words) {
    size_t used = 0;
    for (const char *at = words; at != NULL && *at != '\0'; at += *at == ',') {
        const size_t length = strcspn(at, ",");
        memcpy(out->text + used, at, length);
        used += length + 1;
        out->count++;
        at += length;
    }
}

static void fill_texts(km_texts *out, const char *words) {
    if (out->count == 0) {
        memset(out, 0, sizeof *out);
        set_texts(out, words);
    }
}

static void fill_kind(km_task_config *config, bool numbers) {
    if (config->kind[0] == '\0') {
        snprintf(config->kind, sizeof config->kind, numbers ? "regression" : "classification");
    }
}

km_status km_preset_apply(km_task_config *config) {
    const preset *p = named(config->preset);
    if (p != NULL) {
        KM_TRY(find_files(config, p));
        fill_kind(config, p->numbers);
        fill_texts(&config->metrics, p->metrics);
        fill_texts(&config->labels, p->labels);
    }
    if (is_folder(config->train)) {
        return km_fail(KM_USAGE,
                       "task.train: %s is a folder, expected a file, or a folder together with task.preset",
                       config->train);
    }
    fill_kind(config, false);
    fill_texts(&config->metrics, km_task_kind_named(config->kind)->metrics);
    return KM_OK;
}

/* ---- Columns ---- */

/* Whether the split is a preset's published test file, which has other columns and no labels. */
static bool is_blind(const preset *p, int split) {
    return p != NULL && split == KM_TEST && p->test_text[0] != NULL;
}

km_columns km_task_columns(const km_task_config *config, int split) {
    const preset *p = named(config->preset);
    km_columns columns = {.header = config->header, .text = {"text"}, .label = "label"};
    if (p != NULL) {
        columns.header = km_given(&km_task_section, config, "header") ? config->header : !p->no_header;
        columns.text[0] = p->text[0];
        columns.text[1] = p->text[1];
        columns.pair = p->pair;
        columns.label = p->label;
        columns.skip_short = p->skip_short;
    }
    if (is_blind(p, split) && config->text.count == 0) {
        columns.header = true;
        columns.text[0] = p->test_text[0];
        columns.label = NULL;
    }
    for (int i = 0; i < config->text.count && i < (int)KM_COUNT(columns.text) - 1; i++) {
        columns.text[i] = km_texts_at(&config->text, i);
        columns.text[i + 1] = NULL;
    }
    columns.pair = config->text_pair[0] != '\0' ? config->text_pair : columns.pair;
    columns.label = config->label[0] != '\0' ? config->label : columns.label;
    columns.label_may_lack = split == KM_TEST;
    return columns;
}
