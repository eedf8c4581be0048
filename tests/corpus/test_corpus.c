/* Text to corpus: what documents and sentences become of many kinds of input, whatever the pieces they are read
 * in. */
#include "corpus_help.h"
#include "kmask/input.h"

#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <zlib.h>

static km_comm *comm;

typedef struct input {
    const char *out; /* "out.h5" unless given */
    km_corpus_options options;
    uint64_t piece;
    km_corpus_report report;
} input;

static km_status build(input *in, const char *name) {
    const char *path = at(name);
    km_corpus_options *o = &in->options;
    o->out = at(in->out != NULL ? in->out : "out.h5");
    o->tokenizer = at("tok");
    o->field = o->field != NULL ? o->field : "text";
    o->force = true;
    o->inputs = &path;
    o->input_count = 1;
    return km_corpus_build_pieces(comm, o, in->piece > 0 ? in->piece : 1 << 25, &in->report);
}

/* Builds from text in a file of this name, and compares with corpus_text's form. */
static km_corpus_report expect(const char *name, const char *text, km_document document, const char *expected) {
    input in = {.options.document = document};
    write_text(name, text);
    must(build(&in, name));
    expect_corpus(at("out.h5"), expected);
    return in.report;
}

static void documents_are_separated(void **state) {
    (void)state;
    const char text[] = "Ab c\nd.\n\n  \t\ne\n \n\n\nf g";
    km_corpus_report r = expect("a.txt", text, KM_DOCUMENT_BLANK, "ab c/d ./|e/|f g/|");
    assert_int_equal(r.documents, 3);
    assert_int_equal(r.sentences, 4);
    assert_int_equal(r.tokens, 8); /* ab is a ##b */
    assert_int_equal(r.files, 1);
    assert_int_equal(r.bytes, strlen(text));
    expect("a.txt", text, KM_DOCUMENT_LINE, "ab c/|d ./|e/|f g/|");
    expect("a.txt", text, KM_DOCUMENT_FILE, "ab c/d ./e/f g/|");
    expect("a.txt", "\n\n\na", KM_DOCUMENT_BLANK, "a/|");
    expect("a.txt", "a\n", KM_DOCUMENT_BLANK, "a/|");
}

static void line_ends_of_other_systems(void **state) {
    (void)state;
    expect("a.txt", "a b\r\nc\r\n\r\nd\r\n", KM_DOCUMENT_BLANK, "a b/c/|d/|");
    expect("a.txt",
           "\xEF\xBB\xBF"
           "a\r\n\r\nb",
           KM_DOCUMENT_BLANK, "a/|b/|");
    expect("a.jsonl", "\xEF\xBB\xBF{\"text\": \"a\\r\\nb\"}\r\n\r\n{\"text\": \"c\"}\r\n", KM_DOCUMENT_BLANK,
           "a/b/|c/|");
}

static void strange_bytes_are_counted_not_fatal(void **state) {
    (void)state;
    input in = {.options.invalid = KM_INVALID_REPLACE};
    const char bytes[] = "a\0b\n\n\xFF\xFE c \x80\n\n\0\0\n\n\xC3";
    write_file("a.txt", bytes, sizeof bytes - 1);
    must(build(&in, "a.txt"));
    assert_true(in.report.invalid_utf8 > 0);
    assert_int_equal(in.report.documents, 2); /* NUL bytes are dropped; the last two documents have no token */
    assert_int_equal(in.report.empty_documents, 2);
    expect_corpus(at("out.h5"), "ab/|c/|");
    km_corpus_report r = expect("a.txt", "\xE4\xB8\xAD \xE4\xB8\xAD\n\na", KM_DOCUMENT_BLANK, "[UNK] [UNK]/|a/|");
    assert_int_equal(r.unknown_tokens, 2);
}

static void empty_files_are_no_documents(void **state) {
    (void)state;
    must(km_make_folder(at("many/sub")));
    write_text("many/b.txt", "");
    write_text("many/a.txt", "a\n");
    write_text("many/.hidden", "h\n");
    write_text("many/sub/c.txt", "c\n");
    write_text("many/z.jsonl", "{\"text\": \"z\"}");
    assert_int_equal(symlink(".", at("many/loop")), 0);
    input in = {0};
    must(build(&in, "many"));
    expect_corpus(at("out.h5"), "a/|c/|z/|");
    assert_int_equal(in.report.files, 4);
    in.options.document = KM_DOCUMENT_FILE;
    must(build(&in, "many"));
    assert_int_equal(in.report.empty_documents, 1);
    expect_corpus(at("out.h5"), "a/|c/|z/|");
    /* A corpus in the folder that it is made of is not its own input. */
    in.out = "many/out.h5";
    must(build(&in, "many"));
    must(build(&in, "many"));
    assert_int_equal(in.report.files, 4);
    must_fail(build(&in, "many/out.h5"), "both input and output");
}

/* ---- JSONL ---- */

static void fields_are_found(void **state) {
    (void)state;
    input in = {.options.field = "title,body.text"};
    write_text("a.jsonl", "{\"title\": \"a\", \"body\": {\"text\": \"b\\n\\nc d\"}}\n"
                          "{\"title\": \"e\", \"body.text\": \"f\"}\n");
    must(build(&in, "a.jsonl"));
    expect_corpus(at("out.h5"), "a/b/c d/|e/f/|");
    in.options.field = "body.text";
    must(build(&in, "a.jsonl"));
    expect_corpus(at("out.h5"), "b/c d/|f/|");
    km_corpus_report r = expect("a.jsonl", "{\"text\": \"a\\u0000b \\\\u0000 c\"}\n{\"text\": \"\"}\n",
                                KM_DOCUMENT_BLANK, "a b [UNK] [UNK] c/|");
    assert_int_equal(r.empty_documents, 1);
}

static void bad_records_are_counted(void **state) {
    (void)state;
    const char text[] = "{\"text\": \"a\"}\nnot json\n[1]\n{\"txt\": \"b\"}\n{\"text\": 7}\n{\"text\": \"c\"} x\n"
                        "{\"text\": \"d\"}\n{\"text\": \"e\"";
    km_corpus_report r = expect("a.jsonl", text, KM_DOCUMENT_BLANK, "a/|d/|");
    assert_int_equal(r.bad_records, 6);
    assert_int_equal(r.documents, 2);
}

/* What Python's json module reads: NaN and Infinity, half of a surrogate pair, doubled keys; and a list of paragraphs. */
static void records_are_read_as_python_reads_them(void **state) {
    (void)state;
    write_text("odd", "{\"score\": NaN, \"text\": \"a\", \"x\": [-Infinity, Infinity, \"NaN\"]}\n"
                      "{\"text\": \"b\", \"text\": \"c\"}\n"
                      "{\"text\": \"d \\ud83d \\ud83d\\ude00 \\\\ud83d e\"}\n"
                      "{\"text\": [\"f\", \"g\"]}\n"
                      "{\"text\": NaN}\n");
    input in = {0};
    must(build(&in, "odd"));
    assert_int_equal(in.report.bad_records, 1);
    assert_int_equal(in.report.documents, 4);
    expect_corpus(at("out.h5"), "a/|c/|d [UNK] [UNK] [UNK] e/|f/g/|");
}

/* Documents of WikiExtractor's form, whatever pieces they are read in. */
static void wiki_documents_are_read(void **state) {
    (void)state;
    for (uint64_t piece = 1; piece < 200; piece += 3) {
        input in = {.piece = piece};
        write_text("wiki_00", "<doc id=\"1\" url=\"u\" title=\"t\">\na\n\nb c\n</doc>\n\n<doc id=\"2\" url=\"u\" "
                              "title=\"t\">\nd\n\n</doc>\n<doc id=\"3\" url=\"u\" title=\"t\">\n</doc>\nx\n");
        must(build(&in, "wiki_00"));
        expect_corpus(at("out.h5"), "a/b c/|d/|x/|");
    }
}

/* Few invalid bytes are a warning, many are an error, and options decide otherwise. */
static void invalid_text_is_judged_by_file(void **state) {
    (void)state;
    km_buffer text = {0};
    for (int i = 0; i < 400; i++) {
        km_buffer_print(&text, i == 300 ? "a\xE9 b\n\n" : "a b c\n\n");
    }
    for (uint64_t piece = 50; piece < 4000; piece += 700) {
        input in = {.piece = piece};
        write_file("few.txt", text.data, text.size);
        must(build(&in, "few.txt"));
        assert_int_equal(in.report.documents, 400);
        in.options.invalid = KM_INVALID_SKIP;
        must(build(&in, "few.txt"));
        assert_int_equal(in.report.documents, 399);
        assert_int_equal(in.report.skipped_lines, 1);
        in.options.invalid = KM_INVALID_REFUSE;
        must_fail(build(&in, "few.txt"), "few.txt:601: bytes that are not UTF-8");
    }
    text.size = 0;
    for (int i = 0; i < 40000; i++) {
        km_buffer_print(&text, i < 20000 ? "a b c\n" : "a\xE9 \xE8\n");
    }
    write_file("many.txt", text.data, text.size);
    input in = {.piece = 5000};
    must_fail(build(&in, "many.txt"), "many.txt:20001: here bytes begin that are not UTF-8");
    in.options.encoding = "latin-1";
    must(build(&in, "many.txt"));
    km_buffer_free(&text);
}

static void only_bad_records_are_an_error(void **state) {
    (void)state;
    for (uint64_t piece = 1; piece < 100; piece += 7) {
        input in = {.piece = piece, .out = "none.h5"};
        write_text("bad.jsonl", "\n\n{\"title\": \"a\", \"body\": \"b\"}\n{\"title\": \"a\"}\n");
        must_fail(build(&in, "bad.jsonl"), "bad.jsonl:3: no field \"text\"; the record's fields are: title, body");
        assert_false(km_file_exists(at("none.h5")));
        write_text("bad.jsonl", "{\"text\": [\"a\", 1]}\n");
        must_fail(build(&in, "bad.jsonl"), "bad.jsonl:1: field \"text\" is an array, expected a string");
        write_text("bad.jsonl", "\"a\"\n");
        must_fail(build(&in, "bad.jsonl"), "found a string, expected an object");
        write_text("bad.jsonl", "\n<html>\n");
        must_fail(build(&in, "bad.jsonl"), "bad.jsonl:2: ");
    }
}

/* ---- Compression ---- */

static void write_gzip(const char *name, const char *text, const char *mode) {
    gzFile file = gzopen(at(name), mode);
    assert_non_null(file);
    assert_int_equal(gzwrite(file, text, (unsigned)strlen(text)), strlen(text));
    assert_int_equal(gzclose(file), Z_OK);
}

static void compressed_text_is_read(void **state) {
    (void)state;
    write_gzip("a.txt.gz", "a b\n\nc", "wb");
    write_gzip("a.txt.gz", " d\n\n", "ab"); /* a second member */
    write_gzip("a.txt.gz", "", "ab");
    write_gzip("a.txt.gz", "e\n", "ab");
    input in = {.piece = 3};
    must(build(&in, "a.txt.gz"));
    expect_corpus(at("out.h5"), "a b/|c d/|e/|");
    assert_int_equal(in.report.bytes, strlen("a b\n\nc d\n\ne\n"));
    write_gzip("b.jsonl.gz", "{\"text\": \"a\"}\n{\"text\": \"b\"}", "wb");
    must(build(&in, "b.jsonl.gz"));
    expect_corpus(at("out.h5"), "a/|b/|");
    /* Cut at any byte: a sentence, but for an empty file, which has nothing to say. */
    char *good = NULL;
    size_t size = 0;
    must(km_file_read(&good, &size, at("b.jsonl.gz"), 1 << 20));
    for (size_t i = 1; i < size; i++) {
        write_file("cut.gz", good, i);
        must_fail(build(&in, "cut.gz"), "cut.gz: the file is cut short");
    }
    good[size / 2] = (char)~good[size / 2];
    write_file("cut.gz", good, size);
    must_fail(build(&in, "cut.gz"), "expected a whole gzip file");
    write_text("cut.gz", "plain text");
    must_fail(build(&in, "cut.gz"), "expected a whole gzip file");
    expect_corpus(at("out.h5"), "a/|b/|"); /* the older one stands */
    free(good);
}

/* ---- Long lines ---- */

static void long_lines_are_cut(void **state) {
    (void)state;
    enum { LONG = 3 << 20 };
    char *text = km_new(LONG + 8, 1);
    memset(text, ' ', LONG);
    for (size_t i = 0; i < LONG; i += 64) {
        text[i] = 'a';
    }
    memcpy(text + LONG, "\nb\n\nc\n", 7);
    write_text("long.txt", text);
    input in = {0};
    must(build(&in, "long.txt"));
    assert_int_equal(in.report.cut_lines, 1);
    assert_int_equal(in.report.documents, 2);
    assert_int_equal(in.report.sentences, 3 + 2);
    assert_int_equal(in.report.tokens, LONG / 64 + 2);
    /* Characters of three bytes, no blank anywhere: none is torn. */
    memset(text, 0, LONG + 8);
    for (size_t i = 0; i + 3 <= LONG; i += 3) {
        memcpy(text + i, "\xE4\xB8\xAD", 3);
    }
    write_text("long.txt", text);
    must(build(&in, "long.txt"));
    assert_int_equal(in.report.invalid_utf8, 0);
    assert_int_equal(in.report.cut_lines, 1);
    assert_int_equal(in.report.tokens, LONG / 3);
    /* The same text as a JSON string. */
    km_buffer json = {0};
    km_buffer_print(&json, "{\"text\": \"%s\"}", text);
    write_text("long.jsonl", json.data);
    km_corpus_report plain = in.report;
    must(build(&in, "long.jsonl"));
    assert_int_equal(in.report.tokens, plain.tokens);
    assert_int_equal(in.report.sentences, plain.sentences);
    assert_int_equal(in.report.cut_lines, 1);
    km_buffer_free(&json);
    free(text);
}

/* ---- Pieces do not show ---- */

static km_hash hash_of(const char *path) {
    char *bytes = NULL;
    size_t size = 0;
    must(km_file_read(&bytes, &size, path, 1 << 28));
    km_hash hash = km_hash_bytes(bytes, size);
    free(bytes);
    return hash;
}

/* Random lines, blank ones among them, some of blanks only, one at times longer than a piece. */
static char *random_text(uint64_t key, bool jsonl) {
    km_rng rng = km_rng_make(17, KM_RNG_TEST, 0, key);
    km_buffer text = {0};
    for (int line = 0; line < 60; line++) {
        uint32_t length = km_rng_below(&rng, 3) == 0 ? 0 : km_rng_below(&rng, 12);
        km_buffer_print(&text, "%s", jsonl && length > 0 ? "{\"text\": \"" : "");
        for (uint32_t i = 0; i < length; i++) {
            const char *any = "ab c";
            km_buffer_add(&text, any + km_rng_below(&rng, 4), 1);
        }
        km_buffer_print(&text, "%s%s", jsonl && length > 0 ? "\"}" : "", km_rng_below(&rng, 5) ? "\n" : "\r\n");
    }
    return text.data;
}

static void output_does_not_depend_on_pieces(void **state) {
    (void)state;
    for (uint64_t key = 0; key < 4; key++) {
        bool jsonl = key % 2 == 1;
        const char *name = jsonl ? "p.jsonl" : "p.txt";
        char *text = random_text(key, jsonl);
        write_text(name, text);
        for (int document = KM_DOCUMENT_BLANK; document <= KM_DOCUMENT_FILE; document++) {
            input whole = {
                .options = {.document = (km_document)document, .holdout = document == KM_DOCUMENT_FILE ? 0 : 0.3}};
            must(build(&whole, name));
            const bool held_out = whole.options.holdout > 0;
            km_hash expected = hash_of(at("out.h5")), holdout = {0};
            if (held_out) {
                holdout = hash_of(at("out.holdout.h5"));
            }
            assert_int_equal(km_file_exists(at("out.holdout.h5")), held_out); /* an older one is removed */
            for (uint64_t piece = 1; piece < 120; piece += piece < 8 ? 1 : 17) {
                input in = whole;
                in.piece = piece;
                must(build(&in, name));
                assert_true(km_hash_equal(hash_of(at("out.h5")), expected));
                assert_true(!held_out || km_hash_equal(hash_of(at("out.holdout.h5")), holdout));
                assert_memory_equal(&in.report, &whole.report, sizeof in.report);
            }
        }
        free(text);
    }
}

/* A line of blanks is a blank line up to 1 MiB, whoever looks at it: from before, or back from a piece behind
 * it. */
static void long_blank_lines_separate_alike(void **state) {
    (void)state;
    const size_t lengths[] = {(1 << 20) - 1, 1 << 20, (1 << 20) + 1};
    for (size_t l = 0; l < KM_COUNT(lengths); l++) {
        km_buffer text = {0};
        km_buffer_print(&text, "a\n%*s\nb\nc\n\nd\n", (int)lengths[l], "");
        write_text("blank.txt", text.data);
        input whole = {0};
        must(build(&whole, "blank.txt"));
        assert_int_equal(whole.report.documents, lengths[l] > 1 << 20 ? 2 : 3);
        km_hash expected = hash_of(at("out.h5"));
        for (uint64_t piece = lengths[l] - 2; piece < lengths[l] + 12; piece++) {
            input in = {.piece = piece};
            must(build(&in, "blank.txt"));
            assert_true(km_hash_equal(hash_of(at("out.h5")), expected));
        }
        km_buffer_free(&text);
    }
}

/* ---- Holdout ---- */

static void documents_are_held_out_by_their_text(void **state) {
    (void)state;
    enum { DOCUMENTS = 4000 };
    km_rng rng = km_rng_make(5, KM_RNG_TEST, 1, 0);
    km_buffer text = {0};
    for (int i = 0; i < DOCUMENTS; i++) {
        uint32_t word = km_rng_below(&rng, 2000); /* each text comes about twice */
        km_buffer_print(&text, "%c%c%c a\nb%s", (char)('a' + word % 26), (char)('a' + word / 26 % 26),
                        (char)('a' + word / 676), i % 2 ? "\n\n" : " \r\n\n\n");
    }
    write_text("h.txt", text.data);
    input in = {.options.holdout = 0.2};
    must(build(&in, "h.txt"));
    double share = (double)in.report.holdout_documents / DOCUMENTS;
    assert_true(fabs(share - 0.2) < 0.04);
    assert_int_equal(in.report.documents + in.report.holdout_documents, DOCUMENTS);
    assert_int_equal(in.report.holdout_sentences, 2 * in.report.holdout_documents);
    /* No text on both sides. */
    km_corpus *sides[2];
    char *texts[2];
    for (int s = 0; s < 2; s++) {
        must(km_corpus_open(&sides[s], at(s ? "out.holdout.h5" : "out.h5")));
        texts[s] = corpus_text(sides[s]);
    }
    assert_int_equal(km_corpus_tokens(sides[1]), in.report.holdout_tokens);
    char *rest = texts[1];
    for (char *document = strsep(&rest, "|"); document != NULL && *document != '\0';
         document = strsep(&rest, "|")) {
        char *marked = km_format("|%s|", document);
        assert_null(strstr(texts[0], marked));
        free(marked);
    }
    for (int s = 0; s < 2; s++) {
        free(texts[s]);
        km_corpus_close(sides[s]);
    }
    km_buffer_free(&text);
}

/* Far beyond the buffers: what was spilled is moved and cut back in the file. Hashes decide which side it is on, so
 * it begins with one letter after the other until it was moved behind another held-out document. */
static void a_long_document_can_be_held_out(void **state) {
    (void)state;
    bool moved = false;
    for (char first = 'a'; first <= 'z' && !moved; first++) {
        km_buffer text = {0};
        km_buffer_print(&text, "c\n\nd\n\ne\n\nf\n\n%c\n", first);
        for (int i = 0; i < 400000; i++) {
            km_buffer_print(&text, "a b%s", i % 30 ? " " : "\n");
        }
        km_buffer_print(&text, "\n\ng\n\nh\n\ni\n\nj\n");
        write_text("h.txt", text.data);
        km_buffer_free(&text);
        input in = {.options.holdout = 0.5};
        must(build(&in, "h.txt"));
        assert_int_equal(in.report.tokens + in.report.holdout_tokens, 800009);
        moved = in.report.holdout_tokens > 800001;
        km_corpus *corpus = NULL;
        must(km_corpus_open(&corpus, at("out.holdout.h5")));
        const km_rows_options options = {12, KM_PACK_STREAM, KM_UNIT_WORD, 1, false};
        km_rows *rows = NULL;
        must(km_rows_open(&rows, corpus, &options, NULL)); /* walks all ends */
        km_rows_close(rows);
        km_corpus_close(corpus);
    }
    assert_true(moved);
}

static void shares_that_leave_nothing(void **state) {
    (void)state;
    write_text("one.txt", "a\n");
    input in = {.options.holdout = 0.999999, .out = "share.h5"};
    must_fail(build(&in, "one.txt"), "sends all 1 documents to the held-out corpus");
    assert_false(km_file_exists(at("share.h5")));
    in.options.holdout = 1e-9;
    must(build(&in, "one.txt"));
    assert_true(km_file_exists(at("share.h5")));
    assert_false(km_file_exists(at("share.holdout.h5")));
    in.options.holdout = 1;
    must_fail(build(&in, "one.txt"), "--holdout 1");
    in.options.holdout = NAN;
    must_fail(build(&in, "one.txt"), "--holdout");
}

/* ---- What is wrong is said ---- */

static void bad_input_is_a_sentence(void **state) {
    (void)state;
    input in = {.out = "none.h5"};
    must_fail(build(&in, "missing.txt"), "missing.txt: cannot read: No such file");
    write_text("empty.txt", "");
    must_fail(build(&in, "empty.txt"), "no text to train on: 1 files");
    write_text("blank.txt", " \n\n\n");
    must_fail(build(&in, "blank.txt"), "blank.txt");
    must(km_make_folder(at("nothing")));
    must_fail(build(&in, "nothing"), "no files in this folder");
    must_fail(build(&in, "../../dev/null"), "neither a file nor a folder nor a pipe");
    write_text("a.txt", "a\n");
    in.options.field = "a,,b";
    must_fail(build(&in, "a.txt"), "--field");
    in.options.field = NULL;
    in.out = "no/such/out.h5";
    must_fail(build(&in, "a.txt"), "there is no folder");
    in.out = "nothing";
    must_fail(build(&in, "a.txt"), "is there and no file");
    const char *path = at("a.txt");
    in.options.out = "";
    in.options.inputs = &path;
    must_fail(km_corpus_build(comm, &in.options, &in.report), "--out is empty");
    assert_false(km_file_exists(at("none.h5")) || km_file_exists(at("none.h5.tmp")));
}

/* A limit on file sizes stands for a disk that is full: early, in the spill, or late, in the corpus itself. */
static void a_full_disk_harms_nothing(void **state) {
    (void)state;
    km_buffer text = {0};
    for (int i = 0; i < 400000; i++) {
        km_buffer_print(&text, "a b%s", i % 30 ? " " : "\n\n");
    }
    write_text("full.txt", text.data);
    km_buffer_free(&text);
    expect("a.txt", "a", KM_DOCUMENT_BLANK, "a/|");
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit old;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    const rlim_t limits[] = {1 << 20, 2 << 20};
    for (size_t i = 0; i < KM_COUNT(limits); i++) {
        const struct rlimit low = {limits[i], old.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
        input in = {0};
        km_status status = build(&in, "full.txt");
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        must_fail(status, "File too large");
        must_fail(status, i == 0 ? ".tmp.0.tokens: " : ".tmp: ");
        assert_false(km_file_exists(at("out.h5.tmp")));
        expect_corpus(at("out.h5"), "a/|");
    }
}

/* The middle of a bin is at most 1/32 away from all that fall into it. */
static void median_is_near(void **state) {
    (void)state;
    for (int size = 1; size < 3000; size = size * 5 / 4 + 1) {
        km_buffer text = {0};
        for (int document = 0; document < 3; document++) {
            int tokens = document == 0 ? 1 : document == 1 ? size : 3000;
            for (int i = 0; i < tokens; i++) {
                km_buffer_print(&text, "a ");
            }
            km_buffer_print(&text, "\n");
        }
        write_text("m.txt", text.data);
        input in = {.options.document = KM_DOCUMENT_LINE};
        must(build(&in, "m.txt"));
        assert_true(fabs((double)in.report.median_tokens - size) <= 0.05 * size);
        km_buffer_free(&text);
    }
}

/* The size of a file is what the work was planned by: one that has become shorter since is an error, and no short corpus. */
static void text_that_becomes_shorter_is_an_error(void **state) {
    (void)state;
    write_text("short.txt", "one line\nand one more\n");
    km_bytes *bytes = NULL;
    assert_int_equal(km_bytes_open(&bytes, at("short.txt"), 0), KM_OK);
    km_bytes_expect(bytes, 100);
    km_lines *lines = km_lines_create(bytes, 0, 1000);
    km_text_line line = {.text = ""};
    km_status status = KM_OK;
    while (status == KM_OK && line.text != NULL) {
        status = km_lines_next(lines, &line);
    }
    must_fail(status, "became shorter while it was read: 22 of 100 bytes are there, 78 are missing");
    km_lines_destroy(lines);
    km_bytes_close(bytes);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_that_becomes_shorter_is_an_error),
        cmocka_unit_test(documents_are_separated),
        cmocka_unit_test(line_ends_of_other_systems),
        cmocka_unit_test(strange_bytes_are_counted_not_fatal),
        cmocka_unit_test(empty_files_are_no_documents),
        cmocka_unit_test(fields_are_found),
        cmocka_unit_test(bad_records_are_counted),
        cmocka_unit_test(records_are_read_as_python_reads_them),
        cmocka_unit_test(wiki_documents_are_read),
        cmocka_unit_test(invalid_text_is_judged_by_file),
        cmocka_unit_test(only_bad_records_are_an_error),
        cmocka_unit_test(compressed_text_is_read),
        cmocka_unit_test(long_lines_are_cut),
        cmocka_unit_test(output_does_not_depend_on_pieces),
        cmocka_unit_test(long_blank_lines_separate_alike),
        cmocka_unit_test(documents_are_held_out_by_their_text),
        cmocka_unit_test(a_long_document_can_be_held_out),
        cmocka_unit_test(shares_that_leave_nothing),
        cmocka_unit_test(bad_input_is_a_sentence),
        cmocka_unit_test(a_full_disk_harms_nothing),
        cmocka_unit_test(median_is_near),
    };
    if (km_comm_open(&comm, &argc, &argv) != KM_OK) {
        return 1;
    }
    km_log_mute(true);
    int failed = cmocka_run_group_tests(tests, enter, leave);
    km_comm_close(comm);
    return failed;
}
