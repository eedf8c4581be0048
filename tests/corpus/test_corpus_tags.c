/* Tags: from ranges of a JSONL record to one number a token, in corpora and in rows. */
#include "corpus_help.h"

static km_comm *comm;
static km_corpus_report report;

static km_status build(const char *text, km_corpus_options options) {
    write_text("a.jsonl", text);
    const char *path = at("a.jsonl");
    options.out = at("out.h5");
    options.tokenizer = at("tok");
    options.field = options.field != NULL ? options.field : "text";
    options.inputs = &path;
    options.input_count = 1;
    options.force = true; /* one test after the other writes the same file */
    return km_corpus_build_pieces(comm, &options, 1 << 20, &report);
}

/* A corpus as "piece/TAG piece ...": a token without a tag stands alone. */
static char *tags_of(const char *path) {
    km_corpus *corpus = NULL;
    must(km_corpus_open(&corpus, path));
    km_buffer text = {0};
    km_buffer_add(&text, "", 0);
    for (uint64_t i = 0; i < km_corpus_tokens(corpus); i++) {
        int32_t id = 0;
        uint8_t tag = 0;
        must(km_corpus_read_tokens(corpus, i, 1, &id));
        must(km_corpus_read_tags(corpus, i, 1, &tag));
        km_buffer_print(&text, "%s%s%s%s", i > 0 ? " " : "", km_tokenizer_piece(km_corpus_tokenizer(corpus), id),
                        tag > 0 ? "/" : "", tag > 0 ? km_corpus_tag(corpus, tag) : "");
    }
    km_corpus_close(corpus);
    return text.data;
}

static void expect_tags(const char *expected) {
    char *found = tags_of(at("out.h5"));
    assert_string_equal(found, expected);
    free(found);
}

static void ranges_become_tokens(void **state) {
    (void)state;
    must(build("{\"text\": \"the ab.\\ncd\", \"tags\": [[4, 6, \"NOUN\"], [0, 3, \"DET\"], [6, 7, \".\"], [8, 10, "
               "\"X\"]]}\n{\"text\": \"e\"}\n",
               (km_corpus_options){0}));
    expect_tags("t/DET ##h/DET ##e/DET a/NOUN ##b/NOUN ./. c/X ##d/X e");
    assert_int_equal(report.tagged_tokens, 8);
    assert_int_equal(report.bad_tags, 0);
    /* Names are numbered in the order of their bytes. */
    km_corpus *corpus = NULL;
    must(km_corpus_open(&corpus, at("out.h5")));
    assert_int_equal(km_corpus_tags(corpus), 4);
    const char *const names[] = {".", "DET", "NOUN", "X"};
    for (int i = 0; i < 4; i++) {
        assert_string_equal(km_corpus_tag(corpus, i + 1), names[i]);
    }
    km_corpus_close(corpus);
}

/* A token that two ranges share has the first one's tag: "do" and "n't" of one word. */
static void shared_tokens_belong_to_the_first(void **state) {
    (void)state;
    must(build("{\"text\": \"a.b c\", \"tags\": [[0, 2, \"P\"], [2, 4, \"Q\"], [4, 5, \"R\"]]}\n",
               (km_corpus_options){0}));
    expect_tags("a/P ./P b/Q c/R");
}

static void bad_tags_are_counted(void **state) {
    (void)state;
    must(build("{\"text\": \"a b c d\", \"tags\": [[0, 1], [2, 3, \"\"], [4, 5, 7], [6, 7, \"D\"], [6, 7, \"E\"], "
               "[9, 10, \"F\"], [3, 3, \"G\"], 1]}\n{\"text\": \"e\", \"tags\": \"f\"}\n",
               (km_corpus_options){0}));
    expect_tags("a b c d/D e");
    assert_int_equal(report.bad_tags, 8);
    assert_int_equal(report.tagged_tokens, 1);
}

static void fields_have_their_own_tags(void **state) {
    (void)state;
    km_corpus_options options = {.field = "title,body"};
    must(build("{\"title\": \"a b\", \"body\": \"c\", \"tags\": {\"title\": [[2, 3, \"X\"]], \"body\": [[0, 1, "
               "\"Y\"]]}}\n",
               options));
    expect_tags("a b/X c/Y");
    must(build("{\"title\": \"a b\", \"body\": \"c\", \"tags\": [[0, 1, \"X\"]]}\n", options));
    expect_tags("a/X b c");
}

/* Where names are looked for, whole documents wait for it: their tags wait with them. */
static void tags_and_names_go_together(void **state) {
    (void)state;
    const char text[] =
        "{\"text\": \"he saw Cd ef.\\nthe gh\", \"tags\": [[0, 2, \"PRON\"], [7, 9, \"PROPN\"], [14, 17, "
        "\"DET\"]]}\n{\"text\": \"i Cd\", \"entities\": [[0, 1, \"X\"]], \"tags\": [[2, 4, \"PROPN\"]]}\n";
    for (int spans = KM_SPANS_GIVEN; spans <= KM_SPANS_NONE; spans++) {
        must(build(text, (km_corpus_options){.spans = (km_span_source)spans}));
        expect_tags("h/PRON ##e/PRON s ##a ##w c/PROPN ##d/PROPN e ##f . t/DET ##h/DET ##e/DET g ##h i c/PROPN "
                    "##d/PROPN");
    }
}

/* A corpus without tags is the same file as ever. */
static void no_tags_no_array(void **state) {
    (void)state;
    must(build("{\"text\": \"a b\", \"tags\": []}\n", (km_corpus_options){0}));
    expect_tags("a b");
    km_corpus *corpus = NULL;
    must(km_corpus_open(&corpus, at("out.h5")));
    assert_int_equal(km_corpus_tags(corpus), 0);
    assert_null(km_store_find(corpus->store, "/tags"));
    assert_null(km_store_text(corpus->store, "tags"));
    km_hash hash = km_corpus_hash(corpus);
    km_corpus_close(corpus);
    must(build("{\"text\": \"a b\"}\n", (km_corpus_options){0}));
    must(km_corpus_open(&corpus, at("out.h5")));
    assert_true(km_hash_equal(hash, km_corpus_hash(corpus)));
    km_corpus_close(corpus);
    /* The tags are part of the content. */
    must(build("{\"text\": \"a b\", \"tags\": [[0, 1, \"X\"]]}\n", (km_corpus_options){0}));
    must(km_corpus_open(&corpus, at("out.h5")));
    assert_false(km_hash_equal(hash, km_corpus_hash(corpus)));
    km_corpus_close(corpus);
}

static void too_many_names_are_refused(void **state) {
    (void)state;
    for (int count = KM_MOST_TAGS; count <= KM_MOST_TAGS + 1; count++) {
        km_buffer text = {0};
        for (int i = 0; i < count; i++) {
            km_buffer_print(&text, "{\"text\": \"a\", \"tags\": [[0, 1, \"T%d\"]]}\n", i);
        }
        km_status status = build(text.data, (km_corpus_options){0});
        if (count > KM_MOST_TAGS) {
            must_fail(status, "more than 255 different names");
        } else {
            must(status);
            assert_int_equal(report.tagged_tokens, count);
        }
        km_buffer_free(&text);
    }
}

/* Letters a..m of the documents that have tags are L, others H; every third document has none. */
static char *lettered(int documents) {
    km_buffer text = {0};
    for (int i = 0; i < documents; i++) {
        const int a = i * 7 % 26, b = i * 11 % 26;
        km_buffer_print(&text, "{\"text\": \"%c %c x\\n%c%s\"", 'a' + a, 'a' + b, 'a' + b, i % 5 ? "" : " y z");
        km_buffer_print(&text, i % 3 ? ", \"tags\": [[0, 1, \"%s\"], [2, 3, \"%s\"], [6, 7, \"%s\"]]}\n" : "}\n",
                        a < 13 ? "L" : "H", b < 13 ? "L" : "H", b < 13 ? "L" : "H");
    }
    return text.data;
}

static void held_out_documents_keep_their_tags(void **state) {
    (void)state;
    char *text = lettered(600);
    uint64_t tagged = 0;
    must(build(text, (km_corpus_options){.holdout = 0.4}));
    assert_true(report.holdout_tagged_tokens > 200 && report.tagged_tokens > 200);
    for (int side = 0; side < 2; side++) {
        km_corpus *corpus = NULL;
        must(km_corpus_open(&corpus, at(side ? "out.holdout.h5" : "out.h5")));
        for (uint64_t i = 0; i < km_corpus_tokens(corpus); i++) {
            int32_t id = 0;
            uint8_t tag = 0;
            must(km_corpus_read_tokens(corpus, i, 1, &id));
            must(km_corpus_read_tags(corpus, i, 1, &tag));
            /* Names in the order of their bytes: H, L. */
            assert_true(tag == 0 || tag == ((id - ID_A) % 26 < 13 ? 2 : 1));
            tagged += tag > 0;
        }
        km_corpus_close(corpus);
    }
    assert_int_equal(tagged, report.tagged_tokens + report.holdout_tagged_tokens);
    free(text);
}

/* In rows tags stand at their tokens, also behind a [SEP] inside, and only where they are asked for. */
static void rows_have_their_tags(void **state) {
    (void)state;
    char *text = lettered(200);
    must(build(text, (km_corpus_options){0}));
    free(text);
    km_corpus *corpus = NULL;
    must(km_corpus_open(&corpus, at("out.h5")));
    uint64_t tagged = 0;
    for (int length = 8; length < 40; length += 9) {
        const km_rows_options options = {length, KM_PACK_STREAM, KM_UNIT_SUBWORD, 1, false};
        km_rows *rows = NULL;
        must(km_rows_open(&rows, corpus, &options, NULL));
        km_row *row = km_row_create(length), *bare = km_row_create(length);
        row->wants_tags = true;
        tagged = 0;
        for (uint64_t i = 0; i < km_rows_count(rows); i++) {
            must(km_rows_read(rows, i, row));
            must(km_rows_read(rows, i, bare));
            for (int t = 0; t < row->length; t++) {
                const int tag = row->tags[t];
                assert_true(tag == 0 || (row->maskable[t] && tag == ((row->ids[t] - ID_A) % 26 < 13 ? 2 : 1)));
                assert_int_equal(bare->tags[t], 0);
                tagged += tag > 0;
            }
        }
        assert_int_equal(tagged, report.tagged_tokens);
        km_row_destroy(row);
        km_row_destroy(bare);
        km_rows_close(rows);
    }
    km_corpus_close(corpus);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_become_tokens),       cmocka_unit_test(shared_tokens_belong_to_the_first),
        cmocka_unit_test(bad_tags_are_counted),       cmocka_unit_test(fields_have_their_own_tags),
        cmocka_unit_test(tags_and_names_go_together), cmocka_unit_test(no_tags_no_array),
        cmocka_unit_test(too_many_names_are_refused), cmocka_unit_test(held_out_documents_keep_their_tags),
        cmocka_unit_test(rows_have_their_tags),
    };
    if (km_comm_open(&comm, &argc, &argv) != KM_OK) {
        return 1;
    }
    km_log_mute(true);
    int failed = cmocka_run_group_tests(tests, enter, leave);
    km_comm_close(comm);
    return failed;
}
