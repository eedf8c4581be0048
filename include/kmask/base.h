/* base: what every floor stands on. Status codes with growing messages, memory, counter-based random
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
    KM_FAILED = 1,        /* a file, a disk, a library or the machine said no */
    KM_USAGE = 2,         /* wrong command line or config */
    KM_NO_CHECKPOINT = 3, /* checkpoints exist, none is valid */
    KM_STOPPED = 75       /* stopped early, a checkpoint is saved: run it again to go on */
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
    KM_ERROR_MEMORY,
    KM_ERROR_KINDS
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
 * The kind is that of the status: USAGE, STOPPED, DAMAGED for KM_NO_CHECKPOINT, else OTHER. */
km_status km_fail(km_status code, const char *format, ...) KM_PRINTF(2, 3);
/* The same with a kind of its own; returns KM_FAILED. */
km_status km_fail_kind(km_error_kind kind, const char *format, ...) KM_PRINTF(2, 3);
/* For a system call that failed with `number` (errno): the message is "text: what strerror says", the kind follows from the
 * number. Returns KM_FAILED. */
km_status km_fail_errno(int number, const char *format, ...) KM_PRINTF(2, 3);
km_error_kind km_errno_kind(int number);
/* Puts "text: " before this thread's message, whose kind stays; returns `code`. */
km_status km_context(km_status code, const char *format, ...) KM_PRINTF(2, 3);
/* Replaces this thread's message, to which arguments may point; the kind stays. Returns `code`. */
km_status km_rephrase(km_status code, const char *format, ...) KM_PRINTF(2, 3);
/* This thread's message; "" when nothing failed. Valid until the thread's next failure. */
const char *km_message(void);
km_error_kind km_message_kind(void);

/* A failure as a value, to be taken to another thread, or past calls that may fail themselves. All zeros: no failure. */
typedef struct km_error {
    km_status status;
    km_error_kind kind;
    char *message; /* owned */
} km_error;
/* *out becomes `status` with this thread's kind and message; what was in it is freed. KM_OK clears it. */
void km_error_copy(km_error *out, km_status status);
/* Makes it this thread's failure and returns its status; KM_OK, and nothing changed, where there is none. */
km_status km_error_raise(const km_error *error) KM_NODISCARD;
void km_error_clear(km_error *error);

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

/* Small allocations: zeroed; never NULL (no memory for a few bytes ends the process with one sentence). */
void *km_new(size_t count, size_t size);
void *km_grow(void *old, size_t count, size_t size); /* realloc of count*size bytes; new bytes are not zeroed */
char *km_strdup(const char *text);
char *km_format(const char *format, ...) KM_PRINTF(1, 2); /* the caller frees */

/* Large ones: 64-byte aligned, zeroed, may fail with a message that names `what` and the size. Free with free(). */
km_status km_allocate(void **out, size_t bytes, const char *what) KM_NODISCARD;

/* A bump allocator over one block. Run the same placement function twice: over an arena without a block to
 * measure (`used` is then the size that is needed), then over a real one. 64-byte aligned pieces. */
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

/* ---- Random numbers: a function of what they are for, never a state that is carried along ---------------- */
/* Philox 4x32-10 (Salmon et al. 2011). The key is (seed, purpose); the counter is (block, a, b). */

typedef enum km_purpose {
    KM_RNG_INIT = 1, /* a: parameter's hash, b: block */
    KM_RNG_ORDER,    /* a: epoch */
    KM_RNG_MASK,     /* a: epoch, b: row */
    KM_RNG_REPLACE,  /* a: view within the row's visit, b: row, key mixed with epoch */
    KM_RNG_DROPOUT,  /* a: site, b: row key (see kernel.h) */
    KM_RNG_EVAL,     /* as KM_RNG_MASK, for frozen evaluation masks */
    KM_RNG_TEST,
    KM_RNG_VARIANCE, /* as KM_RNG_MASK, and random projections */
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

/* ---- Files ----------------------------------------------------------------------------------------------- */

/* The whole file with a NUL after it (the caller frees). Larger than `limit` bytes is an error. */
km_status km_file_read(char **out, size_t *size, const char *path, size_t limit) KM_NODISCARD;
/* Replaces `path` or leaves it as it was: temporary file in the same folder, fsync, rename, fsync of the folder. */
km_status km_file_replace(const char *path, const void *bytes, size_t count) KM_NODISCARD;
/* The last step of the above for a file that is already written: fsync `temporary`, rename it, fsync the folder. */
km_status km_file_commit(const char *temporary, const char *path) KM_NODISCARD;
/* fsync of the folder that holds `path`: after it, names that came and went there survive a power cut. */
km_status km_file_sync_folder(const char *path) KM_NODISCARD;
/* fsync, closed or not by signals; KM_OK where the file system has none. */
km_status km_file_sync(int fd, const char *path) KM_NODISCARD;
/* Whole transfers at an offset, restarted after signals and short counts; `path` is for the message. */
km_status km_pread_all(int fd, void *bytes, size_t count, uint64_t offset, const char *path) KM_NODISCARD;
km_status km_pwrite_all(int fd, const void *bytes, size_t count, uint64_t offset, const char *path) KM_NODISCARD;
km_status km_make_folder(const char *path) KM_NODISCARD; /* with parents; an existing folder is fine */
bool km_file_exists(const char *path);

/* ---- JSON (cJSON underneath) ------------------------------------------------------------------------------ */

typedef struct cJSON km_json; /* opaque: only base sees cJSON */

/* `origin` (a path, "--set") stands at the head of messages, which give line and column. Nesting beyond 100
 * levels, trailing text and NUL bytes are refused. The caller destroys. */
km_status km_json_parse(km_json **out, const char *text, size_t count, const char *origin) KM_NODISCARD;
km_status km_json_load(km_json **out, const char *path, size_t limit) KM_NODISCARD;
void km_json_destroy(km_json *json);

/* All readers take NULL as "not there". */
const km_json *km_json_get(const km_json *object, const char *key); /* NULL when absent or not an object */
const km_json *km_json_at(const km_json *array, size_t index);      /* linear; iterate with first/next */
const km_json *km_json_first(const km_json *container);             /* first element or member */
const km_json *km_json_next(const km_json *element);
const char *km_json_key(const km_json *member);
size_t km_json_size(const km_json *container);
bool km_json_is_object(const km_json *json);
bool km_json_is_array(const km_json *json);
bool km_json_is_null(const km_json *json);
const char *km_json_string(const km_json *json);       /* NULL when not a string */
bool km_json_number(double *out, const km_json *json); /* false when not a number */
bool km_json_boolean(bool *out, const km_json *json);  /* false when not a boolean */
/* Of an object's member: what is there, or `absent`; a text that is not there is empty. */
double km_json_number_or(const km_json *object, const char *key, double absent);
const char *km_json_text(const km_json *object, const char *key);

km_json *km_json_object(void);
km_json *km_json_array(void);
void km_json_set_number(km_json *object, const char *key, double value); /* NaN and infinities become null */
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

/* "An interval or a list of steps". */
typedef struct km_steps {
    int64_t every;          /* 0: the list is used */
    int64_t list[KM_STEPS]; /* ascending */
    int count;              /* every 0 and count 0: none */
} km_steps;
bool km_steps_has(const km_steps *steps, int64_t step);

/* A list of whole numbers; count 0: not given. */
typedef struct km_numbers {
    int64_t list[KM_NUMBERS];
    int count;
} km_numbers;
/* A list of texts, each with its NUL, one after the other. */
typedef struct km_texts {
    char text[KM_TEXTS];
    int count;
} km_texts;
const char *km_texts_at(const km_texts *texts, int index);

/* The type of an option's value: of the member in C, and in JSON where it is not plain. */
typedef enum km_kind {
    KM_INT,         /* int64_t */
    KM_DOUBLE,      /* double */
    KM_FLAG,        /* bool */
    KM_FILE,        /* char[KM_PATH] */
    KM_CHOICE,      /* char[KM_WORD] */
    KM_RATIO,       /* double; 0 stands for "partition" */
    KM_EVERY,       /* km_steps: an interval or a list of steps */
    KM_NUMBER_LIST, /* km_numbers: a number, a text "1,4..7", or a list of both */
    KM_TEXT_LIST    /* km_texts: a text or a list; with a range each is one of its choices */
} km_kind;

typedef enum km_resume {
    KM_FIXED,      /* part of what a run is */
    KM_MAY_CHANGE, /* a resumed run may have another value */
    KM_ORIGIN      /* only says where other values came from, or does not concern training */
} km_resume;

/* One key. A value outside its own range (0, "") means "not given" and is printed as null: an option whose 0 is a proper value
 * has 0 in its range. */
typedef struct km_option {
    const char *name; /* within its section: "splits" of mask.splits */
    km_kind kind;
    size_t place;         /* of its member in the section's struct */
    const char *range;    /* numbers: "1..64", ">0..1" (without 0), "0..<1" (without 1), "1.." ; choices: "a|b" */
    const char *standard; /* the default, as --set takes it; NULL: none; or KM_REQUIRED */
    km_resume resume;
    const char *help;             /* one line */
    const char *(*choices)(void); /* "a|b", in place of a range: names that another table of the program owns */
    const char *planned;     /* "c|d": names that a later version will have, which a refusal says; may be NULL */
    const char *consequence; /* what a new value brings when a run is resumed, told there; may be NULL */
} km_option;

#define KM_REQUIRED "required"

/* A section: its options, and the size of its struct. The struct holds no pointers, and its first member is `uint64_t given`:
 * bit i is 1 where a file or --set gave options[i]. */
typedef struct km_section {
    const char *name;
    const km_option *options;
    int count;
    size_t size;
} km_section;

/* Defines the section `symbol` from its struct's type and its table. */
#define KM_SECTION(symbol, title, type, table)                                                                     \
    _Static_assert(offsetof(type, given) == 0 && KM_COUNT(table) <= 64,                                            \
                   "given is the first member, and has 64 bits");                                                  \
    const km_section symbol = {.name = (title), .options = (table), .count = KM_COUNT(table), .size = sizeof(type)}

/* Whether file or --set gave this option ("splits") of a section. */
bool km_given(const km_section *section, const void *values, const char *name);
/* The names that are allowed for an option, "a|b|c"; NULL where it is no choice. */
const char *km_option_choices(const km_option *option);
/* Fills `out` with the words as "a|b|c" and returns it: for an option's `choices`. */
enum { KM_NAMES = 512 };
const char *km_names_join(char out[KM_NAMES], const char *const *words, size_t count);
/* The option of that name; NULL when there is none. */
const km_option *km_section_option(const km_section *section, const char *name);

/* The config of a verb: sections, in the order in which they are printed, and where their structs lie in one plain struct, which
 * ranks broadcast as bytes. Other verbs may read the same schema. */
typedef struct km_part {
    const km_section *section;
    size_t place;
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
    size_t place; /* of its value in the whole struct */
} km_field;
/* Option `index` of all sections in order; false when there are not so many. */
bool km_schema_field(km_field *out, const km_schema *schema, int index);

/* Where a config comes from. */
typedef struct km_config_source {
    const char *path; /* NULL: no file */
    int set_count;
    char *const *set; /* "section.key=value", in order; they win over the file */
    const km_schema *const
        *others; /* what other verbs read, NULL at the end: their sections may be in the file, are checked, and
                                       are not used. NULL: none */
} km_config_source;

/* Version of configs: config.json of a run folder and the attribute `config` of files have it as "version". What has none is of
 * version 0, before there were versions, and reads the same; what has a later one is refused. */
enum { KM_CONFIG_VERSION = 1 };

/* Clears `out`, reads the file and then the assignments, and checks every key, type and range. Defaults are not filled in. A value
 * of null is as good as none. Every failure is KM_USAGE and names file, key, what was found and what was expected. */
km_status km_schema_read(const km_schema *schema, void *out, const km_config_source *source) KM_NODISCARD;
/* The same from JSON that km_schema_print wrote; `origin` heads messages. Sections that are not the schema's are passed over: a
 * file holds the config of the verb that made it. */
km_status km_schema_parse(const km_schema *schema, void *out, const char *json, const char *origin) KM_NODISCARD;
/* KM_USAGE names all keys that are marked KM_REQUIRED, or with `keys` ("section.key", NULL at the end) these, and are not given. */
km_status km_schema_require(const km_schema *schema, const void *config, const char *const *keys) KM_NODISCARD;
/* Fills in the tables' defaults where nothing was given. Fails only where a table's default is outside its own range. */
km_status km_schema_fill(const km_schema *schema, void *config) KM_NODISCARD;
/* All of it as JSON text that reads back to the same bits, with its version. The caller frees. */
char *km_schema_print(const km_schema *schema, const void *config);
/* Compares the config that a run was started with and the one that goes on with it. What differs is printed: to `refused`, with
 * commas, where it is part of what a run is, to `changes`, a line each, where it may change. */
void km_schema_compare(const km_schema *schema, const void *was, const void *now, km_buffer *refused,
                       km_buffer *changes);
/* Each key with type, range, default and meaning. */
void km_schema_help(const km_schema *schema, FILE *stream);
/* "int 1..64", "a|b", "path": an option's type and range. */
void km_option_type(const km_option *option, km_buffer *out);
/* The word of `words` (NULL-terminated) nearest to `word` by edit distance; NULL when none is near. */
const char *km_nearest(const char *word, const char *const *words);

/* ---- Log and progress ------------------------------------------------------------------------------------- */

/* Lines to standard error, "kmask: ..." ; one rank talks, the others are muted. Errors are printed by main only. */
void km_log_mute(bool muted);
bool km_log_muted(void);
void km_log(const char *format, ...) KM_PRINTF(1, 2);  /* a plain line without prefix */
void km_warn(const char *format, ...) KM_PRINTF(1, 2); /* "kmask: warning: ..." */
/* "1h02m", "3m20s", "12s"; 123456 -> "123 k". The buffer is the caller's. */
const char *km_duration(char out[32], double seconds);
const char *km_quantity(char out[32], double value);

/* One live line on a terminal (bar, share done, text, time left), else plain lines now and then: at the first,
 * then whenever the share done has grown by a fiftieth (in no less than 2 seconds) or half a minute has passed, and
 * at the end.
 * KMASK_PROGRESS=live|plain|none decides by force. Under mpirun the terminal looked for is mpirun's. */
typedef struct km_progress km_progress;
km_progress *km_progress_create(const char *what, uint64_t done, uint64_t total);
void km_progress_update(km_progress *progress, uint64_t done, const char *format, ...) KM_PRINTF(3, 4);
void km_progress_clear(km_progress *progress); /* wipes the live line, before other output */
void km_progress_destroy(km_progress *progress);

/* ---- Time --------------------------------------------------------------------------------------------------- */

double km_seconds(void);       /* of a monotonic clock */
void km_sleep(double seconds); /* a signal does not cut it short */
/* So many seconds from now by CLOCK_MONOTONIC or CLOCK_REALTIME, for calls that wait until an absolute time. */
struct timespec km_clock_after(clockid_t clock, double seconds);

/* ---- Threads ------------------------------------------------------------------------------------------------ */

/* pthread_create with all signals blocked: they are for the main thread, whose handlers set the flags that a step looks at.
 * Returns 0 or an error number. */
int km_thread_start(pthread_t *thread, void *(*run)(void *payload), void *payload);

/* A few threads that do the same job side by side. The caller is worker 0: with one worker no thread is made. */
typedef struct km_pool km_pool;
typedef void km_job(void *payload, int worker);

km_status km_pool_create(km_pool **out, int workers) KM_NODISCARD;
void km_pool_destroy(km_pool *pool); /* NULL is fine */
int km_pool_workers(const km_pool *pool);
/* job(payload, w) for each worker w at once; returns when all are done. */
void km_pool_run(km_pool *pool, km_job *job, void *payload);
/* The same in two halves: the caller does its own part, worker 0's, in between. */
void km_pool_begin(km_pool *pool, km_job *job, void *payload);
void km_pool_end(km_pool *pool);

/* ---- Processes: who it is, and whether it still lives ------------------------------------------------------ */

/* Enough to tell a process from another that was given its pid later. */
typedef struct km_process {
    char host[64];
    uint64_t machine; /* of this boot of this machine, and the processes that see each other's pids on it */
    uint64_t started; /* in the kernel's ticks since the boot */
    int64_t pid;
} km_process;
typedef enum km_process_state {
    KM_PROCESS_ELSEWHERE, /* another machine, or out of sight on this one */
    KM_PROCESS_GONE,
    KM_PROCESS_STOPPED, /* by a signal or a debugger */
    KM_PROCESS_ALIVE
} km_process_state;
km_process km_process_self(void);
km_process_state km_process_check(const km_process *process);
/* SIGKILL to a process of this machine, if it is still the same. */
void km_process_kill(const km_process *process);
/* So many bytes that the process has at `address`; false, and errno, where the system does not let this one read them. */
bool km_process_read(int64_t pid, uint64_t address, void *out, size_t bytes);
/* Whether a process may read the memory of another one of its user that is no child of it: tried out by a child. */
bool km_process_readable(void);

/* ---- Where time goes ---------------------------------------------------------------------------------------- */

/* What a thread is doing. Every instant of a measured thread is one of these, so that they add up to its time. */
typedef enum km_op {
    KM_OP_REST, /* nothing below: glue, clearing memory */
    KM_OP_INPUT,
    KM_OP_FORWARD_PRODUCTS,
    KM_OP_FORWARD_ATTENTION,
    KM_OP_FORWARD_NORM, /* with dropout and residual */
    KM_OP_FORWARD_GELU,
    KM_OP_FORWARD_EMBEDDING, /* and rows that are picked out */
    KM_OP_LOSS,
    KM_OP_BACKWARD_PRODUCTS, /* with the gradients of their biases */
    KM_OP_BACKWARD_ATTENTION,
    KM_OP_BACKWARD_NORM,
    KM_OP_BACKWARD_GELU,
    KM_OP_BACKWARD_EMBEDDING,
    KM_OP_DROPOUT, /* where it stands alone */
    KM_OP_EXACT_SUM,
    KM_OP_OPTIMIZER,     /* the gradient's norm, AdamW */
    KM_OP_ROUNDING,      /* to bf16, where it stands alone */
    KM_OP_COMMUNICATION, /* starting transfers and helping them on, adding up what has arrived */
    KM_OP_WAITING,       /* for other ranks */
    KM_OP_IDLE,          /* a thread that waits for the other threads of its rank */
    KM_OPS
} km_op;
const char *km_op_name(km_op op); /* "forward_products" */

/* Between the two the calling thread does `op`; they nest. Nothing but one load unless it is measured. */
static inline void km_op_begin(km_op op);
static inline void km_op_end(void);
#define KM_TIMED(op, call)                                                                                         \
    do {                                                                                                           \
        km_op_begin(op);                                                                                           \
        call;                                                                                                      \
        km_op_end();                                                                                               \
    } while (0)

/* Starts over with all threads at 0, or ends it, while no other thread works. A thread counts from its first
 * km_op_begin or km_op_end after the start. */
void km_ops_measure(bool on);
/* Seconds of all threads that count, together. The others must be idle (a pool between two jobs). */
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

/* Hardware threads, numbered as the system has them. */
enum { KM_CPUS = 4096 };
typedef struct km_cpus {
    uint64_t bits[KM_CPUS / 64];
} km_cpus;
bool km_cpus_has(const km_cpus *cpus, int cpu);
int km_cpus_count(const km_cpus *cpus);
char *km_cpus_print(const km_cpus *cpus);           /* "0-3,8", as taskset has it; the caller frees */
bool km_cpus_parse(km_cpus *out, const char *text); /* the way back */
void km_cpus_allowed(km_cpus *out);                 /* those that this process may run on */
void km_cpus_cores(km_cpus *out,
                   const km_cpus *cpus); /* the first hardware thread of each physical core of `cpus` */
char *km_cpu_name(void);                 /* "AMD EPYC 9654 ..."; the caller frees */
/* Cores' worth of time that control groups grant; 0: no limit. */
double km_cpu_quota(void);
/* Bytes of memory and swap that this process may still take: of the machine, and of its control groups. UINT64_MAX
 * where the system does not say. */
uint64_t km_memory_room(void);
char *km_fabric_name(void); /* "mlx5_0": a device of InfiniBand, Omni-Path or RoCE; NULL: none. The caller frees. */

/* What a folder, or the nearest one above it that exists, takes: bytes a second written and brought to the disk (in at most
 * about `seconds`), and whether the locks that HDF5 (flock) and a run (fcntl) use are there. What was written is removed
 * again. A folder that nothing can be written to is KM_FAILED. */
typedef struct km_folder_report {
    char path[KM_PATH]; /* what was looked at */
    double bytes_per_s, sync_seconds;
    uint64_t room; /* free bytes */
    bool flock, fcntl;
} km_folder_report;
km_status km_folder_measure(km_folder_report *out, const char *path, double seconds) KM_NODISCARD;
/* Whether files can be made in the folder, or the folder itself: what km_make_folder would say, with nothing made. */
km_status km_folder_check(const char *path) KM_NODISCARD;

/* ---- Faults, for tests ------------------------------------------------------------------------------------- */

/* A place where things can go wrong: `km_fault("save.rename")` stands before what it names. In a build with KMASK_FAULTS
 * the environment's KMASK_FAULT makes a chosen passage fail, or kills, stops or delays the process or other ranks there
 * (fault.c); in any other build this is KM_OK and no code. Any thread. */
#ifdef KMASK_FAULTS
km_status km_fault(const char *place) KM_NODISCARD;
#else
static inline km_status km_fault(const char *place) {
    (void)place;
    return KM_OK;
}
#endif

#endif
