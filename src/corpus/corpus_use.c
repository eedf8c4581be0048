/* corpus_use: which runs use a corpus. */
#include "corpus_use.h"
#include "corpus.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST = 1 << 20 /* bytes of a list */ };

static char *list_of(const char *path) {
    char *real = realpath(path, NULL), *list = km_format("%s.runs", real != NULL ? real : path);
    free(real);
    return list;
}

/* Whether the entry `json` is of a run with its files in place, and of the content with this hash. */
static bool counts(const km_json *json, const char *hash) {
    const char *run = km_json_string(km_json_get(json, "run"));
    const char *of = km_json_string(km_json_get(json, "corpus_hash"));
    if (run == NULL || of == NULL || strcmp(of, hash) != 0) {
        return false;
    }
    char *config = km_format("%s/config.json", run);
    const bool there = km_file_exists(config);
    free(config);
    return there;
}

/* The folder of the first run in the list that counts and, with `folder`, is that one; NULL: there is none. The caller frees. */
static char *find(const char *list, const char *hash, const char *folder) {
    char *text = NULL, *found = NULL;
    size_t size = 0;
    if (!km_file_exists(list) || km_file_read(&text, &size, list, MOST) != KM_OK) {
        return NULL;
    }
    for (const char *line = text, *end = text + size; line < end && found == NULL;) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        const size_t length = (size_t)((stop != NULL ? stop : end) - line);
        km_json *json = NULL;
        if (length > 0 && km_json_parse(&json, line, length, list) == KM_OK && counts(json, hash)) {
            const char *run = km_json_string(km_json_get(json, "run"));
            found = folder == NULL || strcmp(run, folder) == 0 ? km_strdup(run) : NULL;
        }
        km_json_destroy(json);
        line += length + 1;
    }
    free(text);
    return found;
}

char *km_corpus_user(const char *path) {
    char hash[33], *list = list_of(path), *found = NULL;
    km_store *store = NULL;
    if (km_file_exists(list) && km_file_exists(path) && km_store_open(&store, path) == KM_OK) {
        km_hash_text(hash, km_store_hash(store));
        found = find(list, hash, NULL);
    }
    km_store_close(store);
    free(list);
    return found;
}

void km_corpus_note_use(const km_corpus *corpus, const char *run) {
    char hash[33], *folder = realpath(run, NULL), *list = list_of(corpus->path);
    km_hash_text(hash, km_corpus_hash(corpus));
    char *known = folder != NULL ? find(list, hash, folder) : NULL;
    const int fd = folder != NULL && known == NULL
                       ? open(list, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0666)
                       : -1;
    if (fd >= 0) {
        km_json *json = km_json_object();
        km_json_set_string(json, "run", folder);
        km_json_set_string(json, "corpus_hash", hash);
        char *text = km_json_print(json, false), *line = km_format("%s\n", text);
        (void)!write(fd, line,
                     strlen(line)); /* a corpus in a folder that only others may write to needs no such guard */
        close(fd);
        free(line);
        free(text);
        km_json_destroy(json);
    }
    free(known);
    free(list);
    free(folder);
}
