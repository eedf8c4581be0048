/* Packing against rows written out by hand, and its properties on random corpora; the index file; damaged
 * corpora. */
#include "corpus_help.h"

/* ---- Corpora made by hand ---- */

typedef struct raw {
    int32_t tokens[4096];
    uint8_t starts[4096];
    uint64_t sentences[4096], documents[4096];
    uint64_t counts[4]; /* of tokens, starts, sentences, documents */
} raw;

/* From the form of corpus_text: "ab c/d|" is the word ab, the word c, a sentence's end, the word d, a
 * document's. */
static raw *raw_of(const char *text) {
    raw *r = km_new(1, sizeof *r);
    bool inside = false;
    for (; *text != '\0'; text++) {
        uint64_t *n = r->counts;
        if (*text == '/' || *text == '|') {
            if (n[2] == 0 || r->sentences[n[2] - 1] < n[0]) {
                r->sentences[n[2]++] = n[0];
            }
            if (*text == '|') {
                r->documents[n[3]++] = n[0];
            }
        } else if (*text != ' ') {
            int32_t id = *text == '?' ? ID_UNK : (inside ? ID_AA : ID_A) + *text - 'a';
            r->tokens[n[0]++] = id;
            r->starts[n[1]++] = !inside;
        }
        inside = *text >= 'a' && *text <= 'z';
    }
    return r;
}

static km_status put(km_store *store, const char *name, const void *data) {
    const km_array *array = km_store_find(store, name);
    return km_store_write(store, array, 0, array->count, data);
}

static void write_raw(const raw *r, const char *path, const char *kind) {
    km_tokenizer *tokenizer = NULL;
    km_store *store = NULL;
    must(km_tokenizer_open(&tokenizer, at("tok")));
    char *json = km_tokenizer_print(tokenizer), hash[33];
    km_hash_text(hash, km_tokenizer_hash(tokenizer));
    must(km_store_create(&store, path));
    must(km_store_add(store, "/tokens", KM_U16, 1, &r->counts[0]));
    must(km_store_add(store, "/word_starts", KM_U8, 1, &r->counts[1]));
    must(km_store_add(store, "/sentence_ends", KM_U64, 1, &r->counts[2]));
    must(km_store_add(store, "/document_ends", KM_U64, 1, &r->counts[3]));
    must(km_store_set_text(store, "kind", kind));
    must(km_store_set_text(store, "tokenizer", json));
    must(km_store_set_text(store, "tokenizer_hash", hash));
    must(km_store_layout(store));
    uint16_t narrow[4096];
    for (uint64_t i = 0; i < r->counts[0]; i++) {
        narrow[i] = (uint16_t)r->tokens[i];
    }
    must(put(store, "/tokens", narrow));
    must(put(store, "/word_starts", r->starts));
    must(put(store, "/sentence_ends", r->sentences));
    must(put(store, "/document_ends", r->documents));
    must(km_store_commit(store));
    free(json);
    km_tokenizer_destroy(tokenizer);
}

static km_corpus *corpus_of(const char *text) {
    raw *r = raw_of(text);
    km_corpus *corpus = NULL;
    write_raw(r, at("raw.h5"), "corpus");
    must(km_corpus_open(&corpus, at("raw.h5")));
    free(r);
    return corpus;
}

/* "[ab c;d]": a row from [CLS] to the last [SEP], ";" for the ones between. */
static char *row_text(const km_row *row) {
    km_buffer text = {0};
    assert_int_equal(row->ids[0], ID_CLS);
    assert_int_equal(row->ids[row->length - 1], ID_SEP);
    km_buffer_print(&text, "[");
    for (int i = 1; i < row->length - 1; i++) {
        int32_t id = row->ids[i];
        char c = id == ID_SEP ? ';' : id == ID_UNK ? '?' : (char)('a' + (id >= ID_AA ? id - ID_AA : id - ID_A));
        bool apart = row->starts_word[i] && i > 1 && id != ID_SEP && row->ids[i - 1] != ID_SEP;
        km_buffer_print(&text, "%s%c", apart ? " " : "", c);
        assert_int_equal(row->maskable[i], id > ID_MASK);
        assert_true(row->starts_word[i] || (i > 1 && id >= ID_AA));
    }
    km_buffer_print(&text, "]");
    assert_int_equal(row->maskable[0] + row->maskable[row->length - 1], 0);
    assert_int_equal(row->starts_word[0] + row->starts_word[row->length - 1], 2);
    return text.data;
}

static char *rows_text(const km_rows *rows) {
    km_buffer text = {0};
    km_row *row = km_row_create(km_rows_length(rows));
    for (uint64_t i = 0; i < km_rows_count(rows); i++) {
        must(km_rows_read(rows, i, row));
        assert_true(row->number == i);
        char *one = row_text(row);
        km_buffer_print(&text, "%s", one);
        free(one);
    }
    km_row_destroy(row);
    return text.data;
}

static void expect_rows(const char *corpus_form, km_rows_options options, uint64_t left_out, const char *expected) {
    km_corpus *corpus = corpus_of(corpus_form);
    km_rows *rows = NULL;
    must(km_rows_open(&rows, corpus, &options, NULL));
    char *found = rows_text(rows);
    assert_string_equal(found, expected);
    assert_int_equal(km_rows_left_out(rows), left_out);
    free(found);
    km_rows_close(rows);
    km_corpus_close(corpus);
}

/* ---- Rows written out ---- */

/* Documents: two short sentences; one long one; two short; one. */
static const char four[] = "a b c/d e/|f g h i j k l m n o p q/|r/s t/|u v/|";

static void full_sentences_are_packed_greedily(void **state) {
    (void)state;
    const km_rows_options eight = {8, KM_PACK_FULL_SENTENCES, KM_UNIT_SUBWORD, 1, false};
    expect_rows(four, eight, 0, "[a b c d e][f g h i j k][l m n o p q][r s t;u v]");
    /* One place less: u v, which needs a [SEP] before it, goes on. */
    const km_rows_options seven = {7, KM_PACK_FULL_SENTENCES, KM_UNIT_SUBWORD, 1, false};
    expect_rows(four, seven, 0, "[a b c d e][f g h i j][k l m n o][p q;r][s t;u v]");
    const km_rows_options three = {3, KM_PACK_FULL_SENTENCES, KM_UNIT_SUBWORD, 1, false};
    expect_rows("a b/|c/|", three, 0, "[a][b][c]");
    const km_rows_options long_one = {40, KM_PACK_FULL_SENTENCES, KM_UNIT_SUBWORD, 1, false};
    expect_rows(four, long_one, 0, "[a b c d e;f g h i j k l m n o p q;r s t;u v]");
}

static void documents_are_not_mixed(void **state) {
    (void)state;
    const km_rows_options eight = {8, KM_PACK_DOCUMENTS, KM_UNIT_SUBWORD, 1, false};
    expect_rows(four, eight, 0, "[a b c d e][f g h i j k][l m n o p q][r s t][u v]");
    const km_rows_options six = {6, KM_PACK_DOCUMENTS, KM_UNIT_SUBWORD, 1, false};
    expect_rows(four, six, 0, "[a b c][d e][f g h i][j k l m][n o p q][r s t][u v]");
}

static void streams_are_filled(void **state) {
    (void)state;
    const km_rows_options seven = {7, KM_PACK_STREAM, KM_UNIT_SUBWORD, 1, false};
    expect_rows(four, seven, 0, "[a b c d e][f g h i j][k l m n o][p q;r s][t;u v]");
    /* A document that ends one place before the row leaves it empty: no [SEP] before nothing. */
    const km_rows_options eight = {8, KM_PACK_STREAM, KM_UNIT_SUBWORD, 1, false};
    expect_rows(four, eight, 0, "[a b c d e][f g h i j k][l m n o p q][r s t;u v]");
    const km_rows_options five = {5, KM_PACK_STREAM, KM_UNIT_SUBWORD, 1, false};
    expect_rows("a/|b/|c/|d/|", five, 0, "[a;b][c;d]");
}

static void words_are_counted_where_words_are_masked(void **state) {
    (void)state;
    const char text[] = "abc d/|ef gh/|ijklmn o p/|? q/|";
    const km_rows_options subwords = {8, KM_PACK_DOCUMENTS, KM_UNIT_SUBWORD, 3, false};
    expect_rows(text, subwords, 2, "[abc d][ef gh][ijklmn]");
    const km_rows_options words = {8, KM_PACK_DOCUMENTS, KM_UNIT_WORD, 2, false};
    expect_rows(text, words, 2, "[abc d][ef gh][o p]");
    const km_rows_options spans = {8, KM_PACK_DOCUMENTS, KM_UNIT_SPAN, 2, false};
    expect_rows(text, spans, 2, "[abc d][ef gh][o p]");
    /* A row's first token begins a word, also where it goes on with one: c d is a word and so is e. */
    const km_rows_options cut = {4, KM_PACK_STREAM, KM_UNIT_WORD, 1, false};
    expect_rows("abcd e/|", cut, 0, "[ab][cd][e]");
}

static void no_usable_row_is_an_error_that_helps(void **state) {
    (void)state;
    km_corpus *corpus = corpus_of("a b/|c/|? ?/|");
    const km_rows_options options = {8, KM_PACK_DOCUMENTS, KM_UNIT_WORD, 4, false};
    km_rows *rows = NULL;
    must_fail(km_rows_open(&rows, corpus, &options, NULL), "3 documents with 5 tokens give 3 rows of length 8");
    must_fail(km_rows_open(&rows, corpus, &options, at("rows")), "fewer than 4 maskable words");
    assert_null(rows);
    assert_false(km_file_exists(at("rows")) || km_file_exists(at("rows.tmp")));
    const km_rows_options short_rows = {2, KM_PACK_DOCUMENTS, KM_UNIT_WORD, 4, false};
    must_fail(km_rows_open(&rows, corpus, &short_rows, NULL), "3 to 65535");
    km_corpus_close(corpus);
}

/* ---- Properties on random corpora ---- */

static char *random_form(km_rng *rng) {
    km_buffer text = {0};
    uint32_t documents = 1 + km_rng_below(rng, 12);
    for (uint32_t d = 0; d < documents; d++) {
        uint32_t sentences = 1 + km_rng_below(rng, 5);
        for (uint32_t s = 0; s < sentences; s++) {
            uint32_t length = 1 + (km_rng_below(rng, 6) == 0 ? km_rng_below(rng, 60) : km_rng_below(rng, 9));
            for (uint32_t t = 0; t < length; t++) {
                const char *space = t > 0 && km_rng_below(rng, 3) > 0 ? " " : "";
                km_buffer_print(&text, "%s%c", space, (char)('a' + km_rng_below(rng, 26)));
            }
            km_buffer_print(&text, "/");
        }
        km_buffer_print(&text, "|");
    }
    return text.data;
}

/* The sentences of a row: one after the other over all of its tokens, they end where the corpus says, at a document's end or at the
 * row's. */
static void check_sentences(const raw *r, const km_row *row, uint64_t begin) {
    uint64_t token = begin;
    int at = 1;
    for (int s = 0; s < row->sentence_count; s++) {
        const km_row_sentence *sentence = &row->sentences[s];
        at += at < row->length - 1 && row->ids[at] == ID_SEP;
        assert_int_equal(sentence->start, at);
        assert_true(sentence->end > sentence->start && sentence->end < row->length);
        for (; at < sentence->end; at++) {
            assert_int_equal(row->ids[at], r->tokens[token++]);
            bool ends = false;
            for (uint64_t i = 0; i < r->counts[2]; i++) {
                ends = ends || r->sentences[i] == token;
            }
            assert_int_equal(ends || at == row->length - 2, at + 1 == sentence->end);
        }
    }
    assert_int_equal(at, row->length - 1);
}

/* Walks the rows of a corpus beside its arrays: every token once, a [SEP] at each inner document end. */
static void check_rows(const raw *r, const km_rows *rows, const km_rows_options *options) {
    km_row *row = km_row_create(options->length);
    uint64_t token = 0, sentence = 0, document = 0;
    row->wants_sentences = true;
    for (uint64_t i = 0; i < km_rows_count(rows); i++) {
        must(km_rows_read(rows, i, row));
        assert_true(row->length >= 3 && row->length <= options->length);
        uint64_t begin = token, first_sentence = sentence;
        check_sentences(r, row, begin);
        for (int p = 1; p < row->length - 1; p++) {
            if (row->ids[p] == ID_SEP) {
                assert_true(token > begin && r->documents[document - 1] == token);
                continue;
            }
            assert_true(token == begin || document == 0 || r->documents[document - 1] != token ||
                        row->ids[p - 1] == ID_SEP);
            assert_int_equal(row->ids[p], r->tokens[token]);
            assert_int_equal(row->starts_word[p], token == begin ? 1 : r->starts[token]);
            token++;
            sentence += r->sentences[sentence] == token;
            document += r->documents[document] == token;
        }
        int room = options->length - row->length;
        bool last = token == r->counts[0], at_sentence = sentence > 0 && r->sentences[sentence - 1] == token;
        bool at_document = document > 0 && r->documents[document - 1] == token;
        if (options->packing == KM_PACK_STREAM) {
            assert_true(last || room == 0 || (room == 1 && at_document));
        } else if (!last && !(options->packing == KM_PACK_DOCUMENTS && at_document)) {
            /* What follows did not fit, and only a sentence longer than a row is cut. */
            uint64_t next = r->sentences[sentence] - (at_sentence ? token : begin);
            assert_true(at_sentence ? next + (at_document ? 1 : 0) > (uint64_t)room : room == 0);
            assert_true(at_sentence || (first_sentence == sentence && next > (uint64_t)options->length - 2));
        }
        if (options->packing == KM_PACK_DOCUMENTS) {
            for (int p = 1; p < row->length - 1; p++) {
                assert_int_not_equal(row->ids[p], ID_SEP);
            }
        }
    }
    assert_int_equal(token, r->counts[0]);
    km_row_destroy(row);
}

static void every_token_is_in_one_row(void **state) {
    (void)state;
    km_rng rng = km_rng_make(3, KM_RNG_TEST, 0, 0);
    const int lengths[] = {3, 4, 7, 16, 31, 128};
    for (int round = 0; round < 12; round++) {
        char *form = random_form(&rng);
        raw *r = raw_of(form);
        km_corpus *corpus = corpus_of(form);
        for (size_t l = 0; l < KM_COUNT(lengths) * 3; l++) {
            const km_rows_options options = {lengths[l / 3], (km_packing)(l % 3), KM_UNIT_WORD, 1, false};
            km_rows *rows = NULL;
            must(km_rows_open(&rows, corpus, &options, NULL));
            assert_int_equal(km_rows_left_out(rows), 0);
            check_rows(r, rows, &options);
            km_rows_close(rows);
        }
        km_corpus_close(corpus);
        free(r);
        free(form);
    }
}

/* ---- The index file ---- */

static uint64_t inode_of(const char *path) {
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    return info.st_ino;
}

/* Opens the index file; true when it was taken as it stands. `expected`: the rows. */
static bool reused(const km_corpus *corpus, km_rows_options options, const char *expected) {
    const char *path = at("index");
    uint64_t before = km_file_exists(path) ? inode_of(path) : 0;
    /* Holds the old file's inode number, so that a new file has another. */
    FILE *hold = fopen(path, "rb");
    km_rows *rows = NULL;
    must(km_rows_open(&rows, corpus, &options, path));
    char *found = rows_text(rows);
    assert_string_equal(found, expected);
    free(found);
    km_rows_close(rows);
    if (hold != NULL) {
        fclose(hold);
    }
    return before == inode_of(path);
}

static void index_is_reused_only_when_it_fits(void **state) {
    (void)state;
    const char other_rows[] = "[a b c d e][f g h i j k][l m n o p q][r s t][u v]";
    const char rows[] = "[a b c d e][f g h i j k][l m n o p q][r s t;u v]";
    km_corpus *corpus = corpus_of(four);
    const km_rows_options options = {8, KM_PACK_FULL_SENTENCES, KM_UNIT_SUBWORD, 1, false};
    km_rows_options changed = options;
    assert_false(reused(corpus, options, rows));
    assert_true(reused(corpus, options, rows));
    changed.packing = KM_PACK_DOCUMENTS;
    assert_false(reused(corpus, changed, other_rows));
    assert_false(reused(corpus, options, rows));
    changed = options;
    changed.unit = KM_UNIT_WORD;
    assert_false(reused(corpus, changed, rows));
    km_corpus_close(corpus);
    corpus = corpus_of("x y z/|");
    assert_false(reused(corpus, changed, "[x y z]"));
    assert_true(reused(corpus, changed, "[x y z]"));
    km_corpus_close(corpus);
    assert_false(km_file_exists(at("index.tmp")));
}

static void a_damaged_index_is_made_again(void **state) {
    (void)state;
    const char rows[] = "[a b][c d]";
    km_corpus *corpus = corpus_of("a b c d/|");
    const km_rows_options options = {4, KM_PACK_FULL_SENTENCES, KM_UNIT_SUBWORD, 1, false};
    assert_false(reused(corpus, options, rows));
    char *good = NULL;
    size_t size = 0;
    must(km_file_read(&good, &size, at("index"), 1 << 20));
    for (size_t i = 0; i < size; i++) {
        good[i] = (char)(good[i] ^ 0x10);
        write_file("index", good, size);
        good[i] = (char)(good[i] ^ 0x10);
        assert_false(reused(corpus, options, rows));
        write_file("index", good, i);
        assert_false(reused(corpus, options, rows));
    }
    assert_true(reused(corpus, options, rows));
    free(good);
    km_corpus_close(corpus);
}

/* ---- Corpora that are not what they should be ---- */

static void expect_bad_rows(const raw *r, const char *what) {
    const km_rows_options options = {8, KM_PACK_FULL_SENTENCES, KM_UNIT_SUBWORD, 1, false};
    km_corpus *corpus = NULL;
    km_rows *rows = NULL;
    write_raw(r, at("bad.h5"), "corpus");
    km_status status = km_corpus_open(&corpus, at("bad.h5"));
    if (status == KM_OK) {
        status = km_rows_open(&rows, corpus, &options, NULL);
    }
    must_fail(status, what);
    must_fail(status, "bad.h5");
    km_corpus_close(corpus);
}

static void foreign_content_is_a_sentence(void **state) {
    (void)state;
    raw *r = raw_of(four);
    raw bad = *r;
    bad.tokens[3] = VOCABULARY;
    expect_bad_rows(&bad, "token id 58");
    bad = *r;
    bad.sentences[1] = bad.sentences[0];
    expect_bad_rows(&bad, "ends must ascend");
    bad = *r;
    bad.documents[1] = UINT64_MAX;
    expect_bad_rows(&bad, "ends must ascend");
    bad = *r;
    bad.documents[0]--;
    expect_bad_rows(&bad, "beyond its document's end");
    bad = *r;
    bad.counts[2]--;
    expect_bad_rows(&bad, "the last of /sentence_ends");
    bad = *r;
    bad.counts[1]--;
    expect_bad_rows(&bad, "differ in length");
    write_raw(r, at("model.h5"), "model");
    km_corpus *corpus = NULL;
    must_fail(km_corpus_open(&corpus, at("model.h5")), "kind model, expected a corpus");
    must_fail(km_corpus_open(&corpus, at("missing.h5")), "missing.h5");
    assert_null(corpus);
    free(r);
}

static void a_cut_or_flipped_corpus_is_a_sentence(void **state) {
    (void)state;
    km_corpus *corpus = corpus_of(four);
    km_corpus_close(corpus);
    char *good = NULL;
    size_t size = 0;
    must(km_file_read(&good, &size, at("raw.h5"), 1 << 24));
    for (size_t i = 0; i < size; i += i < 80 ? 1 : 97) {
        write_file("cut.h5", good, i);
        must_fail(km_corpus_open(&corpus, at("cut.h5")), "cut.h5");
    }
    for (size_t i = 0; i < size; i += i < 80 ? 1 : 101) {
        good[i] = (char)(good[i] ^ 4);
        write_file("cut.h5", good, size);
        good[i] = (char)(good[i] ^ 4);
        must_fail(km_corpus_open(&corpus, at("cut.h5")), "cut.h5");
    }
    free(good);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_sentences_are_packed_greedily),
        cmocka_unit_test(documents_are_not_mixed),
        cmocka_unit_test(streams_are_filled),
        cmocka_unit_test(words_are_counted_where_words_are_masked),
        cmocka_unit_test(no_usable_row_is_an_error_that_helps),
        cmocka_unit_test(every_token_is_in_one_row),
        cmocka_unit_test(index_is_reused_only_when_it_fits),
        cmocka_unit_test(a_damaged_index_is_made_again),
        cmocka_unit_test(foreign_content_is_a_sentence),
        cmocka_unit_test(a_cut_or_flipped_corpus_is_a_sentence),
    };
    return cmocka_run_group_tests(tests, enter, leave);
}
