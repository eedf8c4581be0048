/* Any file: recognised, unpacked, converted and cut into lines and rows, whatever its bytes are. The first byte chooses the options,
 * the rest is the file. */
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "folder.h"
#include "kmask/input.h"

enum { MOST = 1 << 24 /* bytes of text: a small file may unpack to very much */ };
static char folder[FUZZ_PATH];
static char *path;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void leave(void) {
    char *command = km_format("rm -rf '%s'", folder);
    (void)!system(command);
    free(command);
}

static km_status read_rows(const km_text_source *source, uint64_t *taken) {
    km_table *table = NULL;
    const char *const *values = NULL;
    km_status status = km_table_open(&table, source->bytes, source->form, "text", 1 << 16);
    while (status == KM_OK && (status = km_table_next(table, &values)) == KM_OK && values != NULL &&
           *taken + km_table_taken(table) < MOST) {
    }
    *taken += table != NULL ? km_table_taken(table) : 0;
    km_table_close(table);
    return status;
}

static km_status read_lines(const km_text_source *source, uint64_t *taken) {
    km_lines *lines = km_lines_create(source->bytes, 0, 1 << 16);
    km_text_line line = {0};
    km_status status = KM_OK;
    do {
        status = km_lines_next(lines, &line);
    } while (status == KM_OK && line.text != NULL && *taken + km_lines_taken(lines) < MOST);
    *taken += km_lines_taken(lines);
    km_lines_destroy(lines);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const encodings[] = {NULL,      NULL,          NULL,    "utf-16",
                                            "gb18030", "iso-2022-jp", "utf-7", "latin-1"};
    if (size < 1) {
        return 0;
    }
    if (path == NULL) {
        km_log_mute(true);
        fuzz_folder(folder, "contents");
        atexit(leave);
        path = km_format("%s/file", folder);
    }
    const km_input_options options = {.form = (km_form)((data[0] >> 3 & 7) % 5),
                                      .encoding = encodings[data[0] & 7],
                                      .invalid = (km_invalid)(data[0] >> 6),
                                      .field = "text"};
    const km_input input = {.path = path, .size = size - 1};
    km_contents *contents = NULL;
    km_text_source source = {0};
    uint64_t taken = 0;
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(data + 1, 1, size - 1, file) != size - 1 || fclose(file) != 0) {
        abort();
    }
    km_status status = km_contents_open(&contents, &input, &options);
    while (status == KM_OK && taken < MOST && (status = km_contents_next(contents, &source)) == KM_OK &&
           source.bytes != NULL) {
        status = source.form == KM_FORM_CSV || source.form == KM_FORM_TSV ? read_rows(&source, &taken)
                                                                          : read_lines(&source, &taken);
    }
    if (status != KM_OK && *km_message() == '\0') {
        abort();
    }
    km_contents_close(contents);
    return 0;
}
