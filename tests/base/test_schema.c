/* Schemas: sections of several folders become one config; what belongs to another verb, and versions. */
#include "kmask/base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- Two verbs: `cook` reads pot and herbs, `serve` these and table ---- */

typedef struct pot {
    uint64_t given;
    int64_t litres;
    char metal[KM_WORD];
    double salt;
} pot;
typedef struct herbs {
    uint64_t given;
    char kind[KM_WORD];
    km_texts more;
} herbs;
typedef struct table {
    uint64_t given;
    int64_t seats;
    bool cloth;
} table;
typedef struct cooking {
    pot pot;
    herbs herbs;
} cooking;
typedef struct serving {
    cooking cooking;
    table table;
} serving;

static const char *garden(void) {
    static char names[KM_NAMES];
    static const char *const words[] = {"thyme", "sage"};
    return km_names_join(names, words, KM_COUNT(words));
}

#define AT(member) offsetof(pot, member)
static const km_option pot_options[] = {
    {"litres", KM_INT, AT(litres), "1..9", KM_REQUIRED, KM_FIXED, .help = "how much"},
    {"metal", KM_CHOICE, AT(metal), "iron|copper", "iron", KM_FIXED, .help = "of what"},
    {"salt", KM_DOUBLE, AT(salt), "0..1", "0.5", KM_MAY_CHANGE, .help = "how salty", .consequence = "taste it"}};
#undef AT
static const km_option herbs_options[] = {
    {"kind", KM_CHOICE, offsetof(herbs, kind), NULL, "sage", KM_MAY_CHANGE, .help = "which", .choices = garden,
     .planned = "mint"},
    {"more", KM_TEXT_LIST, offsetof(herbs, more), NULL, NULL, KM_ORIGIN, .help = "others", .choices = garden}};
static const km_option table_options[] = {
    {"seats", KM_INT, offsetof(table, seats), "1..12", KM_REQUIRED, KM_MAY_CHANGE, .help = "chairs"},
    {"cloth", KM_FLAG, offsetof(table, cloth), NULL, "false", KM_MAY_CHANGE, .help = "with a cloth"}};
KM_SECTION(pot_section, "pot", pot, pot_options);
KM_SECTION(herbs_section, "herbs", herbs, herbs_options);
KM_SECTION(table_section, "table", table, table_options);

static const km_part cook_parts[] = {{&pot_section, offsetof(cooking, pot)},
                                     {&herbs_section, offsetof(cooking, herbs)}};
static const km_schema cook = {.verb = "cook", .size = sizeof(cooking), .parts = cook_parts, .count = 2};
static const km_part serve_part = {&table_section, offsetof(serving, table)};
static const km_schema serve = {
    .verb = "serve", .size = sizeof(serving), .parts = &serve_part, .count = 1, .first = &cook};
static const km_schema *const verbs[] = {&cook, &serve, NULL};

static serving all;

static void says(const char *words) {
    if (strstr(km_message(), words) == NULL) {
        fail_msg("no \"%s\" in: %s", words, km_message());
    }
}

/* The text of a file and one assignment, either NULL. */
static km_status read_both(const km_schema *schema, const char *json, const char *assignment) {
    char path[] = "/tmp/kmask-schema-XXXXXX", *set[] = {assignment != NULL ? km_strdup(assignment) : NULL};
    if (json != NULL) {
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, json, strlen(json)), strlen(json));
        close(fd);
    }
    km_status status = km_schema_read(
        schema, &all,
        &(km_config_source){
            .path = json != NULL ? path : NULL, .set = set, .set_count = assignment != NULL, .others = verbs});
    unlink(path);
    free(set[0]);
    return status;
}

static void is_read(const km_schema *schema, const char *json, const char *assignment) {
    if (read_both(schema, json, assignment) != KM_OK) {
        fail_msg("%s", km_message());
    }
}

static void is_refused(const km_schema *schema, const char *json, const char *assignment, const char *words) {
    assert_int_equal(read_both(schema, json, assignment), KM_USAGE);
    says(words);
}

/* ---- One verb ---- */

static void defaults_come_where_nothing_is_given(void **state) {
    (void)state;
    is_read(&serve, "{\"pot\": {\"litres\": 3, \"metal\": null}}", "herbs.kind=thyme");
    assert_int_equal(all.cooking.pot.litres, 3);
    assert_string_equal(all.cooking.pot.metal, "");
    assert_int_equal(km_schema_fill(&serve, &all), KM_OK);
    assert_string_equal(all.cooking.pot.metal, "iron");
    assert_string_equal(all.cooking.herbs.kind, "thyme");
    assert_true(all.cooking.pot.salt == 0.5);
    assert_true(km_given(&pot_section, &all.cooking.pot, "litres"));
    assert_true(km_given(&herbs_section, &all.cooking.herbs, "kind"));
    assert_false(km_given(&pot_section, &all.cooking.pot, "metal"));
    assert_false(km_given(&pot_section, &all.cooking.pot, "salt"));
    assert_false(km_given(&pot_section, &all.cooking.pot, "seats"));
}

static void required_keys_are_the_marked_ones_or_a_list(void **state) {
    (void)state;
    static const char *const only[] = {"herbs.kind", NULL};
    is_read(&serve, NULL, NULL);
    assert_int_equal(km_schema_require(&serve, &all, NULL), KM_USAGE);
    says("pot.litres, table.seats: missing");
    assert_int_equal(km_schema_require(&cook, &all, NULL), KM_USAGE);
    says("pot.litres: missing");
    assert_int_equal(km_schema_require(&cook, &all, only), KM_USAGE);
    says("herbs.kind: missing");
    is_read(&cook, NULL, "herbs.kind=sage");
    assert_int_equal(km_schema_require(&cook, &all, only), KM_OK);
}

static void names_come_from_the_table_that_owns_them(void **state) {
    (void)state;
    assert_string_equal(km_option_choices(km_section_option(&herbs_section, "kind")), "thyme|sage");
    assert_string_equal(km_option_choices(km_section_option(&pot_section, "metal")), "iron|copper");
    assert_null(km_option_choices(km_section_option(&pot_section, "litres")));
    assert_null(km_section_option(&pot_section, "kind"));
    is_refused(&cook, NULL, "herbs.kind=rue", "herbs.kind: found \"rue\", expected one of thyme|sage");
    is_refused(&cook, NULL, "herbs.kind=mint", "found \"mint\", which this version cannot do yet, expected one of");
    is_refused(&cook, NULL, "herbs.more=sage,rue", "each one of thyme|sage");
    is_read(&cook, NULL, "herbs.more=sage,thyme");
    assert_int_equal(all.cooking.herbs.more.count, 2);
}

/* ---- Several verbs ---- */

static void a_section_of_another_verb_is_checked_and_not_used(void **state) {
    (void)state;
    is_read(&cook, "{\"table\": {\"seats\": 4}, \"pot\": {\"litres\": 2}}", NULL);
    assert_int_equal(all.cooking.pot.litres, 2);
    is_refused(&cook, "{\"table\": {\"seats\": 40}}", NULL, "table.seats: found 40, expected a whole number 1..12");
    is_refused(&cook, "{\"table\": {\"seat\": 4}}", NULL, "table.seat: unknown key. Did you mean table.seats?");
    is_refused(&cook, "{\"tables\": {}}", NULL, "tables: unknown section");
    is_refused(&cook, "{\"stove\": {}}", NULL, "stove: unknown section, expected one of pot, herbs");
    is_refused(&cook, NULL, "table.seats=4",
               "--set: table.seats: a key of `kmask serve`, which `kmask cook` does not use. Leave it out.");
    is_refused(&cook, NULL, "table.seat=4", "table.seat: unknown key. Did you mean table.seats?");
    is_refused(&cook, NULL, "stove.heat=4", "See `kmask cook --help` for all keys.");
    is_read(&serve, NULL, "table.seats=4");
    assert_int_equal(all.table.seats, 4);
}

static void a_stored_config_may_be_of_any_verb(void **state) {
    (void)state;
    assert_int_equal(
        km_schema_parse(&cook, &all, "{\"oven\": {\"any\": [1]}, \"pot\": {\"litres\": 2}, \"table\": 1}", "f.h5"),
        KM_OK);
    assert_int_equal(all.cooking.pot.litres, 2);
    assert_int_equal(km_schema_parse(&cook, &all, "{\"pot\": {\"litre\": 2}}", "f.h5"), KM_USAGE);
    says("f.h5: pot.litre: unknown key. Did you mean pot.litres?");
}

static void what_is_printed_reads_back(void **state) {
    (void)state;
    serving back;
    is_read(&serve, "{\"pot\": {\"litres\": 3}, \"table\": {\"seats\": 5}}", NULL);
    assert_int_equal(km_schema_fill(&serve, &all), KM_OK);
    char *text = km_schema_print(&serve, &all);
    assert_int_equal(km_schema_parse(&serve, &back, text, "text"), KM_OK);
    char *again = km_schema_print(&serve, &back);
    assert_string_equal(text, again);
    assert_int_equal(back.table.seats, 5);
    free(again);
    free(text);
}

/* ---- Versions ---- */

static void a_config_has_a_version(void **state) {
    (void)state;
    is_read(&cook, "{\"pot\": {\"litres\": 2}}", NULL);
    is_read(&cook, "{\"version\": 0, \"pot\": {\"litres\": 2}}", NULL);
    char *text = km_schema_print(&cook, &all), *expected = km_format("{\n  \"version\": %d,\n", KM_CONFIG_VERSION);
    assert_memory_equal(text, expected, strlen(expected));
    is_read(&cook, text, NULL);
    free(expected);
    free(text);
    is_refused(&cook, "{\"version\": \"1\"}", NULL, "version: found something else");
    is_refused(&cook, "{\"version\": -1}", NULL, "version: found something else");
    is_refused(&cook, "{\"version\": 0.5}", NULL, "version: found something else");
    is_refused(&cook, "{\"version\": {}}", NULL, "version: found something else");
    is_refused(&cook, "{\"version\": 0, \"version\": 1}", NULL, "given twice");
}

/* What a later kmask has written may have keys that this one does not know: the version is what is said. */
static void a_later_version_is_refused(void **state) {
    (void)state;
    char *text = km_format("{\"pot\": {\"lid\": true}, \"oven\": {}, \"version\": %d}", KM_CONFIG_VERSION + 1);
    is_refused(&cook, text, NULL, "written by a later kmask, in version ");
    assert_int_equal(km_message_kind(), KM_ERROR_LATER);
    assert_int_equal(km_schema_parse(&cook, &all, text, "f.h5"), KM_USAGE);
    says("f.h5: written by a later kmask");
    says("Use the kmask that wrote it, or a newer one.");
    assert_int_equal(km_message_kind(), KM_ERROR_LATER);
    free(text);
}

/* ---- Resuming and help ---- */

static void what_differs_is_sorted(void **state) {
    (void)state;
    serving was;
    is_read(&serve, "{\"pot\": {\"litres\": 3, \"salt\": 1}, \"herbs\": {\"more\": \"sage\"}}", NULL);
    was = all;
    is_read(&serve, "{\"pot\": {\"litres\": 4, \"salt\": 0}, \"table\": {\"seats\": 2}}", NULL);
    km_buffer refused = {0}, changes = {0};
    km_schema_compare(&serve, &was, &all, &refused, &changes);
    assert_string_equal(refused.data, "pot.litres (was 3, now 4)");
    assert_string_equal(changes.data, "  pot.salt: 0, was 1; taste it\n  table.seats: 2, was null\n");
    km_buffer_free(&refused);
    km_buffer_free(&changes);
}

static char *help_of(const km_schema *schema) {
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    assert_non_null(stream);
    km_schema_help(schema, stream);
    fclose(stream);
    return text;
}

static void help_has_the_keys_of_the_verb_alone(void **state) {
    (void)state;
    char *one = help_of(&cook), *two = help_of(&serve);
    assert_non_null(strstr(one, "\nherbs\n"));
    assert_non_null(strstr(one, "which [thyme|sage]"));
    assert_non_null(strstr(one, "required"));
    assert_null(strstr(one, "seats"));
    assert_non_null(strstr(two, "\npot\n"));
    assert_non_null(strstr(two, "\ntable\n"));
    assert_non_null(strstr(two, "* seats"));
    free(one);
    free(two);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_come_where_nothing_is_given),
        cmocka_unit_test(required_keys_are_the_marked_ones_or_a_list),
        cmocka_unit_test(names_come_from_the_table_that_owns_them),
        cmocka_unit_test(a_section_of_another_verb_is_checked_and_not_used),
        cmocka_unit_test(a_stored_config_may_be_of_any_verb),
        cmocka_unit_test(what_is_printed_reads_back),
        cmocka_unit_test(a_config_has_a_version),
        cmocka_unit_test(a_later_version_is_refused),
        cmocka_unit_test(what_differs_is_sorted),
        cmocka_unit_test(help_has_the_keys_of_the_verb_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
