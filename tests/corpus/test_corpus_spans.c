/* Sentences inside lines, and spans: from characters of a JSONL record to positions of a row. */
#include "corpus_help.h"

static km_comm *comm;
static km_corpus_report report;

static km_status build(const char *name, const char *text, km_corpus_options options) {
    write_text(name, text);
    const char *path = at(name);
    options.out = at("out.h5");
    options.tokenizer = at("tok");
    options.field = options.field != NULL ? options.field : "text";
    options.inputs = &path;
    options.input_count = 1;
    options.force = true; /* one test after the other writes the same file */
    return km_corpus_build_pieces(comm, &options, 1 << 20, &report);
}

/* The spans of a corpus as "[piecepiece:kind]" one after the other. */
static char *spans_of(const km_corpus *corpus) {
    km_buffer text = {0};
    size_t total = (size_t)km_corpus_tokens(corpus);
    km_row_span *spans = km_new(total, sizeof *spans);
    int count = 0;
    must(km_corpus_read_spans(corpus, 0, total, spans, &count));
    assert_int_equal(count, km_corpus_spans(corpus));
    km_buffer_add(&text, "", 0);
    for (int i = 0; i < count; i++) {
        km_buffer_print(&text, "[");
        for (int t = spans[i].start; t < spans[i].end; t++) {
            int32_t id = 0;
            must(km_corpus_read_tokens(corpus, (uint64_t)t, 1, &id));
            km_buffer_print(&text, "%s%s", t > spans[i].start ? " " : "",
                            km_tokenizer_piece(km_corpus_tokenizer(corpus), id));
        }
        km_buffer_print(&text, ":%s]", km_span_kind_name(spans[i].kind));
    }
    free(spans);
    return text.data;
}

static void expect_spans(const char *expected) {
    km_corpus *corpus = NULL;
    must(km_corpus_open(&corpus, at("out.h5")));
    char *found = spans_of(corpus);
    assert_string_equal(found, expected);
    free(found);
    km_corpus_close(corpus);
}

static void sentences_end_inside_lines(void **state) {
    (void)state;
    const char text[] = "A b. C d.\ne. f\nMr. G h.  J\n";
    must(build("a.txt", text, (km_corpus_options){0}));
    expect_corpus(at("out.h5"), "a b ./c d ./e . f/mr . g h ./j/|");
}

static void lines_can_be_sentences(void **state) {
    (void)state;
    must(build("a.txt", "A b. C d.\nE\n", (km_corpus_options){.sentences = KM_SENTENCES_LINE}));
    expect_corpus(at("out.h5"), "a b . c d ./e/|");
    assert_int_equal(report.sentences, 2);
    must(build("a.txt", "A b. C d.\nE\n", (km_corpus_options){0}));
    expect_corpus(at("out.h5"), "a b ./c d ./e/|");
    assert_int_equal(report.sentences, 3);
    km_corpus *corpus = NULL;
    must(km_corpus_open(&corpus, at("out.h5")));
    assert_int_equal(strncmp(km_store_text(corpus->store, "sentence_rules"), "icu ", 4), 0);
    assert_string_equal(km_store_text(corpus->store, "spans"), "none");
    assert_false(km_corpus_has_spans(corpus));
    km_corpus_close(corpus);
}

static void entities_become_tokens(void **state) {
    (void)state;
    must(build("a.jsonl",
               "{\"text\": \"ab cd ef\\ngh\", \"entities\": [[6, 8, \"DATE\"], [0, 5, \"PERSON\"], [9, 11, "
               "\"cardinal\"]]}\n"
               "{\"text\": \"no list\"}\n{\"text\": \"ab\", \"entities\": null}\n",
               (km_corpus_options){0}));
    expect_spans("[a ##b c ##d:entity][e ##f:date][g ##h:number]");
    assert_int_equal(report.spans, 3);
    assert_int_equal(report.bad_spans, 0);
    /* Characters are code points, also beyond the first plane, and "\u0000" is one. */
    must(build("a.jsonl",
               "{\"text\": \"\xF0\x9F\x98\x80\xC3\xA9\\u0000\xE4\xB8\xAD b c\", \"entities\": [[5, 6, \"X\"]]}",
               (km_corpus_options){0}));
    expect_spans("[b:entity]");
    must(build("a.jsonl", "{\"text\": \"a b\", \"entities\": [[0, 1]]}",
               (km_corpus_options){.spans = KM_SPANS_NONE}));
    expect_spans("");
}

static void bad_entities_are_counted(void **state) {
    (void)state;
    must(build(
        "a.jsonl",
        "{\"text\": \"a b c d\", \"entities\": [[0, 1], [-1, 2], [3, 3], [5, 4], [6, 8], [0.5, 1], [\"0\", 1], 7, "
        "null, {}, [], [2], [1e300, 2e300], [0, 3, \"longer\"], [2, 5, \"over\"], [1, 2, \"blank\"], [4, 5, 7]]}\n"
        "{\"text\": \"e\", \"entities\": 5}\n",
        (km_corpus_options){0}));
    expect_spans("[a b:entity][c:entity]");
    assert_int_equal(report.spans, 2);
    /* All but two; [0, 1], "over" and "blank" overlap with the longer one; and the 5. */
    assert_int_equal(report.bad_spans, 16);
    assert_int_equal(report.bad_records, 0);
}

static void fields_have_their_own_entities(void **state) {
    (void)state;
    km_corpus_options options = {.field = "title,body.text"};
    must(
        build("a.jsonl", "{\"title\": \"a b\", \"body\": {\"text\": \"c d\"}, \"entities\": [[2, 3]]}\n", options));
    expect_spans("[b:entity]");
    must(build(
        "a.jsonl",
        "{\"title\": \"a b\", \"body\": {\"text\": \"c d\"}, \"entities\": {\"title\": [[0, 1]], \"body.text\": "
        "[[2, 3, \"date\"]]}}\n",
        options));
    expect_spans("[a:entity][d:date]");
}

/* A name keeps its full stops. */
static void no_sentence_ends_inside_an_entity(void **state) {
    (void)state;
    must(
        build("a.jsonl", "{\"text\": \"The u. S. Army. B c\", \"entities\": [[4, 14]]}\n", (km_corpus_options){0}));
    expect_spans("[u . s . a ##r ##m ##y:entity]");
    expect_corpus(at("out.h5"), "the u . s . army ./b c/|");
    must(build("a.jsonl", "{\"text\": \"The q. S. Army. B c\"}\n", (km_corpus_options){0}));
    expect_corpus(at("out.h5"), "the q ./s ./army ./b c/|");
}

static void held_out_documents_keep_their_spans(void **state) {
    (void)state;
    km_buffer text = {0};
    for (int i = 0; i < 400; i++) {
        km_buffer_print(&text, "{\"text\": \"x %c%c. Y z\", \"entities\": [[2, 4, \"date\"]]}\n", 'a' + i % 26,
                        'a' + i / 26);
    }
    must(build("a.jsonl", text.data, (km_corpus_options){.holdout = 0.4}));
    km_buffer_free(&text);
    assert_int_equal(report.spans + report.holdout_spans, 400);
    assert_true(report.holdout_spans > 80);
    for (int side = 0; side < 2; side++) {
        km_corpus *corpus = NULL;
        must(km_corpus_open(&corpus, at(side ? "out.holdout.h5" : "out.h5")));
        for (uint64_t i = 0; i < km_corpus_spans(corpus); i++) {
            km_row_span span[6];
            int count = 0;
            must(km_corpus_read_spans(corpus, 6 * i, 6, span, &count)); /* x a ##b . y z */
            assert_int_equal(count, 1);
            assert_int_equal(span[0].start, 1);
            assert_int_equal(span[0].end, 3);
            assert_int_equal(span[0].kind, KM_SPAN_DATE);
        }
        assert_int_equal(km_corpus_tokens(corpus), 6 * km_corpus_spans(corpus));
        km_corpus_close(corpus);
    }
}

/* Positions in rows: behind [CLS], after the [SEP]s of inner document ends, cut where the row is. */
static void rows_have_their_spans(void **state) {
    (void)state;
    km_buffer text = {0};
    for (int i = 0; i < 300; i++) { /* "a bcd e" with bcd marked, in documents of one to three */
        km_buffer_print(&text, "{\"text\": \"a bcd e%s\", \"entities\": [[2, 5, \"%s\"]]}\n", i % 3 ? "" : " f\\ng",
                        i % 2 ? "date" : "name");
    }
    must(build("a.jsonl", text.data, (km_corpus_options){0}));
    km_buffer_free(&text);
    km_corpus *corpus = NULL;
    must(km_corpus_open(&corpus, at("out.h5")));
    for (int packing = KM_PACK_FULL_SENTENCES; packing <= KM_PACK_STREAM; packing++) {
        for (int length = 5; length < 40; length += 6) {
            const km_rows_options options = {length, (km_packing)packing, KM_UNIT_SUBWORD, 1, false};
            km_rows *rows = NULL;
            must(km_rows_open(&rows, corpus, &options, NULL));
            km_row *row = km_row_create(length);
            for (uint64_t i = 0; i < km_rows_count(rows); i++) {
                must(km_rows_read(rows, i, row));
                uint8_t *covered = km_new((size_t)row->length, 1);
                for (int s = 0; s < row->span_count; s++) {
                    assert_true(row->spans[s].start > 0 && row->spans[s].start < row->spans[s].end);
                    assert_true(s == 0 || row->spans[s].start >= row->spans[s - 1].end);
                    assert_true(row->spans[s].end < row->length);
                    memset(covered + row->spans[s].start, 1, (size_t)(row->spans[s].end - row->spans[s].start));
                }
                for (int t = 0; t < row->length; t++) {
                    int letter = (row->ids[t] - ID_A) % 26;
                    assert_int_equal(covered[t], row->maskable[t] && letter >= 1 && letter <= 3);
                }
                free(covered);
            }
            km_row_destroy(row);
            km_rows_close(rows);
        }
    }
    km_corpus_close(corpus);
}

/* Spans of a row of which a token can be masked. */
static int usable_spans(const km_row *row) {
    int count = 0;
    for (int s = 0; s < row->span_count; s++) {
        count += memchr(row->maskable + row->spans[s].start, 1,
                        (size_t)(row->spans[s].end - row->spans[s].start)) != NULL;
    }
    return count;
}

/* Where salient units count, exactly the rows with K of them are kept, in their order. */
static void rows_with_enough_spans_are_kept(void **state) {
    (void)state;
    km_buffer text = {0};
    for (int i = 0; i < 200; i++) { /* a span of known letters, of unknown ones, of both, or none */
        static const char *const texts[] = {"a bcd e", "a ??? e", "a b?d e f", "a b c"};
        const char *entities = i % 7 < 4 ? "[[2, 5, \"date\"]]" : "[]";
        km_buffer_print(&text, "{\"text\": \"%s%s\", \"entities\": %s}\n", texts[i % 4], i % 5 ? "" : " fgh\\nij",
                        entities);
    }
    must(build("a.jsonl", text.data, (km_corpus_options){0}));
    km_buffer_free(&text);
    km_corpus *corpus = NULL;
    must(km_corpus_open(&corpus, at("out.h5")));
    int kept = 0, left = 0;
    for (int c = 0; c < 36; c++) {
        const int least = 1 + c / 18;
        km_rows_options options = {4 + 5 * (c % 6), (km_packing)(c / 6 % 3), KM_UNIT_SUBWORD, 1, false};
        km_rows *all = NULL, *some = NULL;
        must(km_rows_open(&all, corpus, &options, NULL));
        km_row *row = km_row_create(options.length), *same = km_row_create(options.length);
        options.unit = KM_UNIT_SALIENT;
        options.min_units = least;
        const km_status status = km_rows_open(&some, corpus, &options, NULL);
        uint64_t next = 0;
        for (uint64_t i = 0; i < km_rows_count(all); i++) {
            must(km_rows_read(all, i, row));
            if (usable_spans(row) >= least) {
                must(km_rows_read(some, next++, same));
                assert_int_equal(same->length, row->length);
                assert_memory_equal(same->ids, row->ids, (size_t)row->length * sizeof *row->ids);
            }
        }
        assert_int_equal(status, next > 0 ? KM_OK : KM_FAILED);
        kept += (int)next;
        if (next > 0) {
            assert_true(km_rows_count(some) == next);
            left += (int)km_rows_left_out(some);
        } else {
            assert_non_null(strstr(km_message(), "names, dates and numbers"));
        }
        km_row_destroy(row);
        km_row_destroy(same);
        km_rows_close(all);
        km_rows_close(some);
    }
    assert_true(kept > 300 && left > 300);
    km_corpus_close(corpus);
}

/* Names found in text, given ones in records that have them. */
static void names_are_found(void **state) {
    (void)state;
    km_corpus_options options = {.spans = KM_SPANS_FIND};
    must(build("a.txt", "he saw Cd ef on gh.\nCd ran in March 1999.\n\nCd ran.\n", options));
    expect_spans("[c ##d:entity][c ##d:entity][m ##a ##r ##c ##h [UNK]:date]");
    must(build("a.jsonl",
               "{\"text\": \"he saw Cd\", \"entities\": [[0, 2, \"X\"]]}\n{\"text\": \"he saw Cd\"}\n"
               "{\"text\": \"he saw Cd\", \"entities\": []}\n",
               options));
    expect_spans("[h ##e:entity][c ##d:entity]");
    must(build("a.txt", "no names here\n", options));
    expect_spans("");
    km_corpus *corpus = NULL;
    must(km_corpus_open(&corpus, at("out.h5")));
    assert_true(km_corpus_has_spans(corpus));
    assert_string_equal(km_store_text(corpus->store, "spans"), "found");
    km_corpus_close(corpus);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sentences_end_inside_lines),
        cmocka_unit_test(lines_can_be_sentences),
        cmocka_unit_test(entities_become_tokens),
        cmocka_unit_test(bad_entities_are_counted),
        cmocka_unit_test(fields_have_their_own_entities),
        cmocka_unit_test(no_sentence_ends_inside_an_entity),
        cmocka_unit_test(held_out_documents_keep_their_spans),
        cmocka_unit_test(rows_have_their_spans),
        cmocka_unit_test(rows_with_enough_spans_are_kept),
        cmocka_unit_test(names_are_found),
    };
    if (km_comm_open(&comm, &argc, &argv) != KM_OK) {
        return 1;
    }
    km_log_mute(true);
    int failed = cmocka_run_group_tests(tests, enter, leave);
    km_comm_close(comm);
    return failed;
}
