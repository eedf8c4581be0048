/* Text of any kind on its way into a corpus: plain, JSONL with entities, gzip. What is spilled must hold together, and be
 * the same whatever pieces the input is cut into. The first two bytes choose, the rest is the file. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "corpus_read.h"
#include "folder.h"

enum { OUTPUT = 1 << 16 };
static char folder[FUZZ_PATH];
static km_tokenizer *tokenizer;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds, const char *what) {
    if (!holds) {
        fprintf(stderr, "fuzz_corpus_input: %s (%s)\n", what, km_message());
        abort();
    }
}

static void leave(void) {
    km_tokenizer_destroy(tokenizer);
    char *command = km_format("rm -rf '%s'", folder);
    (void)!system(command);
    free(command);
}

static void enter(void) {
    km_log_mute(true);
    km_buffer text = {0};
    km_buffer_print(&text, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n.\n,\n");
    for (char c = 'a'; c <= 'z'; c++) {
        km_buffer_print(&text, "%c\n##%c\n", c, c);
    }
    fuzz_folder(folder, "input");
    atexit(leave);
    char *path = km_format("%s/vocab.txt", folder);
    must(km_file_replace(path, text.data, text.size) == KM_OK, "no vocabulary");
    must(km_tokenizer_open(&tokenizer, folder) == KM_OK, "no tokenizer");
    free(path);
    km_buffer_free(&text);
}

static km_document document;
static km_corpus_options options;
static const char *field;
static km_input_options input_options;

/* One array of one side, as it will stand in the corpus. */
typedef struct array {
    size_t size;
    char *bytes;
} array;

static array take(km_spill *spill, int side, int which, int fd) {
    must(ftruncate(fd, 0) == 0 && km_spill_copy(spill, side, which, 0, fd, 0, "spill") == KM_OK, "cannot copy");
    off_t end = lseek(fd, 0, SEEK_END);
    array out = {.size = (size_t)end, .bytes = km_new((size_t)end + 1, 1)};
    must(km_pread_all(fd, out.bytes, out.size, 0, "spill") == KM_OK, "cannot read");
    return out;
}

/* Ascending numbers of tokens, the last one `last` where it is not 0. */
static void check_ends(const array *ends, uint64_t limit, bool complete) {
    uint64_t before = 0;
    for (size_t i = 0; i < ends->size; i += sizeof before) {
        uint64_t end = 0;
        memcpy(&end, ends->bytes + i, sizeof end);
        must(end > before && end <= limit, "ends do not ascend");
        before = end;
    }
    must(!complete || before == limit, "the last end is not that of the tokens");
}

static void check_spans(const array *starts, const array *ends, const array *kinds, uint64_t limit) {
    uint64_t before = 0;
    must(starts->size == ends->size && starts->size == kinds->size * sizeof before, "spans differ in number");
    for (size_t i = 0; i < kinds->size; i++) {
        uint64_t start = 0, end = 0;
        memcpy(&start, starts->bytes + i * sizeof start, sizeof start);
        memcpy(&end, ends->bytes + i * sizeof end, sizeof end);
        must(start >= before && end > start && end <= limit, "spans overlap");
        must((uint8_t)kinds->bytes[i] < KM_SPAN_KINDS, "a span of no kind");
        before = end;
    }
}

static km_hash check_side(km_spill *spill, int side, int fd) {
    array all[SPILL_ARRAYS];
    km_hasher *hasher = km_hasher_create();
    for (int i = 0; i < SPILL_ARRAYS; i++) {
        all[i] = take(spill, side, i, fd);
        km_hasher_add(hasher, &all[i].size, sizeof all[i].size);
        km_hasher_add(hasher, all[i].bytes, all[i].size);
    }
    uint64_t tokens = all[SPILL_TOKENS].size / sizeof(uint16_t);
    must(all[SPILL_TAGS].size == tokens, "tags and tokens differ in number");
    must(all[SPILL_WORD_STARTS].size == tokens, "word starts and tokens differ in number");
    check_ends(&all[SPILL_SENTENCE_ENDS], tokens, true);
    check_ends(&all[SPILL_DOCUMENT_ENDS], tokens, true);
    check_spans(&all[SPILL_SPAN_STARTS], &all[SPILL_SPAN_ENDS], &all[SPILL_SPAN_KINDS], tokens);
    for (int i = 0; i < SPILL_ARRAYS; i++) {
        free(all[i].bytes);
    }
    return km_hasher_end(hasher);
}

/* Status and, where that is KM_OK, hashes of what became of the file. */
static km_status read_all(const km_inputs *inputs, uint64_t piece, int fd, km_hash hashes[SPILL_SIDES]) {
    km_spill *spill = NULL;
    char *path = km_format("%s/spill", folder);
    must(km_spill_open(&spill, path, 0, tokenizer, 2, &options) == KM_OK, "no spill");
    free(path);
    km_reading reading = {.inputs = inputs,
                          .input = input_options,
                          .document = document,
                          .spans = options.spans,
                          .field = field,
                          .spill = spill};
    size_t count = 0;
    km_input_piece *pieces = km_inputs_cut(inputs, document == KM_DOCUMENT_FILE ? 0 : piece, &count);
    km_status status = KM_OK;
    for (size_t i = 0; i < count && status == KM_OK; i++) {
        status = km_reading_piece(&reading, &pieces[i]);
    }
    uint8_t same[KM_MOST_TAGS + 1];
    for (int tag = 0; tag <= KM_MOST_TAGS; tag++) {
        same[tag] = (uint8_t)tag;
    }
    status = status == KM_OK ? km_spill_number_tags(spill, same) : status;
    for (int side = 0; side < SPILL_SIDES && status == KM_OK; side++) {
        hashes[side] = check_side(spill, side, fd);
    }
    if (status == KM_OK && reading.bad != NULL) {
        must(km_reading_complain(&reading) == KM_FAILED, "a bad record is not named");
    }
    free(pieces);
    km_reading_end(&reading);
    km_spill_close(spill);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const names[] = {"a.txt", "a.jsonl", "a.txt.gz", "a.jsonl.gz"};
    static const char *const fields[] = {"text", "a.b,text", "text,title", "a"};
    if (size < 2) {
        return 0;
    }
    if (tokenizer == NULL) {
        enter();
    }
    document = (km_document)(data[0] >> 2 & 3) % 3;
    field = fields[data[0] >> 4 & 3];
    options = (km_corpus_options){.sentences = data[0] >> 6 & 1 ? KM_SENTENCES_LINE : KM_SENTENCES_ICU,
                                  .spans = (km_span_source)(data[1] & 3) % 3,
                                  .holdout = data[1] >> 2 & 1 ? 0.5 : 0};
    char *path = km_format("%s/%s", folder, names[data[0] & 3]), *scratch = km_format("%s/scratch", folder);
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600), fd = open(scratch, O_RDWR | O_CREAT | O_TRUNC, 0600);
    must(file >= 0 && fd >= 0 && km_pwrite_all(file, data + 2, size - 2, 0, path) == KM_OK, "cannot write");
    close(file);
    km_inputs inputs = {0};
    km_input input = {.path = path, .size = size - 2};
    input_options = (km_input_options){.invalid = (km_invalid)(data[1] >> 6), .field = field};
    km_status status = km_input_recognise(&input, &input_options);
    km_inputs_add(&inputs, &input);
    km_hash whole[SPILL_SIDES], cut[SPILL_SIDES];
    status = status == KM_OK ? read_all(&inputs, 0, fd, whole) : status;
    if (status == KM_OK && size < OUTPUT) {
        must(read_all(&inputs, (uint64_t)(data[1] >> 3) + size / 64 + 1, fd, cut) == KM_OK, "pieces fail");
        must(km_hash_equal(whole[0], cut[0]) && km_hash_equal(whole[1], cut[1]), "pieces show");
    }
    must(status == KM_OK || *km_message() != '\0', "a failure without a sentence");
    close(fd);
    unlink(path);
    km_inputs_free(&inputs);
    free(scratch);
    free(path);
    return 0;
}
