/* Documents and long paragraphs that repeat earlier ones, against a slow twin that keeps all texts in memory. */
#include "corpus_ranks.h"

/* ---- Texts that repeat ---- */

enum { POOL = 24, LINE = 80, LONG = 200, DOCUMENTS = 300, MOST = 3 };

static uint64_t seed = 7;
static int below(int n) {
    seed = km_mix64(seed + 1);
    return (int)(seed % (uint64_t)n);
}

/* Paragraph i: one long line, three shorter ones, or one that is too short to count. */
static char *make_paragraph(int i) {
    km_buffer text = {0};
    const int lines = i % 3 == 1 ? 3 : 1, bytes = i % 3 == 0 ? 3 * LINE : i % 3 == 1 ? LINE : LINE / 4;
    for (int line = 0; line < lines; line++) {
        km_buffer_print(&text, "%s", line > 0 ? "\\n" : "");
        for (int k = 0; k < bytes; k++) {
            km_buffer_print(&text, "%c", k % 7 == 6 && k + 1 < bytes ? ' ' : 'a' + (i * 5 + line + k / 7) % 26);
        }
    }
    return text.data;
}

typedef struct text_set {
    char *texts[2 * DOCUMENTS];
    int count;
} text_set;

static bool insert(text_set *set, const char *text) {
    for (int i = 0; i < set->count; i++) {
        if (strcmp(set->texts[i], text) == 0) {
            return false;
        }
    }
    set->texts[set->count++] = km_strdup(text);
    return true;
}

static void empty(text_set *set) {
    for (int i = 0; i < set->count; i++) {
        free(set->texts[i]);
    }
    set->count = 0;
}

/* What the twin finds in the documents, and those that are left. */
typedef struct twin {
    text_set documents, paragraphs;
    km_buffer all, kept;
    uint64_t duplicate_documents, duplicate_paragraphs, kept_documents;
} twin;

static void add_document(twin *t, char *const paragraphs[], int count) {
    km_buffer text = {0}, kept = {0};
    for (int i = 0; i < count; i++) {
        km_buffer_print(&text, "%s%s", i > 0 ? "\\n\\n" : "", paragraphs[i]);
    }
    km_buffer_print(&t->all, "{\"text\": \"%s\"}\n", text.data);
    if (!insert(&t->documents, text.data)) {
        t->duplicate_documents++;
        count = 0;
    }
    for (int i = 0; i < count; i++) {
        if (strlen(paragraphs[i]) < LONG || insert(&t->paragraphs, paragraphs[i])) {
            km_buffer_print(&kept, "%s%s", kept.size > 0 ? "\\n\\n" : "", paragraphs[i]);
        } else {
            t->duplicate_paragraphs++;
        }
    }
    if (kept.size > 0) {
        km_buffer_print(&t->kept, "{\"text\": \"%s\"}\n", kept.data);
        t->kept_documents++;
    }
    km_buffer_free(&text);
    km_buffer_free(&kept);
}

static void make_twin(twin *t, int most) {
    char *pool[POOL];
    for (int i = 0; i < POOL; i++) {
        pool[i] = make_paragraph(i);
    }
    for (int i = 0; i < DOCUMENTS; i++) {
        char *of[MOST];
        const int count = 1 + below(most);
        for (int k = 0; k < count; k++) {
            of[k] = pool[below(POOL)];
        }
        add_document(t, of, count);
    }
    for (int i = 0; i < POOL; i++) {
        free(pool[i]);
    }
    if (km_comm_rank(comm) == 0) {
        write_text("all.jsonl", t->all.data);
        write_text("kept.jsonl", t->kept.data);
    }
    km_comm_barrier(comm);
}

static void twin_free(twin *t) {
    empty(&t->documents);
    empty(&t->paragraphs);
    km_buffer_free(&t->all);
    km_buffer_free(&t->kept);
}

static void build(const char *name, const char *out, uint64_t piece, double holdout, km_duplicate_rule rule,
                  km_span_source spans, km_corpus_report *report) {
    const char *input = at(name);
    const km_corpus_options options = {.out = at(out),
                                       .tokenizer = at("tok"),
                                       .inputs = &input,
                                       .input_count = 1,
                                       .field = "text",
                                       .force = true,
                                       .holdout = holdout,
                                       .spans = spans,
                                       .duplicates = rule};
    km_comm_barrier(comm);
    must(km_corpus_build_pieces(comm, &options, piece, report));
}

static km_hash hash_of(const char *name) {
    km_corpus *corpus = NULL;
    must(km_corpus_open(&corpus, at(name)));
    const km_hash hash = km_corpus_hash(corpus);
    km_corpus_close(corpus);
    return hash;
}

/* ---- Tests ---- */

/* What is left out leaves the very corpus of the text without it, on any number of ranks and for any pieces; counting changes nothing. */
static void left_out_as_if_it_had_not_been_there(void **state) {
    (void)state;
    const uint64_t pieces[] = {64, 1000, 1 << 20};
    const km_span_source sources[] = {KM_SPANS_GIVEN, KM_SPANS_FIND, KM_SPANS_NONE};
    twin t = {0};
    make_twin(&t, MOST);
    assert_true(t.duplicate_documents > 20 && t.duplicate_paragraphs > 20 && t.kept_documents > 20);
    for (size_t i = 0; i < KM_COUNT(pieces); i++) {
        km_corpus_report kept, report, dropped;
        build("kept.jsonl", "kept.h5", pieces[i], 0, KM_DUPLICATES_REPORT, sources[i], &kept);
        build("all.jsonl", "all.h5", pieces[i], 0, KM_DUPLICATES_REPORT, sources[i], &report);
        build("all.jsonl", "dropped.h5", pieces[i], 0, KM_DUPLICATES_DROP, sources[i], &dropped);
        assert_int_equal(report.documents, DOCUMENTS);
        assert_int_equal(report.duplicate_documents, t.duplicate_documents);
        assert_int_equal(report.duplicate_paragraphs, t.duplicate_paragraphs);
        assert_int_equal(dropped.duplicate_documents, t.duplicate_documents);
        assert_int_equal(dropped.duplicate_paragraphs, t.duplicate_paragraphs);
        assert_int_equal(dropped.documents, t.kept_documents);
        assert_int_equal(dropped.tokens, kept.tokens);
        assert_int_equal(dropped.sentences, kept.sentences);
        assert_int_equal(dropped.median_tokens, kept.median_tokens);
        assert_true(km_hash_equal(hash_of("dropped.h5"), hash_of("kept.h5")));
    }
    twin_free(&t);
}

/* With a holdout: documents of one paragraph, so that a document that goes changes no other one's side. */
static void on_both_sides(void **state) {
    (void)state;
    twin t = {0};
    make_twin(&t, 1);
    for (uint64_t piece = 64; piece <= 4096; piece *= 8) {
        km_corpus_report kept, dropped;
        build("kept.jsonl", "kept.h5", piece, 0.4, KM_DUPLICATES_REPORT, KM_SPANS_GIVEN, &kept);
        build("all.jsonl", "dropped.h5", piece, 0.4, KM_DUPLICATES_DROP, KM_SPANS_GIVEN, &dropped);
        assert_int_equal(dropped.duplicate_documents, DOCUMENTS - POOL);
        assert_int_equal(dropped.documents + dropped.holdout_documents, POOL);
        assert_true(dropped.holdout_documents > 2);
        assert_true(km_hash_equal(hash_of("dropped.h5"), hash_of("kept.h5")));
        assert_true(km_hash_equal(hash_of("dropped.holdout.h5"), hash_of("kept.holdout.h5")));
    }
    twin_free(&t);
}

/* Spans, tags and unknown tokens go with the text that they are in. */
static void with_spans_and_tags(void **state) {
    (void)state;
    static const char first[] =
        "{\"text\": \"ab cd\", \"entities\": [[0, 2, \"PERSON\"]], \"tags\": [[3, 5, \"X\"]]}\n";
    static const char second[] =
        "{\"text\": \"ef 9 gh\", \"entities\": [[0, 2, \"DATE\"]], \"tags\": [[0, 2, \"Y\"]]}\n";
    if (km_comm_rank(comm) == 0) {
        char *all = km_format("%s%s%s%s%s", first, first, second, first, second),
             *kept = km_format("%s%s", first, second);
        write_text("all.jsonl", all);
        write_text("kept.jsonl", kept);
        free(all);
        free(kept);
    }
    for (uint64_t piece = 32; piece <= 1 << 20; piece *= 64) {
        km_corpus_report kept, dropped;
        build("kept.jsonl", "kept.h5", piece, 0, KM_DUPLICATES_REPORT, KM_SPANS_GIVEN, &kept);
        build("all.jsonl", "dropped.h5", piece, 0, KM_DUPLICATES_DROP, KM_SPANS_GIVEN, &dropped);
        assert_int_equal(dropped.duplicate_documents, 3);
        assert_int_equal(dropped.unknown_tokens, 1);
        assert_int_equal(dropped.spans, 2);
        assert_int_equal(dropped.tagged_tokens, kept.tagged_tokens);
        assert_true(km_hash_equal(hash_of("dropped.h5"), hash_of("kept.h5")));
    }
}

int main(int argc, char **argv) {
    if (km_comm_open(&comm, &argc, &argv) != KM_OK) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(left_out_as_if_it_had_not_been_there),
        cmocka_unit_test(on_both_sides),
        cmocka_unit_test(with_spans_and_tags),
    };
    const int failed = cmocka_run_group_tests(tests, enter_together, leave_together);
    km_comm_close(comm);
    return failed != 0;
}
