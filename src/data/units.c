/* The units of a row: its maskable tokens, or words; and random choices among them. */
#include "units.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

km_units *km_units_create(int length) {
    km_units *units = km_new(1, sizeof *units);
    units->capacity = length;
    units->ranges = km_new((size_t)length, sizeof *units->ranges);
    units->order = km_new((size_t)length, sizeof *units->order);
    return units;
}

void km_units_destroy(km_units *units) {
    if (units != NULL) {
        free(units->ranges);
        free(units->order);
        free(units);
    }
}

/* The row's spans of which a mask may hide a token. */
static void find_salient(km_units *out, const km_row *row) {
    for (int i = 0; i < row->span_count; i++) {
        const km_range range = {row->spans[i].start, row->spans[i].end};
        if (memchr(row->maskable + range.begin, 1, (size_t)(range.end - range.begin)) != NULL) {
            out->ranges[out->count++] = range;
        }
    }
}

void km_units_find(km_units *out, const km_row *row, km_unit unit) {
    assert(out->capacity >= row->length);
    out->count = 0;
    if (unit == KM_UNIT_SALIENT) {
        find_salient(out, row);
        return;
    }
    for (int p = 0; p < row->length; p++) {
        if (!row->maskable[p]) {
            continue;
        }
        bool begins = unit == KM_UNIT_SUBWORD || row->starts_word[p] || p == 0 || !row->maskable[p - 1];
        if (begins) {
            out->ranges[out->count++] = (km_range){p, p + 1};
        } else {
            out->ranges[out->count - 1].end = p + 1;
        }
    }
}

void km_units_shuffle(km_units *units, int prefix, km_rng *rng) {
    assert(prefix >= 0 && prefix <= units->count);
    int *order = units->order;
    for (int i = 0; i < units->count; i++) {
        order[i] = i;
    }
    for (int i = 0; i < prefix; i++) {
        int j = i + (int)km_rng_below(rng, (uint32_t)(units->count - i));
        int unit = order[j];
        order[j] = order[i];
        order[i] = unit;
    }
}

void km_units_hide(uint8_t *mask, const km_units *units, int from, int to) {
    for (int i = from; i < to; i++) {
        const km_range range = units->ranges[units->order[i]];
        memset(mask + range.begin, 1, (size_t)(range.end - range.begin));
    }
}

int km_row_units(const km_row *row, km_unit unit) {
    km_units *units = km_units_create(row->length);
    km_units_find(units, row, unit);
    int count = units->count;
    km_units_destroy(units);
    return count;
}

void km_row_hide(const km_row *row, km_unit unit, const int *numbers, int count, uint8_t *mask) {
    assert(unit == KM_UNIT_SUBWORD || unit == KM_UNIT_WORD);
    km_units *units = km_units_create(row->length);
    km_units_find(units, row, unit);
    memset(mask, 0, (size_t)row->length);
    for (int i = 0; i < count; i++) {
        assert(numbers[i] >= 0 && numbers[i] < units->count);
        units->order[0] = numbers[i];
        km_units_hide(mask, units, 0, 1);
    }
    km_units_destroy(units);
}
