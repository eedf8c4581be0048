/* base: what all other folders of src use. Status codes with growing messages, memory, counter-based random
 * numbers, checksums, atomic files, JSON, tables of options, log and progress.
 *
 * Nothing here knows of MPI, HDF5 or BLAS. Everything is local (never collective). */
#ifndef KMASK_BASE_H
#define KMASK_BASE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

/* KM_VERSION, the version as text ("0.1.0"), is a compile definition: CMakeLists.txt's project(VERSION) is its only source. */

/* ---- Errors: a status, which is also the program's exit status, a kind, and a message that grows ----------- */

typedef enum km_status {
    KM_OK = 0,
    KM_FAILED = 1,        /* an operation failed: on a file or disk, in a library, or on this machine */
    KM_USAGE = 2,         /* wrong command line or config */
    KM_NO_CHECKPOINT = 3, /* checkpoints exist, none is valid */
    KM_STOPPED = 75       /* stopped early after a checkpoint was saved: the same command goes on from there */
} km_status;

/* Why something failed, for code that acts on it; people read the message. */
typedef enum km_error_kind {
    KM_ERROR_NONE,     /* nothing has failed in this thread */
    KM_ERROR_OTHER,    /* none of the kinds below */
    KM_ERROR_USAGE,    /* the command line or the config is wrong: every failure with status KM_USAGE */
    KM_ERROR_STOPPED,  /* somebody asked for the stop: every failure with status KM_STOPPED */
    KM_ERROR_MISSING,  /* there is no such file or folder */
    KM_ERROR_DENIED,   /* permissions, or a file system that is mounted read-only */
    KM_ERROR_NO_SPACE, /* the file system is full */
    KM_ERROR_QUOTA,    /* the user's quota is used up */
    KM_ERROR_IO,       /* the device or the file server failed */
    KM_ERROR_DAMAGED,  /* a file does not hold what it must: cut short, a wrong checksum, another format */
    KM_ERROR_LATER,    /* a file, or a config in one, is of a later version of kmask */
    KM_ERROR_MEMORY,   /* memory could not be allocated */
    KM_ERROR_KINDS     /* the number of kinds */
} km_error_kind;

#if defined(__GNUC__)
#define KM_PRINTF(text, first) __attribute__((__format__(__printf__, text, first)))
#define KM_NODISCARD __attribute__((__warn_unused_result__))
#else
#define KM_PRINTF(text, first)
#define KM_NODISCARD
#endif

/* Sets this thread's message and returns `code`: `return km_fail(KM_FAILED, "%s: empty file", path);`
 * A message is one sentence or two: the file or key, what was found, what was expected, what to do.
 * The kind of error follows from the status: KM_ERROR_USAGE for KM_USAGE, KM_ERROR_STOPPED for KM_STOPPED, KM_ERROR_DAMAGED for
 * KM_NO_CHECKPOINT, else KM_ERROR_OTHER. */
km_status km_fail(km_status code, const char *format, ...) KM_PRINTF(2, 3);
/* Sets this thread's message and the given kind of error; returns KM_FAILED. */
km_status km_fail_kind(km_error_kind kind, const char *format, ...) KM_PRINTF(2, 3);
/* Sets this thread's message after a system call has failed; `number` is its errno. The message is "text: strerror(number)", and
 * the kind of error is km_errno_kind(number). Returns KM_FAILED. */
km_status km_fail_errno(int number, const char *format, ...) KM_PRINTF(2, 3);
/* The kind of error that an errno number stands for. */
km_error_kind km_errno_kind(int number);
/* Puts "text: " before this thread's message and keeps its kind; returns `code`. */
km_status km_context(km_status code, const char *format, ...) KM_PRINTF(2, 3);
/* Replaces this thread's message and keeps its kind. Arguments may point into the old message. Returns `code`. */
km_status km_rephrase(km_status code, const char *format, ...) KM_PRINTF(2, 3);
/* This thread's message; "" when nothing failed. Valid until the thread's next failure. */
const char *km_message(void);
/* The kind of this thread's last failure; KM_ERROR_NONE when nothing failed. */
km_error_kind km_message_kind(void);

/* A failure that is kept in a variable: to hand it to another thread, or to keep it while other calls may fail. All zeros means
 * that there is no failure. */
typedef struct km_error {
    km_status status;
    km_error_kind kind;
    char *message; /* owned */
} km_error;
/* Sets *out to `status` with this thread's kind and message, and frees what it held. With KM_OK, *out holds no failure. */
void km_error_copy(km_error *out, km_status status);
/* Makes the kept failure this thread's last failure and returns its status. Without a failure it returns KM_OK and changes
 * nothing. */
km_status km_error_raise(const km_error *error) KM_NODISCARD;
/* Frees the message; afterwards *error holds no failure. */
void km_error_clear(km_error *error);

/* Returns from the calling function with the status of `call` unless that is KM_OK. */
#define KM_TRY(call)                                                                                               \
    do {                                                                                                           \
        km_status km_status_ = (call);                                                                             \
        if (km_status_ != KM_OK) {                                                                                 \
            return km_status_;                                                                                     \
        }                                                                                                          \
    } while (0)

/* Whether a <= b apart from rounding: sums and products of decimal fractions are seldom exact (0.7 + 0.2 + 0.1 is above 1). */
#define KM_ROUNDING 1e-9
static inline bool km_at_most(double a, double b) {
    return a <= b + KM_ROUNDING;
}

#define KM_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define KM_MIN(a, b) ((a) < (b) ? (a) : (b))
#define KM_MAX(a, b) ((a) > (b) ? (a) : (b))

/* ---- Memory ---------------------------------------------------------------------------------------------- */

/* Small allocations: count * size bytes, all zero; free with free(). They never return NULL: where memory for a few bytes is
 * missing, the process ends with one sentence. */
void *km_new(size_t count, size_t size);
void *km_grow(void *old, size_t count, size_t size); /* realloc to count * size bytes; new bytes are not zeroed */
char *km_strdup(const char *text);
char *km_format(const char *format, ...) KM_PRINTF(1, 2); /* the caller frees */

/* Large allocations: 64-byte aligned and zeroed. A failure's message names `what` and the size. Free with free(). */
km_status km_allocate(void **out, size_t bytes, const char *what) KM_NODISCARD;

/* A bump allocator over one block, which hands out 64-byte aligned pieces. The same placement function runs twice: first over an
 * arena without a block, after which `used` is the size that is needed; then over an arena with a block of that size. */
typedef struct km_arena {
    char *base;      /* NULL: measure only; km_arena_take then returns NULL */
    size_t capacity; /* bytes at base */
    size_t used;
} km_arena;
void *km_arena_take(km_arena *arena, size_t count, size_t size);

/* A growing array of bytes; `data` always has a NUL after `size` bytes once something was added. */
typedef struct km_buffer {
    char *data;
    size_t size, capacity;
} km_buffer;
void km_buffer_add(km_buffer *buffer, const void *bytes, size_t count);
void km_buffer_print(km_buffer *buffer, const char *format, ...) KM_PRINTF(2, 3);
void km_buffer_free(km_buffer *buffer);

/* ---- Random numbers ----------------------------------------------------------------------------------------- */
/* Philox 4x32-10 (Salmon et al. 2011). The key is (seed, purpose); the counter is (block, a, b). Each number is thus a function of
 * what it is for, and a checkpoint holds no state of a generator. */

/* What random numbers are for, and what a and b are then. */
typedef enum km_purpose {
    KM_RNG_INIT = 1, /* initial weights; a: hash of the parameter's name, b: number of a block of its elements */
    KM_RNG_ORDER,    /* order of rows; a: epoch */
    KM_RNG_MASK,     /* choice of masked units; a: epoch, b: row */
    KM_RNG_REPLACE,  /* what replaces masked tokens; a: view of the row, b: row; the epoch is mixed into the key */
    KM_RNG_DROPOUT,  /* a: place of the dropout in the model, b: row key (see kernel.h) */
    KM_RNG_EVAL,     /* masks of evaluation, the same every time; a, b as for KM_RNG_MASK */
    KM_RNG_TEST,     /* random tokens of tests and of `kmask bench` */
    KM_RNG_VARIANCE, /* masks (a, b as for KM_RNG_MASK) and random projections of `kmask variance` */
    KM_RNG_GUMBEL,   /* decisions of a policy while it is meta-learned; a: step, b: example of the step */
} km_purpose;

typedef struct km_rng {
    uint32_t key[2];
    uint32_t counter[4]; /* [0] counts blocks; [1] = a; [2], [3] = b */
    uint32_t block[4];
    int left; /* numbers of `block` not yet handed out */
} km_rng;

/* One block of Philox 4x32-10. */
void km_philox(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2]);
/* The key of (seed, purpose): 64 well-mixed bits in two words. */
void km_rng_key(uint32_t key[2], uint64_t seed, km_purpose purpose);
/* A generator at the start of the sequence of (seed, purpose, a, b). */
km_rng km_rng_make(uint64_t seed, km_purpose purpose, uint32_t a, uint64_t b);
uint32_t km_rng_u32(km_rng *rng);
uint64_t km_rng_u64(km_rng *rng);
uint32_t km_rng_below(km_rng *rng, uint32_t n); /* uniform in 0..n-1 without bias; n > 0 */
double km_rng_unit(km_rng *rng);                /* uniform in [0, 1), 53 bits */
double km_rng_normal(km_rng *rng);              /* standard normal (Box-Muller) */
uint64_t km_mix64(uint64_t x);                  /* splitmix64's finalizer: a bijection with good avalanche */

/* ---- Checksums ------------------------------------------------------------------------------------------- */
/* XXH3-128 (libxxhash). Its text form is 32 hex digits, high word first. */

typedef struct km_hash {
    uint64_t low, high;
} km_hash;
typedef struct km_hasher km_hasher;
km_hash km_hash_bytes(const void *bytes, size_t count);
km_hasher *km_hasher_create(void);
void km_hasher_add(km_hasher *hasher, const void *bytes, size_t count);
km_hash km_hasher_end(km_hasher *hasher); /* also destroys the hasher */
void km_hash_text(char out[33], km_hash hash);
bool km_hash_equal(km_hash a, km_hash b);

/* ---- Secrets --------------------------------------------------------------------------------------------- */
/* Against people, where the checksums above are against accidents (libsodium). A secret is KM_SECRET random bytes that the
 * processes of a job share. Any thread may call these functions. */

enum { KM_SECRET = 32, KM_PROOF = 32, KM_SHA256_TEXT = 45 };
/* Random bytes that nobody can foresee. Nothing that a run computes may depend on them. */
void km_random_bytes(void *out, size_t count);
/* The keyed hash (HMAC-SHA-512-256) of `count` bytes: only who knows the secret can compute it. */
void km_prove(unsigned char out[KM_PROOF], const void *bytes, size_t count, const unsigned char secret[KM_SECRET]);
/* Compares in a time that does not depend on where two texts differ. */
bool km_same_bytes(const void *a, const void *b, size_t count);
/* Whether `proof` is the keyed hash of these bytes; takes the same time for any wrong proof. */
bool km_proves(const unsigned char proof[KM_PROOF], const void *bytes, size_t count,
               const unsigned char secret[KM_SECRET]);
/* A signature (Ed25519): who made the pair of keys can sign, and everybody who has the public key, which is no secret, can check. */
enum { KM_PUBLIC_KEY = 32, KM_PRIVATE_KEY = 64, KM_SIGNATURE = 64 };
void km_sign_keys(unsigned char public_key[KM_PUBLIC_KEY], unsigned char private_key[KM_PRIVATE_KEY]);
void km_sign(unsigned char out[KM_SIGNATURE], const void *bytes, size_t count,
             const unsigned char private_key[KM_PRIVATE_KEY]);
bool km_signed(const unsigned char signature[KM_SIGNATURE], const void *bytes, size_t count,
               const unsigned char public_key[KM_PUBLIC_KEY]);
/* A public key as hexadecimal digits; false where a text does not begin with one. */
enum { KM_PUBLIC_KEY_TEXT = 2 * KM_PUBLIC_KEY + 1 };
void km_public_key_print(char out[KM_PUBLIC_KEY_TEXT], const unsigned char public_key[KM_PUBLIC_KEY]);
bool km_public_key_parse(unsigned char out[KM_PUBLIC_KEY], const char *text);
/* SHA-256 in base64, as a page's Content-Security-Policy names a script. */
void km_sha256_base64(char out[KM_SHA256_TEXT], const void *bytes, size_t count);

/* ---- Files ----------------------------------------------------------------------------------------------- */

/* What a path leads to, by its mode (struct stat), for messages: "a file", "a folder", "a named pipe", "a device" ... */
const char *km_file_kind(unsigned mode);
/* Fails where there is something at the path, and it is no file: a folder, a pipe, a device. */
km_status km_file_check_regular(const char *path) KM_NODISCARD;
/* Opens a file for reading and never waits: a named pipe that nobody writes to then reads as empty. -1, with errno, on failure. */
int km_file_open(const char *path);
/* The same as a stream; NULL, with errno, on failure. The caller closes. */
FILE *km_file_stream(const char *path);
/* Whether two paths lead to one file. */
bool km_file_is_same(const char *a, const char *b);
/* Reads the whole file into *out, with a NUL after it (the caller frees). A file of more than `limit` bytes is an error. A pipe
 * is read to its end, a device is refused, and of a file that is written to meanwhile the bytes that it had at first are read. */
km_status km_file_read(char **out, size_t *size, const char *path, size_t limit) KM_NODISCARD;
/* Replaces the file at `path`, or leaves it as it was where something fails: writes a temporary file in the same folder, then
 * fsync, rename, and fsync of the folder. */
km_status km_file_replace(const char *path, const void *bytes, size_t count) KM_NODISCARD;
/* Copies a file to a new one, which is not synced yet. */
km_status km_file_copy(const char *path, const char *copy) KM_NODISCARD;
/* The last steps of km_file_replace for a file that is already written: fsync of `temporary`, rename to `path`, fsync of the
 * folder. */
km_status km_file_commit(const char *temporary, const char *path) KM_NODISCARD;
/* fsync of the folder that holds `path`: afterwards, files that were created, renamed or removed there stay so after a power
 * cut. */
km_status km_file_sync_folder(const char *path) KM_NODISCARD;
/* fsync, called again after an interruption by a signal; KM_OK where the file system has no fsync. */
km_status km_file_sync(int fd, const char *path) KM_NODISCARD;
/* Transfer all `count` bytes at an offset, and go on after signals and short counts; `path` is named in the message. */
km_status km_pread_all(int fd, void *bytes, size_t count, uint64_t offset, const char *path) KM_NODISCARD;
km_status km_pwrite_all(int fd, const void *bytes, size_t count, uint64_t offset, const char *path) KM_NODISCARD;
km_status km_make_folder(const char *path) KM_NODISCARD; /* with parents; an existing folder is fine */
/* Whether something has this name. Where that cannot be known (a folder on the way may not be entered) the answer is yes, so that
 * opening it says why, and a file is not taken for one that is missing. */
bool km_file_exists(const char *path);

/* ---- Files that --out names ---- */
/* All verbs write the file of --out by these rules. Nothing but a regular file, or nothing, is replaced: no folder, device, pipe or
 * symbolic link. The temporary file lies in the same folder, has a name that nobody can foresee, and is made exclusively, without
 * following links; no other file is touched. A file that is replaced keeps its mode. */

/* Whether `path` may be written: checked before long work. */
km_status km_out_check(const char *path) KM_NODISCARD;
/* A name for the temporary file; the caller frees. */
char *km_out_temporary(const char *path);
/* Checks `path` and creates the temporary file. The caller closes *fd, which is -1 where the file was not made. */
km_status km_out_create(int *fd, const char *temporary, const char *path) KM_NODISCARD;
/* Checks `path` once more and does what km_file_commit does. */
km_status km_out_commit(const char *temporary, const char *path) KM_NODISCARD;
/* All of it for bytes in memory. */
km_status km_out_replace(const char *path, const void *bytes, size_t count) KM_NODISCARD;

/* ---- JSON (cJSON underneath) ------------------------------------------------------------------------------ */

typedef struct cJSON km_json; /* opaque: only base sees cJSON */

/* Parses `count` bytes of text. Messages begin with `origin` (a path, "--set") and give line and column. Nesting beyond 100
 * levels, trailing text, NUL bytes and more than 2^23 values are refused. The caller destroys. km_json_load does the same with a
 * file. */
km_status km_json_parse(km_json **out, const char *text, size_t count, const char *origin) KM_NODISCARD;
km_status km_json_load(km_json **out, const char *path, size_t limit) KM_NODISCARD;
/* The same for a record of data, as Python's json module reads it: NaN and Infinity are null here, half of a surrogate pair is U+FFFD,
 * and \u0000, which no C string can hold, is a blank. A record has at most 3 * 2^20 values. */
km_status km_json_parse_record(km_json **out, const char *text, size_t count, const char *origin) KM_NODISCARD;
/* An upper bound of the number of values in a JSON text. */
size_t km_json_values(const char *text, size_t count);
/* As km_json_parse, and numbers such as 1.0 and 1e3 are printed again with a point: there are readers to whom 1 is of another type. */
km_status km_json_parse_decimals(km_json **out, const char *text, size_t count, const char *origin) KM_NODISCARD;
void km_json_destroy(km_json *json);

/* All functions that read JSON accept NULL, and treat it as a value that is missing. */
const km_json *km_json_get(const km_json *object,
                           const char *key); /* NULL when absent or not an object; the last of several */
const km_json *km_json_at(const km_json *array, size_t index); /* linear; iterate with first/next */
const km_json *km_json_first(const km_json *container);        /* first element or member */
const km_json *km_json_next(const km_json *element);
const char *km_json_key(const km_json *member);
size_t km_json_size(const km_json *container);
bool km_json_is_object(const km_json *json);
bool km_json_is_array(const km_json *json);
bool km_json_is_null(const km_json *json);
const char *km_json_string(const km_json *json);       /* NULL when not a string */
bool km_json_number(double *out, const km_json *json); /* false when not a number */
bool km_json_boolean(bool *out, const km_json *json);  /* false when not a boolean */
/* The value of an object's member. Where it is missing or has another type, the number is `absent` and the text is "". */
double km_json_number_or(const km_json *object, const char *key, double absent);
const char *km_json_text(const km_json *object, const char *key);

km_json *km_json_object(void);
km_json *km_json_array(void);
void km_json_set_number(km_json *object, const char *key, double value);  /* NaN and infinities become null */
void km_json_set_decimal(km_json *object, const char *key, double value); /* always with a point: 1.0 */
void km_json_set_string(km_json *object, const char *key, const char *value);
void km_json_set_boolean(km_json *object, const char *key, bool value);
void km_json_set(km_json *object, const char *key, km_json *value); /* takes ownership of value */
void km_json_push_number(km_json *array, double value);
void km_json_push_string(km_json *array, const char *value);
void km_json_push(km_json *array, km_json *value);       /* takes ownership of value */
char *km_json_print(const km_json *json, bool indented); /* the caller frees */

/* ---- Options: the keys of configs --------------------------------------------------------------------------- */
/* A config is JSON of two levels, {"mask": {"splits": 4}, ...}, and becomes one plain C struct. The folder of src that uses an
 * option declares it: a struct for each section, and a table with a row for each key, from which everything else follows: reading,
 * ranges, defaults, help, man page, printing, and what may differ when a run is resumed. A schema composes the sections that a
 * verb reads. */

enum { KM_PATH = 1024, KM_WORD = 32, KM_STEPS = 64, KM_NUMBERS = 1024, KM_TEXTS = 4096 };

/* Some of a run's steps: every so many, or those of a list. */
typedef struct km_steps {
    int64_t every;          /* an interval in steps; 0: the list is used */
    int64_t list[KM_STEPS]; /* ascending */
    int count;              /* where `every` and `count` are 0 there are no such steps */
} km_steps;
bool km_steps_has(const km_steps *steps, int64_t step);

/* A list of whole numbers; count 0: not given. */
typedef struct km_numbers {
    int64_t list[KM_NUMBERS];
    int count;
} km_numbers;
/* A list of numbers; count 0: not given. */
enum { KM_DOUBLES = 64 };
typedef struct km_doubles {
    double list[KM_DOUBLES];
    int count;
} km_doubles;
/* A list of texts, each with its NUL, one after the other. */
typedef struct km_texts {
    char text[KM_TEXTS];
    int count;
} km_texts;
const char *km_texts_at(const km_texts *texts, int index);

/* The type of an option: the C type of its member, and, where that does not make it clear, what it may be in JSON. */
typedef enum km_kind {
    KM_INT,         /* int64_t */
    KM_DOUBLE,      /* double */
    KM_FLAG,        /* bool */
    KM_FILE,        /* char[KM_PATH] */
    KM_CHOICE,      /* char[KM_WORD] */
    KM_RATIO,       /* double; the word "partition" is stored as 0 */
    KM_EVERY,       /* km_steps: an interval or a list of steps */
    KM_NUMBER_LIST, /* km_numbers: a number, a text "1,4..7", or a list of both */
    KM_DOUBLE_LIST, /* km_doubles: a number, a text "1e-5,2e-5", or a list of numbers */
    KM_TEXT_LIST    /* km_texts: a text or a list; where the option has choices, each text must be one of them */
} km_kind;

/* What resuming a run asks of an option. */
typedef enum km_resume {
    KM_FIXED,      /* a resumed run must have the same value */
    KM_MAY_CHANGE, /* a resumed run may have another value, which the log mentions */
    KM_ORIGIN      /* not compared: it only says where other values came from, or does not concern training */
} km_resume;

/* One key. A value outside its own range (0, "") means "not given" and is printed as null: an option whose 0 is a proper value
 * has 0 in its range. */
typedef struct km_option {
    const char *name; /* within its section: "splits" of mask.splits */
    km_kind kind;
    size_t place;         /* offset in bytes of its member in the section's struct */
    const char *range;    /* numbers: "1..64", ">0..1" (without 0), "0..<1" (without 1), "1.." ; choices: "a|b" */
    const char *standard; /* the default, as --set takes it; NULL: none; or KM_REQUIRED */
    km_resume resume;
    const char *help; /* one line */
    /* Returns the choices "a|b", in place of `range`, where another table of the program lists the names. */
    const char *(*choices)(void);
    const char *planned;     /* "c|d": names that a later version will have, as their refusal says; may be NULL */
    const char *consequence; /* what the log says of a new value when a run is resumed; may be NULL */
    /* What other programs call it, "a|b", for the answer to a key that is not there. Case, "_" and "-" do not matter. */
    const char *also;
} km_option;

#define KM_REQUIRED "required"

/* A section: its options, and the size of its struct. The struct holds no pointers, and its first member is `uint64_t given`:
 * bit i is 1 where a file or --set gave options[i]. */
typedef struct km_section {
    const char *name;
    const km_option *options;
    int count;
    size_t size;
    /* Whether an option concerns these values; what does not is neither printed nor compared. NULL: all do. */
    bool (*concerns)(const void *values, const km_option *option);
} km_section;

/* Defines the section `symbol` from its struct's type and its table. */
#define KM_SECTION(symbol, title, type, table)                                                                     \
    _Static_assert(offsetof(type, given) == 0 && KM_COUNT(table) <= 64,                                            \
                   "given is the first member, and has 64 bits");                                                  \
    const km_section symbol = {.name = (title), .options = (table), .count = KM_COUNT(table), .size = sizeof(type)}

/* Whether the config file or --set gave this option ("splits") of a section. */
bool km_given(const km_section *section, const void *values, const char *name);
/* The names that are allowed for an option, as "a|b|c"; NULL where its value is not one of several names. */
const char *km_option_choices(const km_option *option);
/* Fills `out` with the words as "a|b|c" and returns it. Functions for km_option.choices use it. */
enum { KM_NAMES = 512 };
const char *km_names_join(char out[KM_NAMES], const char *const *words, size_t count);
/* The option of that name; NULL when there is none. */
const km_option *km_section_option(const km_section *section, const char *name);

/* The config of a verb: sections, in the order in which they are printed, and where their structs lie in one plain struct, which
 * ranks broadcast as bytes. Other verbs may read the same schema. */
typedef struct km_part {
    const km_section *section;
    size_t place; /* offset in bytes of its struct in the whole struct */
} km_part;
typedef struct km_schema {
    const char *verb; /* `kmask <verb> --help` explains all of its keys */
    size_t size;      /* of the whole struct */
    const km_part *parts;
    int count;
    const struct km_schema
        *first; /* NULL, or a schema whose struct is this one's first member: its sections come first */
} km_schema;

/* One option of a schema. */
typedef struct km_field {
    const km_section *section;
    const km_option *option;
    size_t place; /* offset in bytes of its value in the whole struct */
} km_field;
/* Sets *out to option `index`, counted over all sections in order; false when there are not so many. */
bool km_schema_field(km_field *out, const km_schema *schema, int index);

/* Where a config comes from. */
typedef struct km_config_source {
    const char *path; /* NULL: no file */
    int set_count;
    char *const *set; /* "section.key=value", in order; they override the file */
    /* The schemas of other verbs, NULL at the end: their sections may be in the file, are checked, and are not used. May be
     * NULL. */
    const km_schema *const *others;
} km_config_source;

/* The version of configs, which config.json of a run folder and the attribute `config` of files hold as "version". A config without
 * one was written before there were versions, and is read in the same way. A later version is refused. */
enum { KM_CONFIG_VERSION = 1 };

/* Clears `out`, reads the file and then the assignments, and checks every key, type and range. Defaults are not filled in. A null
 * counts as no value. Every failure is KM_USAGE and names file, key, what was found and what was expected. */
km_status km_schema_read(const km_schema *schema, void *out, const km_config_source *source) KM_NODISCARD;
/* Clears `out` and reads JSON that km_schema_print wrote; messages begin with `origin`. Sections that are not in the schema are
 * ignored, since a file holds the config of the verb that made it. */
km_status km_schema_parse(const km_schema *schema, void *out, const char *json, const char *origin) KM_NODISCARD;
/* Fails with KM_USAGE where required keys are not given, and names them all. Required are the keys in `keys` ("section.key",
 * NULL at the end), or, where `keys` is NULL, those that are marked KM_REQUIRED. */
km_status km_schema_require(const km_schema *schema, const void *config, const char *const *keys) KM_NODISCARD;
/* Fills in the tables' defaults where nothing was given. It fails only where a default is outside the range of its own option. */
km_status km_schema_fill(const km_schema *schema, void *config) KM_NODISCARD;
/* The whole config with its version as JSON text, which reads back to the same bits. The caller frees. */
char *km_schema_print(const km_schema *schema, const void *config);
/* Compares the config that a run was started with (`was`) and the one that resumes it (`now`). Differences in KM_FIXED options are
 * added to `refused`, separated by commas; those in KM_MAY_CHANGE options are added to `changes`, one a line. */
void km_schema_compare(const km_schema *schema, const void *was, const void *now, km_buffer *refused,
                       km_buffer *changes);
/* Prints each key with type, range, default and meaning. */
void km_schema_help(const km_schema *schema, FILE *stream);
/* Adds an option's type and range to `out`: "int 1..64", "a|b", "path". */
void km_option_type(const km_option *option, km_buffer *out);
/* The word of `words` (NULL-terminated) nearest to `word` by edit distance; NULL when none is near. */
const char *km_nearest(const char *word, const char *const *words);

/* ---- Text on terminals ---- */
/* Adds text with its control characters escaped, but for tabs and newlines: "\\x1b", "\\u202e". Bytes that are no UTF-8 are escaped too.
 * Returns how many bytes were used: where `last` is false, a character whose rest is still to come is left. */
size_t km_printable_add(km_buffer *out, const char *text, size_t count, bool last);
char *km_printable(const char *text); /* the same of a whole text; the caller frees */

/* ---- Log and progress ------------------------------------------------------------------------------------- */

/* The log is lines on standard error. One rank writes them, the others are muted. Errors are printed by main only. */
void km_log_mute(bool muted);
bool km_log_muted(void);
void km_log(const char *format, ...) KM_PRINTF(1, 2);  /* a plain line without prefix */
void km_warn(const char *format, ...) KM_PRINTF(1, 2); /* "kmask: warning: ..." */
/* Fill `out` and return it: a time as "1h02m", "3m20s" or "12s"; a quantity as "123 k" for 123456. */
const char *km_duration(char out[32], double seconds);
const char *km_quantity(char out[32], double value);

/* Shows the progress of one task. On a terminal it is one live line (bar, share done, text, time left). Otherwise it is plain
 * lines: at the first update, then whenever the share done has grown by a fiftieth (in no less than 2 seconds) or half a minute
 * has passed, and at the end. The environment variable KMASK_PROGRESS=live|plain|none overrides the choice. Under mpirun it is
 * the standard error of mpirun that must be a terminal. `done` and `total` count the same things, such as steps or bytes. */
typedef struct km_progress km_progress;
km_progress *km_progress_create(const char *what, uint64_t done, uint64_t total);
void km_progress_update(km_progress *progress, uint64_t done, const char *format, ...) KM_PRINTF(3, 4);
void km_progress_clear(km_progress *progress); /* wipes the live line, before other output */
void km_progress_destroy(km_progress *progress);

/* ---- Time --------------------------------------------------------------------------------------------------- */

double km_seconds(void);       /* the time by a monotonic clock */
void km_sleep(double seconds); /* a signal does not cut it short */
/* The absolute time `seconds` from now by CLOCK_MONOTONIC or CLOCK_REALTIME, for calls that wait until an absolute time. */
struct timespec km_clock_after(clockid_t clock, double seconds);

/* ---- Threads ------------------------------------------------------------------------------------------------ */

/* pthread_create with all signals blocked in the new thread, so that the main thread receives them. Returns 0 or an errno. */
int km_thread_start(pthread_t *thread, void *(*run)(void *payload), void *payload);

/* A few threads that do the same job at the same time. The caller is worker 0: with one worker no thread is made. */
typedef struct km_pool km_pool;
typedef void km_job(void *payload, int worker);

km_status km_pool_create(km_pool **out, int workers) KM_NODISCARD;
void km_pool_destroy(km_pool *pool); /* NULL is fine */
int km_pool_workers(const km_pool *pool);
/* Calls job(payload, w) in each worker w at the same time; returns when all are done. */
void km_pool_run(km_pool *pool, km_job *job, void *payload);
/* km_pool_begin starts job(payload, w) in workers 1, 2, ... and returns; km_pool_end waits for them. In between, the caller itself
 * does the part of worker 0. */
void km_pool_begin(km_pool *pool, km_job *job, void *payload);
void km_pool_end(km_pool *pool);

/* ---- Processes: identifying one, and whether it still runs -------------------------------------------------- */

/* Identifies a process, also against a later one that was given the same pid. */
typedef struct km_process {
    char host[64];
    /* A hash that is equal for processes of the same boot of a machine that see each other's pids. */
    uint64_t machine;
    uint64_t started; /* start time, in the kernel's ticks since the boot */
    int64_t pid;
} km_process;
typedef enum km_process_state {
    KM_PROCESS_ELSEWHERE, /* on another machine, or in another pid namespace of this one: unknown */
    KM_PROCESS_GONE,      /* it has ended */
    KM_PROCESS_STOPPED,   /* by a signal or a debugger */
    KM_PROCESS_ALIVE
} km_process_state;
km_process km_process_self(void); /* the calling process */
km_process_state km_process_check(const km_process *process);
/* Sends SIGKILL to a process of this machine, unless its pid now belongs to another process. */
void km_process_kill(const km_process *process);
/* Copies `bytes` bytes that another process has at `address` to `out`. False, with errno set, where the system does not allow
 * it. */
bool km_process_read(int64_t pid, uint64_t address, void *out, size_t bytes);
/* Whether processes of one user may read each other's memory here. It is found out by a child process, which tries to read this
 * one's. */
bool km_process_readable(void);

/* ---- Where time goes ---------------------------------------------------------------------------------------- */

/* What a thread is doing. A measured thread is always in exactly one of these, so that their seconds add up to its time. */
typedef enum km_op {
    KM_OP_REST,  /* none of the others: calls between them, clearing memory */
    KM_OP_INPUT, /* waiting for batches that the reader makes */
    KM_OP_FORWARD_PRODUCTS,
    KM_OP_FORWARD_ATTENTION,
    KM_OP_FORWARD_NORM, /* layer norm, with the dropout and residual before it */
    KM_OP_FORWARD_GELU,
    KM_OP_FORWARD_EMBEDDING, /* also picking out rows, such as the hidden states of masked tokens */
    KM_OP_LOSS,
    KM_OP_BACKWARD_PRODUCTS, /* with the gradients of the biases */
    KM_OP_BACKWARD_ATTENTION,
    KM_OP_BACKWARD_NORM,
    KM_OP_BACKWARD_GELU,
    KM_OP_BACKWARD_EMBEDDING,
    KM_OP_DROPOUT,       /* where it is not part of another operation */
    KM_OP_EXACT_SUM,     /* adding gradients to this rank's integer sum */
    KM_OP_OPTIMIZER,     /* the gradient's norm, AdamW */
    KM_OP_ROUNDING,      /* to bf16, where it is not part of another operation */
    KM_OP_COMMUNICATION, /* starting and polling transfers, adding up what has arrived */
    KM_OP_WAITING,       /* for other ranks */
    KM_OP_IDLE,          /* waiting for the other threads of the same rank */
    KM_OPS
} km_op;
const char *km_op_name(km_op op); /* "forward_products" */

/* Stand around what the calling thread does as `op`; pairs may nest. While nothing is measured each costs one load. */
static inline void km_op_begin(km_op op);
static inline void km_op_end(void);
#define KM_TIMED(op, call)                                                                                         \
    do {                                                                                                           \
        km_op_begin(op);                                                                                           \
        call;                                                                                                      \
        km_op_end();                                                                                               \
    } while (0)

/* Starts measuring, with the seconds of all threads at 0, or ends it. To be called while no other thread works. A thread is
 * measured from its first km_op_begin or km_op_end after the start. */
void km_ops_measure(bool on);
/* The seconds of all measured threads added up. The other threads must be idle (a pool between two jobs). */
void km_ops_collect(double seconds[KM_OPS]);

extern bool km_ops_measured;
void km_op_push(km_op op);
void km_op_pop(void);
static inline void km_op_begin(km_op op) {
    if (km_ops_measured) {
        km_op_push(op);
    }
}
static inline void km_op_end(void) {
    if (km_ops_measured) {
        km_op_pop();
    }
}

/* ---- This host, as `kmask doctor` looks at it ---------------------------------------------------------------- */

/* A set of hardware threads, by the system's numbers. */
enum { KM_CPUS = 4096 };
typedef struct km_cpus {
    uint64_t bits[KM_CPUS / 64];
} km_cpus;
bool km_cpus_has(const km_cpus *cpus, int cpu);
int km_cpus_count(const km_cpus *cpus);
char *km_cpus_print(const km_cpus *cpus); /* "0-3,8", as taskset writes it; the caller frees */
bool km_cpus_parse(km_cpus *out,
                   const char *text); /* reads what km_cpus_print writes; false: it is not such a text */
void km_cpus_allowed(km_cpus *out);   /* those that this process may run on */
/* The first hardware thread of each physical core that has threads in `cpus`. */
void km_cpus_cores(km_cpus *out, const km_cpus *cpus);
char *km_cpu_name(void); /* "AMD EPYC 9654 ..."; the caller frees */
/* The limit of CPU time that control groups (cgroups) set for this process, in cores; 0: no limit. */
double km_cpu_quota(void);
/* Bytes of memory and swap that this process may still take, which the machine and its control groups limit. UINT64_MAX
 * where the system does not say. */
uint64_t km_memory_available(void);
char *km_fabric_name(void); /* "mlx5_0": a device of InfiniBand, Omni-Path or RoCE; NULL: none. The caller frees. */

/* Measures a folder, or the nearest existing folder above it: how fast a file can be written there, which takes about `seconds`
 * at most, and which locks its file system has. HDF5 uses flock; the lock of a run uses fcntl. The file is removed again. A
 * folder that cannot be written to is KM_FAILED. */
typedef struct km_folder_report {
    char path[KM_PATH]; /* the folder that was measured */
    /* Bytes a second that were written, the final fsync included; and the seconds of that fsync. */
    double bytes_per_s, sync_seconds;
    uint64_t free_bytes;
    bool flock, fcntl;
} km_folder_report;
km_status km_folder_measure(km_folder_report *out, const char *path, double seconds) KM_NODISCARD;
/* Whether files can be made in the folder, or the folder itself where it is missing. Fails as km_make_folder would, and makes
 * nothing. */
km_status km_folder_check(const char *path) KM_NODISCARD;

/* ---- Faults, for tests ------------------------------------------------------------------------------------- */

/* Marks a place where a test can make something go wrong: `km_fault("save.rename")` stands before the rename. In a build with
 * KMASK_FAULTS, the environment variable KMASK_FAULT makes a chosen call of km_fault fail, or kills, stops or delays the process or
 * other ranks there (src/base/fault.c). In any other build this is KM_OK and no code. Any thread. */
#ifdef KMASK_FAULTS
km_status km_fault(const char *place) KM_NODISCARD;
#else
static inline km_status km_fault(const char *place) {
    (void)place;
    return KM_OK;
}
#endif

#endif
