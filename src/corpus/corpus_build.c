/* Text to corpus, in four steps: rank 0 lists the files and everyone gets the list and the tokenizer; each
 * rank tokenizes a contiguous run of pieces into its spill; offsets follow from the counts of the ranks
 * before; each rank copies its spill to its place in the file that rank 0 laid out. What is written depends on
 * the text alone. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "corpus.h"
#include "corpus_duplicates.h"
#include "corpus_read.h"
#include "corpus_use.h"

enum { PIECE = 4 << 20, WORTH_PROGRESS = 8 << 20 };

typedef struct build {
    km_comm *comm;
    const km_corpus_options *options;
    uint64_t piece;
    char *outputs[SPILL_SIDES];
    char *users[SPILL_SIDES]; /* rank 0: runs that use the files that are there; NULL: none */
    char *temporary;          /* what names of temporary files begin with on all ranks */
    km_inputs inputs;
    km_tokenizer *tokenizer;
    char *tokenizer_json;
    km_spill *spill;
    km_reading reading;
    bool with_spans, with_tags;
    km_tag_names tag_names;  /* of all ranks */
    km_corpus_report report; /* of all ranks, once added up */
    int64_t histogram[SPILL_BINS];
} build;

static bool first_rank(const build *b) {
    return km_comm_rank(b->comm) == 0;
}

char *km_corpus_holdout_path(const char *out) {
    size_t length = strlen(out);
    bool named = length > 3 && strcmp(out + length - 3, ".h5") == 0;
    return km_format("%.*s.holdout.h5", (int)(named ? length - 3 : length), out);
}

/* ---- Everyone knows what to read ---- */

static km_status check_options(const km_corpus_options *options) {
    if (options->input_count < 1) {
        return km_fail(KM_USAGE, "no text to read; name files or folders");
    }
    if (!(options->holdout >= 0 && options->holdout < 1)) {
        return km_fail(KM_USAGE, "--holdout %g: expected a share from 0 to below 1", options->holdout);
    }
    const char *field = options->field;
    if (*field == '\0' || *field == ',' || field[strlen(field) - 1] == ',' || strstr(field, ",,") != NULL) {
        return km_fail(KM_USAGE, "--field \"%s\": expected a name like text, or several like title,body.text",
                       field);
    }
    return KM_OK;
}

/* A corpus that has a held-out one is not replaced by one without: that one's documents would then be trained on. */
static km_status check_held_out(const build *b) {
    const char *held_out = b->outputs[SPILL_HOLDOUT];
    if (b->options->holdout > 0 || b->options->force || !km_file_exists(held_out)) {
        return KM_OK;
    }
    return km_fail(
        KM_FAILED,
        "%s: a held-out corpus, whose documents would be in %s too without --holdout, and be trained on. Give "
        "--holdout, another --out, or --force, which removes it.",
        held_out, b->outputs[SPILL_TRAIN]);
}

/* Removes a held-out corpus that belongs to a training corpus that is no longer there. */
static km_status remove_stale(const build *b) {
    const char *held_out = b->outputs[SPILL_HOLDOUT];
    if (b->report.holdout_tokens > 0 || !km_file_exists(held_out)) {
        return KM_OK;
    }
    if (unlink(held_out) != 0) {
        return km_fail_errno(errno, "%s: cannot remove this held-out corpus, whose documents are in %s now",
                             held_out, b->outputs[SPILL_TRAIN]);
    }
    km_log("%s is removed: it belonged to the corpus that was replaced", held_out);
    return KM_OK;
}

/* ---- Runs that use what is there ---- */

static void find_users(build *b) {
    for (int side = 0; side < SPILL_SIDES && !b->options->force; side++) {
        b->users[side] = km_corpus_user(b->outputs[side]);
        if (b->users[side] != NULL) {
            km_log("%s is used by the run in %s: without --force only the same content replaces it",
                   b->outputs[side], b->users[side]);
        }
    }
}

/* Refuses to replace a corpus that a run uses by another content. `store`: what is to take its place; NULL: nothing. */
static km_status check_user(const build *b, int side, km_store *store) {
    const char *path = b->outputs[side];
    km_hash hash = {0, 0};
    km_store *was = NULL;
    if (b->users[side] == NULL) {
        return KM_OK;
    }
    KM_TRY(store != NULL ? km_store_seal(store, &hash) : KM_OK);
    KM_TRY(km_store_open(&was, path));
    const bool same = store != NULL && km_hash_equal(hash, km_store_hash(was));
    km_store_close(was);
    return same ? KM_OK
                : km_fail(KM_FAILED,
                          "%s: the run in %s uses this corpus, and this text or these options make another one, "
                          "with which it "
                          "could not go on%s. Nothing was changed. Give another --out, or --force to replace it.",
                          path, b->users[side],
                          side == SPILL_HOLDOUT ? ", and what was held out from it could be trained on" : "");
}

static km_status find_work(build *b) {
    const km_corpus_options *o = b->options;
    for (int side = 0; side < SPILL_SIDES;
         side++) { /* first, so that hours of work do not end at what cannot be written */
        KM_TRY(side == SPILL_TRAIN || o->holdout > 0 ? km_out_check(b->outputs[side]) : KM_OK);
    }
    KM_TRY(check_held_out(b));
    find_users(b);
    KM_TRY(km_tokenizer_open(&b->tokenizer, o->tokenizer));
    KM_TRY(km_tokenizer_can_mask(b->tokenizer, o->tokenizer));
    b->tokenizer_json = km_tokenizer_print(b->tokenizer);
    const km_input_options input = km_input_options_of(o);
    return km_inputs_find(&b->inputs, o->inputs, o->input_count, (const char *const *)b->outputs, SPILL_SIDES,
                          &input);
}

/* Rank 0's buffer to all. */
static void broadcast_buffer(km_comm *comm, km_buffer *buffer) {
    uint64_t size = buffer->size;
    km_comm_broadcast(comm, &size, sizeof size);
    if (km_comm_rank(comm) != 0) {
        buffer->capacity = (size_t)size + 1;
        buffer->size = (size_t)size;
        buffer->data = km_new(buffer->capacity, 1);
    }
    km_comm_broadcast(comm, buffer->data, buffer->size);
}

/* Rank 0 chooses the name of temporary files. */
static void share_temporary(build *b) {
    uint64_t random = 0;
    km_random_bytes(&random, sizeof random);
    km_comm_broadcast(b->comm, &random, sizeof random);
    b->temporary = km_format("%016llx.tmp", (unsigned long long)random);
}

static void share_inputs(build *b) {
    km_buffer list = {0};
    for (size_t i = 0; i < b->inputs.count && first_rank(b); i++) {
        km_buffer_add(&list, &b->inputs.files[i], sizeof(km_input));
        km_buffer_add(&list, b->inputs.files[i].path, strlen(b->inputs.files[i].path) + 1);
    }
    broadcast_buffer(b->comm, &list);
    for (size_t at = 0; at < list.size && !first_rank(b);) {
        km_input input;
        memcpy(&input, list.data + at, sizeof input);
        input.path = list.data + at + sizeof input;
        km_inputs_add(&b->inputs, &input);
        at += sizeof input + strlen(input.path) + 1;
    }
    km_buffer_free(&list);
}

static km_status share_tokenizer(build *b) {
    km_buffer text = {0};
    if (first_rank(b)) {
        km_buffer_add(&text, b->tokenizer_json, strlen(b->tokenizer_json));
    }
    broadcast_buffer(b->comm, &text);
    km_status status = KM_OK;
    if (!first_rank(b)) {
        status = km_tokenizer_parse(&b->tokenizer, text.data, text.size, b->options->tokenizer);
    }
    km_buffer_free(&text);
    return km_comm_agree(b->comm, status);
}

/* ---- Each rank reads its share ---- */

/* A piece belongs to the rank whose share of all bytes holds its middle, so that each rank has contiguous pieces and all ranks agree
 * on which. Text shrinks to about a quarter under compression. A pipe is rank 0's, and so is all before it. */
static double weight_of(const build *b, const km_input_piece *piece) {
    return (double)(piece->end - piece->begin) * (b->inputs.files[piece->file].plain ? 1 : 4) + 1;
}

static km_status read_share(build *b) {
    size_t count = 0;
    km_input_piece *pieces =
        km_inputs_cut(&b->inputs, b->options->document == KM_DOCUMENT_FILE ? 0 : b->piece, &count);
    double total = 0, before = 0;
    size_t shared = 0; /* pieces before this one are rank 0's */
    for (size_t i = 0; i < count; i++) {
        total += weight_of(b, &pieces[i]);
        shared = b->inputs.files[pieces[i].file].pipe ? i + 1 : shared;
    }
    uint64_t mine = 0;
    size_t first = count, end = count;
    for (size_t i = 0; i < count; i++) {
        double weight = weight_of(b, &pieces[i]);
        int rank = i < shared ? 0 : (int)((before + weight / 2) / total * km_comm_size(b->comm));
        before += weight;
        if (KM_MIN(rank, km_comm_size(b->comm) - 1) == km_comm_rank(b->comm)) {
            first = KM_MIN(first, i);
            end = i + 1;
            mine += pieces[i].end - pieces[i].begin;
        }
    }
    b->reading.progress = first_rank(b) && mine >= WORTH_PROGRESS ? km_progress_create("corpus", 0, mine) : NULL;
    km_status status = KM_OK;
    for (size_t i = first; i < end && status == KM_OK; i++) {
        status = km_reading_piece(&b->reading, &pieces[i]);
    }
    km_progress_destroy(b->reading.progress);
    b->reading.progress = NULL;
    free(pieces);
    return status;
}

static km_status read_text(build *b) {
    const km_corpus_options *o = b->options;
    int id_bytes = km_tokenizer_size(b->tokenizer) <= 65536 ? 2 : 4;
    char *spilled = km_format("%s.%s", o->out, b->temporary);
    km_status opened =
        km_comm_agree(b->comm, km_spill_open(&b->spill, spilled, km_comm_rank(b->comm), b->tokenizer, id_bytes, o));
    free(spilled);
    KM_TRY(opened);
    b->reading = (km_reading){.inputs = &b->inputs,
                              .input = km_input_options_of(o),
                              .document = o->document,
                              .spans = o->spans,
                              .field = o->field,
                              .spill = b->spill};
    KM_TRY(km_comm_agree(b->comm, read_share(b)));
    return km_comm_agree(b->comm, km_reading_check_seen(&b->reading));
}

/* ---- What repeats ---- */

static km_status count_duplicates(build *b) {
    enum { PASSAGE = 4 /* so many bytes of a piece let a hash be kept in memory */, LEAST = 16 };
    km_duplicates found = {0};
    km_status status = km_duplicates_find(&found, b->comm, b->spill, KM_MAX(b->piece / PASSAGE, (uint64_t)LEAST));
    if (status == KM_OK && b->options->duplicates == KM_DUPLICATES_DROP) {
        status = km_comm_agree(b->comm, km_duplicates_drop(b->spill, &found));
    }
    b->report.duplicate_documents = found.document_count;
    b->report.duplicate_paragraphs = found.paragraph_count;
    km_duplicates_free(&found);
    return status;
}

/* ---- Totals, and whether they make a corpus ---- */

/* Every field of the report is a count that ranks add up. */
static void add_up(build *b) {
    enum { FIELDS = sizeof(km_corpus_report) / sizeof(uint64_t) };
    km_spill_report(b->spill, &b->report);
    b->report.bytes = b->reading.bytes;
    b->report.cut_lines = b->reading.cut_lines;
    b->report.bad_records = b->reading.bad_records;
    b->report.skipped_lines = b->reading.skipped_lines;
    b->report.bad_spans += b->reading.bad_spans;
    b->report.bad_tags = b->reading.bad_tags;
    int64_t counts[FIELDS];
    memcpy(counts, &b->report, sizeof counts);
    km_comm_sum(b->comm, counts, FIELDS);
    memcpy(&b->report, counts, sizeof counts);
    memcpy(b->histogram, km_spill_histogram(b->spill), sizeof b->histogram);
    km_comm_sum(b->comm, b->histogram, SPILL_BINS);
    b->with_spans = b->options->spans == KM_SPANS_FIND || b->report.spans + b->report.holdout_spans > 0;
    b->with_tags = b->report.tagged_tokens + b->report.holdout_tagged_tokens > 0;
    b->report.files = b->inputs.count;
    b->report.median_tokens = km_histogram_median(b->histogram);
}

/* The first bad record of all ranks becomes the message on every rank; ranks hold their pieces in order. */
static km_status complain_of_records(build *b) {
    uint64_t before = b->reading.bad_records;
    km_comm_scan(b->comm, &before, 1);
    bool mine = before == 0 && b->reading.bad != NULL;
    return km_comm_agree(b->comm, mine ? km_reading_complain(&b->reading) : KM_OK);
}

static km_status check_records(build *b) {
    const km_corpus_report *r = &b->report;
    if (r->bad_records == 0) {
        return KM_OK;
    }
    km_status status = complain_of_records(b);
    if (r->documents + r->holdout_documents + r->empty_documents == 0) {
        return km_context(status, "none of %llu records can be used; the first",
                          (unsigned long long)r->bad_records);
    }
    km_warn("%llu records are left out; the first: %s", (unsigned long long)r->bad_records, km_message());
    return KM_OK;
}

/* Invalid UTF-8 is judged for each file as a whole, however it was cut into pieces. */
static km_status check_invalid(build *b) {
    const size_t files = b->inputs.count;
    km_byte_counts *totals = km_new(files, sizeof *totals);
    if (b->reading.counts != NULL) {
        memcpy(totals, b->reading.counts, files * sizeof *totals);
    }
    km_comm_sum(b->comm, (int64_t *)totals, (int)(files * sizeof *totals / sizeof(int64_t)));
    size_t file = 0;
    bool refused = false;
    km_status status = KM_OK;
    if (km_reading_judge(&b->reading, totals, &file, &refused)) {
        const uint64_t mine = b->reading.counts != NULL ? (uint64_t)b->reading.counts[file].invalid : 0;
        uint64_t before = mine;
        km_comm_scan(b->comm, &before, 1);
        status = km_comm_agree(
            b->comm, mine > 0 && before == 0 ? km_reading_tell_invalid(&b->reading, totals, file, refused) : KM_OK);
        if (!refused) {
            km_warn("%s", km_message());
            status = KM_OK;
        }
    }
    free(totals);
    return status;
}

static km_status check_totals(const build *b) {
    const km_corpus_report *r = &b->report;
    const char *first = b->inputs.files[0].path;
    if (r->tokens > 0) {
        return KM_OK;
    }
    if (r->holdout_documents > 0) {
        return km_fail(
            KM_FAILED,
            "--holdout %g sends all %llu documents to the held-out corpus; choose a smaller share or give "
            "more documents",
            b->options->holdout, (unsigned long long)r->holdout_documents);
    }
    return km_fail(
        KM_FAILED,
        "no text to train on: %llu files (the first is %s) with %llu bytes have %llu documents, and none "
        "has a token",
        (unsigned long long)r->files, first, (unsigned long long)r->bytes, (unsigned long long)r->empty_documents);
}

/* ---- Writing ---- */

/* One of the two corpora on its way to disk. */
typedef struct output {
    int side;
    const char *path;
    char *temporary;
    uint64_t counts[SPILL_ARRAYS]; /* elements, of all ranks */
    uint64_t before[SPILL_ARRAYS]; /* of the ranks before this one */
    uint64_t offset[SPILL_ARRAYS]; /* of each array in the file */
    km_store *store;               /* rank 0's */
} output;

static const char *const array_names[SPILL_ARRAYS] = {"/tokens",      "/word_starts",  "/sentence_ends",
                                                      "/span_starts", "/span_ends",    "/span_kinds",
                                                      "/tags",        "/document_ends"};

static bool is_there(const build *b, int array) {
    const bool spans = array == SPILL_SPAN_STARTS || array == SPILL_SPAN_ENDS || array == SPILL_SPAN_KINDS;
    return array == SPILL_TAGS ? b->with_tags : b->with_spans || !spans;
}

static km_status set_tags(const build *b, km_store *store) {
    char *names = km_tag_names_print(&b->tag_names);
    km_status status = km_store_set_text(store, "tags", names);
    free(names);
    return status;
}

static km_status lay_out(const build *b, output *t) {
    const km_dtype id = km_tokenizer_size(b->tokenizer) <= 65536 ? KM_U16 : KM_U32;
    const km_dtype types[SPILL_ARRAYS] = {id, KM_U8, KM_U64, KM_U64, KM_U64, KM_U8, KM_U8, KM_U64};
    char hash[33];
    km_hash_text(hash, km_tokenizer_hash(b->tokenizer));
    KM_TRY(km_store_create_out(&t->store, t->path, t->temporary));
    for (int array = 0; array < SPILL_ARRAYS; array++) {
        if (is_there(b, array)) {
            KM_TRY(km_store_add(t->store, array_names[array], types[array], 1, &t->counts[array]));
        }
    }
    KM_TRY(km_store_set_text(t->store, "kind", "corpus"));
    KM_TRY(km_store_set_text(t->store, "tokenizer", b->tokenizer_json));
    KM_TRY(km_store_set_text(t->store, "tokenizer_hash", hash));
    KM_TRY(km_store_set_number(t->store, "documents", (int64_t)t->counts[SPILL_DOCUMENT_ENDS]));
    KM_TRY(km_store_set_number(t->store, "sentences", (int64_t)t->counts[SPILL_SENTENCE_ENDS]));
    const char *source = b->options->spans == KM_SPANS_FIND ? "found" : b->with_spans ? "given" : "none";
    KM_TRY(km_store_set_text(t->store, "sentence_rules", km_spill_sentence_rules(b->spill)));
    KM_TRY(km_store_set_text(t->store, "spans", source));
    if (b->report.joined_lines > 0) { /* corpora of earlier versions ran the words at line ends together */
        KM_TRY(km_store_set_text(t->store, "line_ends", "blank"));
    }
    KM_TRY(b->with_tags ? set_tags(b, t->store) : KM_OK);
    KM_TRY(km_store_layout(t->store));
    for (int array = 0; array < SPILL_ARRAYS; array++) {
        t->offset[array] = is_there(b, array) ? km_store_find(t->store, array_names[array])->offset : 0;
    }
    return KM_OK;
}

static km_status copy_arrays(const build *b, const output *t, int fd, const char *path) {
    static const uint64_t wide[SPILL_ARRAYS] = {0, 1, 8, 8, 8, 1, 1, 8};
    const uint64_t id_bytes = km_tokenizer_size(b->tokenizer) <= 65536 ? 2 : 4;
    for (int array = 0; array < SPILL_ARRAYS; array++) {
        if (!is_there(b, array)) {
            continue;
        }
        uint64_t bytes = array == SPILL_TOKENS ? id_bytes : wide[array];
        KM_TRY(km_spill_copy(b->spill, t->side, array, t->before[SPILL_TOKENS], fd,
                             t->offset[array] + t->before[array] * bytes, path));
    }
    if (fsync(fd) != 0 && errno != EINVAL) {
        return km_fail_errno(errno, "%s: cannot write", path);
    }
    return KM_OK;
}

static km_status copy_share(const build *b, const output *t) {
    const char *path = t->temporary;
    int fd = open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
    km_status status =
        fd >= 0 ? copy_arrays(b, t, fd, path)
                : km_fail_kind(km_errno_kind(errno), "%s: cannot open: %s. All ranks must see the folder of --out.",
                               path, strerror(errno));
    if (fd >= 0 && close(fd) != 0 && status == KM_OK) {
        status = km_fail_errno(errno, "%s: cannot write", path);
    }
    return status;
}

/* Tags are numbered alike on all ranks, and every token gets one. */
static km_status number_tags(build *b) {
    uint8_t number[KM_MOST_TAGS + 1];
    if (!b->with_tags) {
        return KM_OK;
    }
    KM_TRY(km_tag_names_join(b->comm, &b->reading.tag_names, &b->tag_names, number));
    return km_comm_agree(b->comm, km_spill_number_tags(b->spill, number));
}

/* Everything but the last step: the file is whole, under its temporary name. */
static km_status fill_output(build *b, output *t) {
    int64_t counts[SPILL_ARRAYS];
    for (int array = 0; array < SPILL_ARRAYS; array++) {
        t->before[array] = km_spill_count(b->spill, t->side, array);
        counts[array] = (int64_t)t->before[array];
    }
    km_comm_scan(b->comm, t->before, SPILL_ARRAYS);
    km_comm_sum(b->comm, counts, SPILL_ARRAYS);
    for (int array = 0; array < SPILL_ARRAYS; array++) {
        t->counts[array] = (uint64_t)counts[array];
    }
    KM_TRY(km_comm_agree(b->comm, first_rank(b) ? lay_out(b, t) : KM_OK));
    km_comm_broadcast(b->comm, t->offset, sizeof t->offset);
    return km_comm_agree(b->comm, copy_share(b, t));
}

static km_status commit(build *b, output *t) {
    km_store *store = t->store;
    t->store = NULL; /* committing destroys it */
    return km_comm_agree(b->comm, store != NULL ? km_store_commit(store) : KM_OK);
}

static km_status check_users(const build *b, km_store *holdout, km_store *train) {
    if (!first_rank(b)) {
        return KM_OK;
    }
    KM_TRY(check_user(b, SPILL_HOLDOUT, holdout));
    return check_user(b, SPILL_TRAIN, train);
}

static km_status write_corpora(build *b) {
    output train = {.side = SPILL_TRAIN, .path = b->outputs[SPILL_TRAIN]};
    output holdout = {.side = SPILL_HOLDOUT, .path = b->outputs[SPILL_HOLDOUT]};
    train.temporary = km_format("%s.%s", train.path, b->temporary);
    holdout.temporary = km_format("%s.%s", holdout.path, b->temporary);
    const bool both = b->report.holdout_tokens > 0;
    km_status status = both ? fill_output(b, &holdout) : KM_OK;
    if (status == KM_OK) {
        status = fill_output(b, &train);
    }
    if (status == KM_OK) {
        status = km_comm_agree(b->comm, check_users(b, both ? holdout.store : NULL, train.store));
    }
    if (status == KM_OK && both) {
        status = commit(b, &holdout);
    }
    if (status == KM_OK) {
        status = commit(b, &train);
    }
    km_store_abandon(holdout.store);
    km_store_abandon(train.store);
    free(holdout.temporary);
    free(train.temporary);
    return status;
}

static km_status run(build *b) {
    KM_TRY(check_options(b->options));
    KM_TRY(km_comm_agree(b->comm, first_rank(b) ? find_work(b) : KM_OK));
    share_inputs(b);
    share_temporary(b);
    KM_TRY(share_tokenizer(b));
    KM_TRY(read_text(b));
    KM_TRY(count_duplicates(b));
    add_up(b);
    KM_TRY(check_invalid(b));
    KM_TRY(check_records(b));
    KM_TRY(check_totals(b));
    KM_TRY(number_tags(b));
    KM_TRY(write_corpora(b));
    KM_TRY(km_comm_agree(b->comm, first_rank(b) ? remove_stale(b) : KM_OK));
    if (b->options->holdout > 0 && b->report.holdout_documents == 0) {
        km_warn("--holdout %g: none of %llu documents was held out, so %s is not written", b->options->holdout,
                (unsigned long long)b->report.documents, b->outputs[SPILL_HOLDOUT]);
    }
    return KM_OK;
}

km_status km_corpus_build_pieces(km_comm *comm, const km_corpus_options *options, uint64_t piece,
                                 km_corpus_report *report) {
    build b = {.comm = comm, .options = options, .piece = piece};
    b.outputs[SPILL_TRAIN] = km_strdup(options->out);
    b.outputs[SPILL_HOLDOUT] = km_corpus_holdout_path(options->out);
    km_status status = run(&b);
    *report = b.report;
    km_reading_end(&b.reading);
    km_tag_names_free(&b.tag_names);
    km_spill_close(b.spill);
    km_tokenizer_destroy(b.tokenizer);
    free(b.tokenizer_json);
    km_inputs_free(&b.inputs);
    for (int side = 0; side < SPILL_SIDES; side++) {
        free(b.outputs[side]);
        free(b.users[side]);
    }
    free(b.temporary);
    return status;
}

km_status km_corpus_build(km_comm *comm, const km_corpus_options *options, km_corpus_report *report) {
    return km_corpus_build_pieces(comm, options, PIECE, report);
}
