/* Questions in every form in which they are published, and what a model reads of them. */
#include "questions.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/kmask-questions-XXXXXX";

/* Writes and reads a file; the caller frees the records. */
static km_status read_text(km_records *out, const char *name, const char *text, bool may_lack) {
    const km_columns columns = {.text = {"1"}, .label = "2", .label_may_lack = may_lack};
    char *path = km_format("%s/%s", folder, name);
    *out = (km_records){0};
    assert_int_equal(km_file_replace(path, text, strlen(text)), KM_OK);
    km_status status = km_questions_read(out, path, &columns);
    unlink(path);
    free(path);
    return status;
}

static void expect_read(km_records *out, const char *name, const char *text, size_t count) {
    if (read_text(out, name, text, false) != KM_OK) {
        fail_msg("%s", km_message());
    }
    assert_int_equal(out->count, count);
}

static void expect_refused(const char *name, const char *text, const char *words) {
    km_records r;
    assert_int_equal(read_text(&r, name, text, false), KM_FAILED);
    if (strstr(km_message(), words) == NULL) {
        fail_msg("found `%s`, expected `%s`", km_message(), words);
    }
    km_records_free(&r);
}

static void own_and_open_domain(void **state) {
    (void)state;
    km_records r;
    expect_read(
        &r, "a.jsonl",
        "{\"id\": 7, \"source\": \"s\", \"target\": [\"a\", \"b\", \"a\"], \"context\": \"c\", \"choices\": "
        "[\"a\", "
        "\"x\"]}\n\n{\"question\": \"q\", \"answer\": [\"1988\", 5]}\n{\"question\": \"p\", \"answers\": \"z\"}",
        3);
    assert_string_equal(r.items[0].id, "7");
    assert_string_equal(r.items[0].pair, "c");
    assert_int_equal(r.items[0].accepted_count, 2);
    assert_string_equal(r.items[0].accepted[1], "b");
    assert_int_equal(r.items[0].option_count, 2);
    assert_string_equal(r.items[1].label, "1988");
    assert_string_equal(r.items[1].accepted[1], "5");
    assert_int_equal(r.items[2].line, 4);
    assert_null(r.items[2].pair);
    km_records_free(&r);
    expect_read(&r, "b.json", " [{\"context\": \"c\", \"question\": \"q\",\n \"answer\": \"a\"}]", 1);
    assert_string_equal(r.items[0].pair, "c");
    km_records_free(&r);
}

static void kilt(void **state) {
    (void)state;
    const char *text =
        "{\"id\": \"1\", \"input\": \"q\", \"output\": [{\"answer\": \"a\", \"provenance\": [{}]}, "
        "{\"provenance\": []}, "
        "{\"answer\": \"b\"}, {\"answer\": \"a\"}]}\n{\"id\": \"2\", \"input\": \"r\", \"output\": []}\n";
    km_records r;
    expect_read(&r, "k.jsonl", text, 1);
    assert_int_equal(r.items[0].accepted_count, 2);
    km_records_free(&r);
    assert_int_equal(read_text(&r, "k.jsonl", text, true), KM_OK); /* as for a test split */
    assert_int_equal(r.count, 2);
    assert_null(r.items[1].label);
    km_records_free(&r);
}

static void squad_ropes_and_trivia(void **state) {
    (void)state;
    km_records r;
    expect_read(&r, "s.json",
                "{\"version\": \"2\", \"data\": [{\"paragraphs\": [{\"context\": \"c\", \"qas\": [{\"id\": \"x\", "
                "\"question\": \"q\", "
                "\"answers\": [{\"text\": \"a\", \"answer_start\": 1}, {\"text\": \"a\"}, {\"text\": \"b\"}]}, "
                "{\"question\": \"none\", "
                "\"is_impossible\": true, \"answers\": []}]}]}]}",
                1);
    assert_string_equal(r.items[0].pair, "c");
    assert_int_equal(r.items[0].accepted_count, 2);
    km_records_free(&r);
    expect_read(&r, "r.json",
                "{\"data\": [{\"paragraphs\": [{\"background\": \"b\", \"situation\": \"s\", \"qas\": "
                "[{\"question\": \"q\", "
                "\"answers\": [{\"text\": \"cup A\"}]}]}]}]}",
                1);
    assert_string_equal(r.items[0].pair, "b s");
    km_records_free(&r);
    expect_read(&r, "t.json",
                "{\"Data\": [{\"QuestionId\": \"tc_1\", \"Question\": \"q\", \"Answer\": {\"Aliases\": [\"B\", "
                "\"A\"], \"Value\": "
                "\"A\"}}]}",
                1);
    assert_string_equal(r.items[0].label, "A");
    assert_int_equal(r.items[0].accepted_count, 2);
    km_records_free(&r);
}

static void mentions_are_marked(void **state) {
    (void)state;
    km_records r;
    expect_read(&r, "m.jsonl",
                "{\"id\": 1, \"text\": \"Z\xC3\xBCrich beats Bern .\", \"mentions\": [[0, 6, \"Z\xC3\xBCrich\"], "
                "[13, 17, \"Bern\"], "
                "[7, 12, null]]}",
                2);
    assert_string_equal(r.items[0].text, "[START_ENT] Z\xC3\xBCrich [END_ENT] beats Bern .");
    assert_string_equal(r.items[1].text, "Z\xC3\xBCrich beats [START_ENT] Bern [END_ENT] .");
    assert_string_equal(r.items[1].label, "Bern");
    km_records_free(&r);
}

static void tables_and_options(void **state) {
    (void)state;
    km_records r;
    expect_read(
        &r, "u.tsv",
        "which cup? \\n (A) cup A (B) cup B \\n text (C) here\tcup B\nwho?\t['it\\'s', \"b\"]\nwhat\t[sic\n", 3);
    assert_int_equal(r.items[0].option_count, 2);
    assert_string_equal(r.items[0].options[0], "cup A");
    assert_string_equal(r.items[0].options[1], "cup B");
    assert_int_equal(r.items[1].accepted_count, 2);
    assert_string_equal(r.items[1].accepted[0], "it's");
    assert_string_equal(r.items[2].label, "[sic");
    char *source = km_question_source(&r.items[0], true, false);
    assert_string_equal(source, r.items[0].text);
    free(source);
    km_records_free(&r);
    expect_read(&r, "c.jsonl",
                "{\"source\": \"Which?\", \"target\": \"A\", \"context\": \"C\", \"choices\": [\"A\", \"B\"]}", 1);
    source = km_question_source(&r.items[0], true, true);
    assert_string_equal(source, "which? \\n (a) a (b) b \\n c");
    free(source);
    source = km_question_source(&r.items[0], false, false);
    assert_string_equal(source, "Which? \\n (A) A (B) B");
    free(source);
    km_records_free(&r);
}

static void bad_files(void **state) {
    (void)state;
    expect_refused("a.jsonl", "{\"question\": \"q\", \"answer\": {\"x\": 1}}",
                   "line 1: \"answer\" is missing or something else");
    expect_refused("b.jsonl", "{\"question\": 3, \"answer\": \"x\"}", "\"question\" is missing");
    expect_refused("c.jsonl", "{\"text\": \"abc\", \"mentions\": [[0, 9, \"x\"]]}", "places in characters");
    expect_refused("d.json", "{\"data\": [{\"title\": \"x\"}]}", "\"paragraphs\" is missing");
    expect_refused("e.json", "[{\"question\": \"q\", \"answer\": \"a\"}, 3]", "object 2: no question");
    expect_refused("f.jsonl", "", "f.jsonl");
    expect_refused("g.jsonl", "{\"input\": \"q\", \"output\": []}\n", "holds no examples");
}

int main(void) {
    if (mkdtemp(folder) == NULL) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_and_open_domain),    cmocka_unit_test(kilt),
        cmocka_unit_test(squad_ropes_and_trivia), cmocka_unit_test(mentions_are_marked),
        cmocka_unit_test(tables_and_options),     cmocka_unit_test(bad_files)};
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(folder);
    return failed;
}
