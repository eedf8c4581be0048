/* A set of different strings with numbers: their bytes one after the other, and a hash table over them. */
#include "strings.h"

#include <stdlib.h>
#include <string.h>

/* Puts a number into the first free slot of its string. */
static void place(km_strings *s, uint32_t number) {
    size_t slot = (size_t)km_hash_bytes(km_strings_get(s, number), km_strings_size(s, number)).low & s->mask;
    while (s->table[slot] != 0) {
        slot = (slot + 1) & s->mask;
    }
    s->table[slot] = number + 1;
}

static void make_room(km_strings *s) {
    s->room = s->room == 0 ? 512 : 2 * s->room;
    s->starts = km_grow(s->starts, (size_t)s->room + 1, sizeof *s->starts);
    s->starts[s->count] = s->used;
    free(s->table);
    s->mask = 2 * (size_t)s->room - 1;
    s->table = km_new(s->mask + 1, sizeof *s->table);
    for (uint32_t i = 0; i < s->count; i++) {
        place(s, i);
    }
}

static uint32_t append(km_strings *s, const char *bytes, size_t size) {
    if (s->used + size + 1 > s->capacity) {
        s->capacity = 2 * (s->used + size + 1);
        s->bytes = km_grow(s->bytes, s->capacity, 1);
    }
    memcpy(s->bytes + s->used, bytes, size);
    s->bytes[s->used + size] = '\0';
    s->used += size + 1;
    s->starts[++s->count] = s->used;
    return s->count - 1;
}

int64_t km_strings_find(const km_strings *strings, const char *bytes, size_t size) {
    if (strings->count == 0) {
        return -1;
    }
    size_t slot = (size_t)km_hash_bytes(bytes, size).low & strings->mask;
    for (; strings->table[slot] != 0; slot = (slot + 1) & strings->mask) {
        uint32_t number = strings->table[slot] - 1;
        if (km_strings_size(strings, number) == size && memcmp(km_strings_get(strings, number), bytes, size) == 0) {
            return number;
        }
    }
    return -1;
}

uint32_t km_strings_add(km_strings *strings, const char *bytes, size_t size) {
    if (strings->count == strings->room) {
        make_room(strings);
    }
    size_t slot = (size_t)km_hash_bytes(bytes, size).low & strings->mask;
    for (; strings->table[slot] != 0; slot = (slot + 1) & strings->mask) {
        uint32_t number = strings->table[slot] - 1;
        if (km_strings_size(strings, number) == size && memcmp(km_strings_get(strings, number), bytes, size) == 0) {
            return number;
        }
    }
    strings->table[slot] = strings->count + 1;
    return append(strings, bytes, size);
}

const char *km_strings_get(const km_strings *strings, uint32_t number) {
    return strings->bytes + strings->starts[number];
}

size_t km_strings_size(const km_strings *strings, uint32_t number) {
    return strings->starts[number + 1] - strings->starts[number] - 1;
}

void km_strings_free(km_strings *strings) {
    free(strings->bytes);
    free(strings->starts);
    free(strings->table);
    *strings = (km_strings){0};
}
