/* Names of tags: numbered as they are met, and joined over ranks. */
#include "tags.h"

#include <stdlib.h>
#include <string.h>

void km_tag_names_free(km_tag_names *names) {
    for (int i = 0; i < names->count; i++) {
        free(names->names[i]);
    }
    free(names->names);
    *names = (km_tag_names){0};
}

static void add(km_tag_names *names, const char *name) {
    names->names = km_grow(names->names, (size_t)names->count + 1, sizeof *names->names);
    names->names[names->count++] = km_strdup(name);
}

static int find(const km_tag_names *names, const char *name) {
    for (int i = 0; i < names->count; i++) {
        if (strcmp(names->names[i], name) == 0) {
            return i + 1;
        }
    }
    return 0;
}

int km_tag_number(km_tag_names *names, const char *name) {
    const size_t length = strlen(name);
    if (length == 0 || length > KM_TAG_BYTES) {
        return 0;
    }
    const int found = find(names, name);
    if (found > 0) {
        return found;
    }
    if (names->count == KM_MOST_TAGS) {
        return -1;
    }
    add(names, name);
    return names->count;
}

/* ---- All ranks ---- */

typedef char slot[KM_TAG_BYTES + 1];

/* Adds the names of another rank's table, in which empty slots are none. One more than fit is kept, to be complained of. */
static void take(km_tag_names *all, const slot *table) {
    for (int i = 0; i < KM_MOST_TAGS && all->count <= KM_MOST_TAGS; i++) {
        if (table[i][0] != '\0' && find(all, table[i]) == 0) {
            add(all, table[i]);
        }
    }
}

static int by_bytes(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* On rank 0: the names of all ranks, sorted. */
static void collect(km_comm *comm, const slot *mine, km_tag_names *all) {
    slot *table = km_new(KM_MOST_TAGS, sizeof *table);
    take(all, mine);
    for (int rank = 1; rank < km_comm_size(comm); rank++) {
        km_comm_receive(comm, table, KM_MOST_TAGS * sizeof *table, rank);
        take(all, (const slot *)table);
    }
    qsort(all->names, (size_t)all->count, sizeof *all->names, by_bytes);
    free(table);
}

/* Gives all ranks the names of rank 0, of which there are at most KM_MOST_TAGS. */
static void share(km_comm *comm, km_tag_names *all) {
    slot *table = km_new(KM_MOST_TAGS, sizeof *table);
    for (int i = 0; i < all->count; i++) {
        memcpy(table[i], all->names[i], strlen(all->names[i]));
    }
    km_comm_broadcast(comm, table, KM_MOST_TAGS * sizeof *table);
    if (km_comm_rank(comm) != 0) {
        take(all, (const slot *)table);
    }
    free(table);
}

km_status km_tag_names_join(km_comm *comm, const km_tag_names *mine, km_tag_names *all,
                            uint8_t number[KM_MOST_TAGS + 1]) {
    slot *table = km_new(KM_MOST_TAGS, sizeof *table);
    *all = (km_tag_names){0};
    for (int i = 0; i < mine->count; i++) {
        memcpy(table[i], mine->names[i], strlen(mine->names[i]));
    }
    if (km_comm_rank(comm) == 0) {
        collect(comm, (const slot *)table, all);
    } else {
        km_comm_send(comm, table, KM_MOST_TAGS * sizeof *table, 0);
    }
    free(table);
    const bool many = all->count > KM_MOST_TAGS;
    KM_TRY(km_comm_agree(comm, many ? km_fail(KM_FAILED,
                                              "\"tags\" of the records have more than %d different names; map them "
                                              "to fewer, such as the 17 universal parts of speech",
                                              KM_MOST_TAGS)
                                    : KM_OK));
    share(comm, all);
    number[0] = 0;
    for (int i = 0; i < mine->count; i++) {
        number[i + 1] = (uint8_t)find(all, mine->names[i]);
    }
    return KM_OK;
}

/* ---- As text ---- */

char *km_tag_names_print(const km_tag_names *names) {
    km_json *list = km_json_array();
    for (int i = 0; i < names->count; i++) {
        km_json_push_string(list, names->names[i]);
    }
    char *text = km_json_print(list, false);
    km_json_destroy(list);
    return text;
}

bool km_tag_names_parse(km_tag_names *out, const char *text) {
    km_json *list = NULL;
    *out = (km_tag_names){0};
    if (km_json_parse(&list, text, strlen(text), "tags") != KM_OK) {
        return false;
    }
    bool good = km_json_is_array(list) && km_json_size(list) > 0;
    for (const km_json *item = good ? km_json_first(list) : NULL; item != NULL && good; item = km_json_next(item)) {
        const char *name = km_json_string(item);
        good = name != NULL && km_tag_number(out, name) == out->count && out->count > 0;
    }
    km_json_destroy(list);
    return good;
}
