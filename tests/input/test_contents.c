/* Files as people have them: containers made by libarchive, encodings made by hand, what is no text, and damage. */
#include <archive.h>
#include <archive_entry.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "kmask/input.h"

static char folder[64];

static const char *at(const char *name) {
    static char paths[8][256];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void write_file(const char *name, const void *bytes, size_t count) {
    assert_int_equal(km_file_replace(at(name), bytes, count), KM_OK);
}

static int enter(void **state) {
    (void)state;
    strcpy(folder, "/tmp/kmask-test-XXXXXX");
    assert_non_null(mkdtemp(folder));
    return 0;
}

static int leave(void **state) {
    (void)state;
    char *command = km_format("rm -rf '%s'", folder);
    assert_int_equal(system(command), 0);
    free(command);
    return 0;
}

/* ---- What a file holds, as one text: "<form:line|line|>" for each text ---- */

static km_status lines_of(km_buffer *out, const km_text_source *source) {
    km_lines *lines = km_lines_create(source->bytes, 0, 1 << 20);
    km_text_line line = {0};
    km_status status = KM_OK;
    km_buffer_print(out, "<%c:", "atjcvw"[source->form]);
    do {
        status = km_lines_next(lines, &line);
        if (status == KM_OK && line.text != NULL) {
            km_buffer_add(out, line.text, line.count);
            km_buffer_add(out, "|", 1);
        }
    } while (status == KM_OK && line.text != NULL);
    km_buffer_print(out, ">");
    km_lines_destroy(lines);
    return status;
}

static km_status contents_of(km_buffer *out, const char *name, const km_input_options *options) {
    const km_input input = {.path = (char *)(uintptr_t)at(name)};
    km_contents *contents = NULL;
    km_text_source source = {0};
    out->size = 0;
    km_status status = km_contents_open(&contents, &input, options);
    while (status == KM_OK) {
        status = km_contents_next(contents, &source);
        if (status != KM_OK || source.bytes == NULL) {
            break;
        }
        status = lines_of(out, &source);
    }
    km_contents_close(contents);
    return status;
}

static void expect(const char *name, const char *expected, const char *encoding) {
    const km_input_options options = {.encoding = encoding, .field = "text"};
    km_buffer found = {0};
    if (contents_of(&found, name, &options) != KM_OK) {
        fail_msg("%s: %s", name, km_message());
    }
    assert_string_equal(found.data, expected);
    km_buffer_free(&found);
}

static void refused(const char *name, const char *words) {
    const km_input_options options = {.field = "text"};
    km_buffer found = {0};
    assert_int_not_equal(contents_of(&found, name, &options), KM_OK);
    if (strstr(km_message(), words) == NULL || strstr(km_message(), name) == NULL) {
        fail_msg("\"%s\" does not say \"%s\" of %s", km_message(), words, name);
    }
    km_buffer_free(&found);
}

/* ---- Containers ---- */

typedef struct kind {
    const char *name, *filter; /* filter: NULL for archives */
    int (*format)(struct archive *archive);
} kind;
static const kind kinds[] = {
    {"a.gz", "gzip", archive_write_set_format_raw},       {"a.zst", "zstd", archive_write_set_format_raw},
    {"a.xz", "xz", archive_write_set_format_raw},         {"a.bz2", "bzip2", archive_write_set_format_raw},
    {"a.lz4", "lz4", archive_write_set_format_raw},       {"a.lz", "lzip", archive_write_set_format_raw},
    {"a.tar", NULL, archive_write_set_format_ustar},      {"a.zip", NULL, archive_write_set_format_zip},
    {"a.tgz", "gzip", archive_write_set_format_ustar},    {"pax.tar.zst", "zstd", archive_write_set_format_pax},
    {"a.tar.xz", "xz", archive_write_set_format_gnutar},  {"a.tar.bz2", "bzip2", archive_write_set_format_pax},
    {"a.tar.lz4", "lz4", archive_write_set_format_ustar}, {"a.zip.gz", "gzip", archive_write_set_format_zip},
};

static void add_entry(struct archive *archive, const char *name, const void *bytes, size_t count) {
    struct archive_entry *entry = archive_entry_new();
    archive_entry_set_pathname(entry, name);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_size(entry, (la_int64_t)count);
    assert_int_equal(archive_write_header(archive, entry), ARCHIVE_OK);
    assert_int_equal(archive_write_data(archive, bytes, count), (int)count);
    archive_entry_free(entry);
}

static struct archive *begin(const char *path, const kind *k) {
    struct archive *archive = archive_write_new();
    assert_int_equal(k->format(archive), ARCHIVE_OK);
    if (k->filter != NULL) {
        assert_true(archive_write_add_filter_by_name(archive, k->filter) >= ARCHIVE_WARN);
    }
    archive_write_set_bytes_in_last_block(archive, 1);
    assert_int_equal(archive_write_open_filename(archive, path), ARCHIVE_OK);
    return archive;
}

static void end(struct archive *archive) {
    assert_int_equal(archive_write_close(archive), ARCHIVE_OK);
    archive_write_free(archive);
}

static bool is_archive(const kind *k) {
    return k->format != archive_write_set_format_raw;
}

static void make(const kind *k) {
    struct archive *archive = begin(at(k->name), k);
    if (is_archive(k)) {
        add_entry(archive, "./b/one.txt", "one\ntwo\n", 8);
        add_entry(archive, "b/.hidden", "h\n", 2);
        add_entry(archive, "b/two", "{\"text\": 1}\n", 12);
        add_entry(archive, "c.csv", "id,text\n1,x\n", 12);
    } else {
        add_entry(archive, "data", "one\ntwo\n", 8);
    }
    end(archive);
}

static void containers_are_read(void **state) {
    (void)state;
    for (size_t i = 0; i < KM_COUNT(kinds); i++) {
        make(&kinds[i]);
        expect(kinds[i].name,
               is_archive(&kinds[i]) ? "<t:one|two|><j:{\"text\": 1}|><c:id,text|1,x|>" : "<t:one|two|>", NULL);
        /* Under a name that says nothing. */
        assert_int_equal(rename(at(kinds[i].name), at("noname")), 0);
        expect("noname", is_archive(&kinds[i]) ? "<t:one|two|><j:{\"text\": 1}|><c:id,text|1,x|>" : "<t:one|two|>",
               NULL);
    }
}

static void archives_lie_in_archives(void **state) {
    (void)state;
    const kind *zip = &kinds[7], *tar = &kinds[8];
    char *inner = NULL, *packed = NULL;
    size_t size = 0, packed_size = 0;
    make(tar);
    make(&kinds[1]);
    assert_int_equal(km_file_read(&inner, &size, at(tar->name), 1 << 20), KM_OK);
    assert_int_equal(km_file_read(&packed, &packed_size, at(kinds[1].name), 1 << 20), KM_OK);
    struct archive *archive = begin(at("outer.zip"), zip);
    add_entry(archive, "x.tgz", inner, size);
    add_entry(archive, "y.txt.zst", packed, packed_size);
    end(archive);
    expect("outer.zip", "<t:one|two|><j:{\"text\": 1}|><c:id,text|1,x|><t:one|two|>", NULL);
    archive = begin(at("image.zip"), zip);
    add_entry(archive, "p.png", "\x89PNG\r\n\x1A\n....", 12);
    end(archive);
    refused("image.zip", "image.zip/p.png: found a PNG image");
    free(inner);
    free(packed);
}

/* Cut at any byte, a container is named: none is taken for shorter text. */
static void cut_containers_are_named(void **state) {
    (void)state;
    for (size_t i = 0; i < KM_COUNT(kinds); i++) {
        char *bytes = NULL;
        size_t size = 0;
        make(&kinds[i]);
        assert_int_equal(km_file_read(&bytes, &size, at(kinds[i].name), 1 << 20), KM_OK);
        const size_t step = KM_MAX(size / 60, (size_t)1);
        for (size_t cut = 2; cut + 30 < size; cut += step) {
            /* A tar archive is whole once its two blocks of zeros have begun. */
            if (kinds[i].filter == NULL && strstr(kinds[i].name, "tar") != NULL && cut + 1024 > size) {
                continue;
            }
            write_file(kinds[i].name, bytes, cut);
            refused(kinds[i].name, "");
        }
        free(bytes);
    }
}

/* The same numbers everywhere. */
static uint32_t draw(uint32_t *seed, uint32_t below) {
    *seed = *seed * 1664525U + 1013904223U;
    return (*seed >> 8) % below;
}

/* Long enough for several blocks of every kind. */
static void make_long(const kind *k) {
    km_buffer text = {0};
    for (int i = 0; i < 4000; i++) {
        km_buffer_print(&text, "line %d of a long text, %08x\n", i, (unsigned)i * 2654435761U);
    }
    struct archive *archive = begin(at(k->name), k);
    add_entry(archive, is_archive(k) ? "b/one.txt" : "data", text.data, text.size);
    if (is_archive(k)) {
        add_entry(archive, "b/two.txt", text.data, text.size / 3);
    }
    end(archive);
    km_buffer_free(&text);
}

/* 100 of each kind; KMASK_CORRUPTIONS=N: N. A hang ends the test. */
static void corrupted_containers_end_in_order(void **state) {
    (void)state;
    const char *wanted = getenv("KMASK_CORRUPTIONS");
    const int turns = wanted != NULL ? atoi(wanted) : 100;
    const km_input_options options = {.field = "text"};
    uint32_t seed = 7;
    for (size_t i = 0; i < 2 * KM_COUNT(kinds); i++) {
        const kind *k = &kinds[i / 2];
        char *bytes = NULL;
        size_t size = 0;
        (i % 2 == 0 ? make : make_long)(k);
        assert_int_equal(km_file_read(&bytes, &size, at(k->name), 1 << 24), KM_OK);
        for (int turn = 0; turn < (turns + 1) / 2; turn++) {
            char *copy = km_new(size, 1);
            memcpy(copy, bytes, size);
            for (uint32_t n = draw(&seed, 4) + 1; n > 0; n--) {
                copy[draw(&seed, (uint32_t)size)] = (char)draw(&seed, 256);
            }
            write_file(k->name, copy, draw(&seed, 3) > 0 ? size : draw(&seed, (uint32_t)size));
            alarm(120);
            km_buffer found = {0};
            assert_true(contents_of(&found, k->name, &options) == KM_OK || *km_message() != '\0');
            km_buffer_free(&found);
            free(copy);
        }
        free(bytes);
    }
    alarm(0);
}

static void names_must_not_lie(void **state) {
    (void)state;
    static const char *const names[] = {"x.zst", "x.xz", "x.bz2", "x.lz4", "x.tar", "x.zip"};
    for (size_t i = 0; i < KM_COUNT(names); i++) {
        write_file(names[i], "plain text\n", 11);
        refused(names[i], "its name promises");
    }
    write_file("x.gz", "plain text\n", 11);
    refused("x.gz", "expected a whole gzip file");
}

/* ---- What is no text ---- */

static void other_formats_are_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t count;
        const char *name;
    } formats[] = {{"PAR1\x15\x04", 6, "a Parquet table"},
                   {"ARROW1\0\0", 8, "an Arrow (Feather) table"},
                   {"\xFF\xFF\xFF\xFF\x10\1\0\0", 8, "an Arrow table"},
                   {"\x89HDF\r\n\x1A\n", 8, "an HDF5 file"},
                   {"KMASKH5\n\1\0", 10, "of kmask"},
                   {"%PDF-1.7\n", 9, "a PDF document"},
                   {"\x89PNG\r\n\x1A\n", 8, "a PNG image"},
                   {"\xFF\xD8\xFF\xE0", 4, "a JPEG image"},
                   {"\x7F"
                    "ELF\2\1",
                    6, "an ELF program"},
                   {"SQLite format 3\0", 16, "an SQLite database"},
                   {"7z\xBC\xAF\x27\x1C\0\4", 8, "a 7z archive"},
                   {"Rar!\x1A\7\1\0", 8, "a RAR archive"},
                   {"\x93NUMPY\1\0v\0", 10, "a NumPy array"},
                   {"\x80\4\x95\x10\0", 5, "a Python pickle"},
                   {"\x20\0\0\0\0\0\0\0{\"a\":", 13, "a safetensors file"},
                   {"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", 56, "a Git LFS pointer"}};
    for (size_t i = 0; i < KM_COUNT(formats); i++) {
        write_file("thing.txt", formats[i].bytes, formats[i].count);
        refused("thing.txt", formats[i].name);
    }
    char noise[4096];
    uint32_t seed = 3;
    for (size_t i = 0; i < sizeof noise; i++) {
        noise[i] = (char)draw(&seed, 256);
    }
    noise[0] = 'x';
    write_file("noise.bin", noise, sizeof noise);
    refused("noise.bin", "binary data");
}

/* ---- Encodings ---- */

/* Writes `text` (code points below 65536) with `width` bytes each. */
static void write_wide(const char *name, const char *mark, const uint16_t *text, size_t count, int width,
                       bool big) {
    km_buffer bytes = {0};
    km_buffer_add(&bytes, mark, strlen(mark) > 0 ? (size_t)width : 0);
    for (size_t i = 0; i < count; i++) {
        char unit[4] = {0};
        unit[big ? width - 1 : 0] = (char)(text[i] & 0xFF);
        unit[big ? width - 2 : 1] = (char)(text[i] >> 8);
        km_buffer_add(&bytes, unit, (size_t)width);
    }
    write_file(name, bytes.data, bytes.size);
    km_buffer_free(&bytes);
}

static void wide_encodings_are_recognised(void **state) {
    (void)state;
    static const uint16_t russian[] = {0x420, 0x435, 0x43A, 0x430, ' ', 0x448, '.', '\n', 0x412, '\n'};
    static const uint16_t english[] = {'A', ' ', 'r', 'i', 'v', 'e', 'r', '.', '\n', 'B', '\n'};
    static const char russian_lines[] = "\xD0\xA0\xD0\xB5\xD0\xBA\xD0\xB0 \xD1\x88.|\xD0\x92|>";
    char marked[64], plain[64];
    snprintf(marked, sizeof marked, "<t:\xEF\xBB\xBF%s", russian_lines);
    snprintf(plain, sizeof plain, "<t:%s", russian_lines);
    write_wide("r16le", "\xFF\xFE", russian, KM_COUNT(russian), 2, false);
    write_wide("r16be", "\xFE\xFF", russian, KM_COUNT(russian), 2, true);
    write_wide("n16le", "", russian, KM_COUNT(russian), 2, false);
    write_wide("n16be", "", russian, KM_COUNT(russian), 2, true);
    write_wide("n32le", "", russian, KM_COUNT(russian), 4, false);
    write_wide("n32be", "", russian, KM_COUNT(russian), 4, true);
    expect("r16le", marked, NULL);
    expect("r16be", marked, NULL);
    expect("r16be", marked, "cp1251"); /* a mark counts more than what was asked for */
    expect("n16le", plain, NULL);
    expect("n16be", plain, NULL);
    expect("n32le", plain, NULL);
    expect("n32be", plain, NULL);
    write_wide("e16le", "", english, KM_COUNT(english), 2, false);
    expect("e16le", "<t:A river.|B|>", NULL);
    write_wide("e32be", "", english, KM_COUNT(english), 4, true);
    expect("e32be", "<t:A river.|B|>", NULL);
}

static void narrow_encodings_are_converted_or_refused(void **state) {
    (void)state;
    static const char latin[] = "Le caf\xE9 est ferm\xE9 \xE0 midi.\n";
    write_file("latin.txt", latin, sizeof latin - 1);
    refused("latin.txt", "bytes are not UTF-8, the first in line 1");
    expect("latin.txt", "<t:Le caf\xC3\xA9 est ferm\xC3\xA9 \xC3\xA0 midi.|>", "latin-1");
    write_file("ru.txt", "\xD0\xE5\xEA\xE0\n", 5);
    expect("ru.txt", "<t:\xD0\xA0\xD0\xB5\xD0\xBA\xD0\xB0|>", "windows-1251");
    write_file("ja.txt", "\x93\x8C\x8B\x9E\n", 5);
    expect("ja.txt", "<t:\xE6\x9D\xB1\xE4\xBA\xAC|>", "shift_jis");
    assert_int_equal(km_input_check_encoding("no-such-encoding"), KM_USAGE);
    assert_true(km_invalid_is_large(10, 0, 1000));
    assert_false(km_invalid_is_large(2, 0, 1000));
    assert_true(km_invalid_is_large(5, 4, 1000));
    assert_false(km_invalid_is_large(5, 400, 1000));
}

/* ---- Forms and tables ---- */

static void forms_are_found_by_bytes(void **state) {
    (void)state;
    write_file("wiki_00", "\n{\"id\": \"0\", \"x\": NaN, \"text\": \"a\"}\n", 36);
    expect("wiki_00", "<j:|{\"id\": \"0\", \"x\": NaN, \"text\": \"a\"}|>", NULL);
    write_file("wiki_01", "<doc id=\"1\" url=\"u\" title=\"t\">\nt\n</doc>\n", 40);
    expect("wiki_01", "<w:<doc id=\"1\" url=\"u\" title=\"t\">|t|</doc>|>", NULL);
    write_file("a.txt", "{not json}\n", 11);
    expect("a.txt", "<t:{not json}|>", NULL);
    write_file("b.csv", "only one column\n", 16);
    expect("b.csv", "<t:only one column|>", NULL);
}

static char *table_of(const char *text, km_form form, const char *columns) {
    km_buffer out = {0};
    km_bytes *bytes = NULL;
    km_table *table = NULL;
    const char *const *values = NULL;
    write_file("table", text, strlen(text));
    assert_int_equal(km_bytes_open(&bytes, at("table"), 0), KM_OK);
    km_status status = km_table_open(&table, bytes, form, columns, 1 << 20);
    while (status == KM_OK && (status = km_table_next(table, &values)) == KM_OK && values != NULL) {
        for (int i = 0; i < km_table_columns(table); i++) {
            km_buffer_print(&out, "%s;", values[i] != NULL ? values[i] : "-");
        }
    }
    km_table_close(table);
    km_bytes_close(bytes);
    if (status != KM_OK) {
        km_buffer_free(&out);
        return NULL;
    }
    km_buffer_add(&out, "", 0);
    return out.data != NULL ? out.data : km_strdup("");
}

static void expect_table(const char *text, km_form form, const char *columns, const char *expected) {
    char *found = table_of(text, form, columns);
    if (found == NULL) {
        fail_msg("%s", km_message());
    }
    assert_string_equal(found, expected);
    free(found);
}

static void tables_are_cut_into_fields(void **state) {
    (void)state;
    expect_table("id,text\r\n1,\"a, \"\"b\"\"\nc\"\r\n\r\n2,5\" disk\n3\n", KM_FORM_CSV, "text",
                 "a, \"b\"\nc;5\" disk;-;");
    expect_table("\xEF\xBB\xBFtext;n\nx,y;1\n", KM_FORM_CSV, "n,text", "1;x,y;");
    expect_table("n\ttext\n1\t\"a\n", KM_FORM_TSV, "text", "\"a;");
    assert_null(table_of("a,b\n", KM_FORM_CSV, "text"));
    assert_non_null(strstr(km_message(), "no column \"text\"; the header has: a, b"));
    assert_null(table_of("text\n\"a\n", KM_FORM_CSV, "text"));
    assert_non_null(strstr(km_message(), "a quoted field does not end"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(containers_are_read),
        cmocka_unit_test(archives_lie_in_archives),
        cmocka_unit_test(cut_containers_are_named),
        cmocka_unit_test(corrupted_containers_end_in_order),
        cmocka_unit_test(names_must_not_lie),
        cmocka_unit_test(other_formats_are_refused_by_name),
        cmocka_unit_test(wide_encodings_are_recognised),
        cmocka_unit_test(narrow_encodings_are_converted_or_refused),
        cmocka_unit_test(forms_are_found_by_bytes),
        cmocka_unit_test(tables_are_cut_into_fields),
    };
    km_log_mute(true);
    return cmocka_run_group_tests(tests, enter, leave);
}
