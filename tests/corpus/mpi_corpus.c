/* A corpus built by several ranks: the documents in the order of the text, and one rank's trouble is everyone's. */
#include "corpus_ranks.h"

static km_status build(const char *const *names, int count, uint64_t piece, double holdout,
                       km_corpus_report *report) {
    char *paths[8];
    for (int i = 0; i < count; i++) {
        paths[i] = km_strdup(at(names[i]));
    }
    const km_corpus_options options = {.out = at("out.h5"),
                                       .tokenizer = at("tok"),
                                       .inputs = (const char *const *)paths,
                                       .input_count = count,
                                       .field = "text",
                                       .force = true,
                                       .holdout = holdout};
    km_status status = km_corpus_build_pieces(comm, &options, piece, report);
    for (int i = 0; i < count; i++) {
        free(paths[i]);
    }
    return status;
}

/* Writes on rank 0; returns what the corpus must hold. */
static char *write_input(const char *name, int documents, bool jsonl, char first) {
    km_buffer text = {0}, expected = {0};
    for (int i = 0; i < documents; i++) {
        char a = (char)('a' + i % 26), b = (char)('a' + i / 26 % 26);
        km_buffer_print(&text, jsonl ? "{\"text\": \"%c%c%c\\n%c\"}\n" : "%c%c%c\n%c\n\n", first, a, b, a);
        km_buffer_print(&expected, "%c%c%c/%c/|", first, a, b, a);
    }
    if (km_comm_rank(comm) == 0) {
        write_text(name, text.data);
    }
    km_buffer_free(&text);
    return expected.data;
}

static void ranks_write_one_corpus(void **state) {
    (void)state;
    const char *const names[] = {"a.txt", "b.jsonl", "c.txt"};
    char *parts[3];
    for (int i = 0; i < 3; i++) {
        parts[i] = write_input(names[i], 40 + 60 * i, i == 1, (char)('x' + i));
    }
    char *expected = km_format("%s%s%s", parts[0], parts[1], parts[2]);
    const uint64_t pieces[] = {10, 64, 1000, 1 << 20};
    km_hash hash = {0};
    for (size_t p = 0; p < KM_COUNT(pieces); p++) {
        km_corpus_report report;
        km_comm_barrier(comm);
        must(build(names, 3, pieces[p], 0, &report));
        assert_int_equal(report.documents, 300);
        assert_int_equal(report.sentences, 600);
        assert_int_equal(report.files, 3);
        assert_int_equal(report.median_tokens, 4);
        km_corpus *corpus = NULL;
        must(km_corpus_open(&corpus, at("out.h5")));
        char *found = corpus_text(corpus);
        assert_string_equal(found, expected);
        if (p == 0) {
            hash = km_corpus_hash(corpus);
        }
        assert_true(km_hash_equal(hash, km_corpus_hash(corpus)));
        free(found);
        km_corpus_close(corpus);
    }
    for (int i = 0; i < 3; i++) {
        free(parts[i]);
    }
    free(expected);
}

static void both_sides_keep_their_order(void **state) {
    (void)state;
    const char *const names[] = {"h.txt"};
    char *expected = write_input("h.txt", 500, false, 'h'), *rest = expected, *merged[2];
    km_corpus_report report;
    must(build(names, 1, 100, 0.3, &report));
    for (int side = 0; side < 2; side++) {
        km_corpus *corpus = NULL;
        must(km_corpus_open(&corpus, at(side ? "out.holdout.h5" : "out.h5")));
        merged[side] = corpus_text(corpus);
        km_corpus_close(corpus);
    }
    /* Taking documents in the text's order empties both sides. */
    char *left[2] = {merged[0], merged[1]};
    for (char *document = strsep(&rest, "|"); *document != '\0'; document = strsep(&rest, "|")) {
        size_t length = strlen(document);
        int side = strncmp(left[0], document, length) == 0 ? 0 : 1;
        assert_memory_equal(left[side], document, length);
        left[side] += length + 1;
    }
    assert_int_equal(strlen(left[0]) + strlen(left[1]), 0);
    assert_int_equal(report.documents + report.holdout_documents, 500);
    assert_true(report.holdout_documents > 100 && report.holdout_documents < 200);
    free(merged[0]);
    free(merged[1]);
    free(expected);
}

/* The last piece is the last rank's: all stop with its sentence, and the older corpus stands. */
static void one_ranks_trouble_is_everyones(void **state) {
    (void)state;
    const char *const names[] = {"a.txt", "b.jsonl", "broken.gz"};
    if (km_comm_rank(comm) == 0) {
        write_text("broken.gz", "not compressed at all, as the name would have it");
    }
    km_comm_barrier(comm);
    km_corpus_report report;
    must_fail(build(names, 3, 64, 0, &report), "broken.gz");
    km_corpus *corpus = NULL;
    must(km_corpus_open(&corpus, at("out.h5")));
    km_corpus_close(corpus);
    assert_false(km_file_exists(at("out.h5.tmp")));
    /* Only bad records: the first of all is named, whoever met it. */
    const char *const bad[] = {"bad.jsonl"};
    if (km_comm_rank(comm) == 0) {
        write_text("bad.jsonl", "\n{\"a\": 1}\n{\"b\": 1}\n{\"c\": 1}\n{\"d\": 1}\n{\"e\": 1}\n");
    }
    km_comm_barrier(comm);
    must_fail(build(bad, 1, 9, 0, &report), "none of 5 records can be used; the first: ");
    must_fail(KM_FAILED, "bad.jsonl:2: no field \"text\"; the record's fields are: a");
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_write_one_corpus),
        cmocka_unit_test(both_sides_keep_their_order),
        cmocka_unit_test(one_ranks_trouble_is_everyones),
    };
    if (km_comm_open(&comm, &argc, &argv) != KM_OK) {
        return 1;
    }
    km_log_mute(true);
    int failed = cmocka_run_group_tests(tests, enter_together, leave_together);
    km_comm_close(comm);
    return failed;
}
