/* Order, masks and replacements are promises to runs that older programs began: they go on with the same rows, the same masks and the
 * same tokens. The hashes here were taken once; a change that moves one of them makes such runs end in other weights. */
#include "kmask/data.h"
#include "mask.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Fails with the new hash, so that an intended change can be written down. */
static void expect_hash(const char *what, km_hasher *hasher, uint64_t expected) {
    const km_hash found = km_hasher_end(hasher);
    if (found.low != expected) {
        fail_msg("%s: 0x%016llx instead of 0x%016llx", what, (unsigned long long)found.low,
                 (unsigned long long)expected);
    }
}

static void numbers_stay(void **state) {
    (void)state;
    static const km_purpose purposes[] = {KM_RNG_INIT,    KM_RNG_ORDER, KM_RNG_MASK, KM_RNG_REPLACE,
                                          KM_RNG_DROPOUT, KM_RNG_EVAL,  KM_RNG_TEST, KM_RNG_VARIANCE};
    km_hasher *hasher = km_hasher_create();
    for (size_t i = 0; i < KM_COUNT(purposes); i++) {
        km_rng rng = km_rng_make(0x123456789ABCDEFu, purposes[i], 77, 0xFEDCBA9876543210u);
        for (int n = 0; n < 5; n++) {
            const uint64_t number = km_rng_u64(&rng);
            const uint32_t below = km_rng_below(&rng, 1000);
            km_hasher_add(hasher, &number, sizeof number);
            km_hasher_add(hasher, &below, sizeof below);
        }
    }
    expect_hash("random numbers", hasher, 0x3347C8BBCB038929u);
}

static void order_stays(void **state) {
    (void)state;
    static const uint64_t counts[] = {1, 2, 1000, 100003, UINT64_C(1) << 40};
    km_hasher *hasher = km_hasher_create();
    for (size_t c = 0; c < KM_COUNT(counts); c++) {
        for (uint64_t epoch = 0; epoch < 3; epoch++) {
            for (uint64_t i = 0; i < KM_MIN(counts[c], UINT64_C(1000)); i++) {
                const uint64_t row = km_order(i, counts[c], 11, epoch);
                km_hasher_add(hasher, &row, sizeof row);
            }
        }
    }
    expect_hash("order", hasher, 0x4C424B6D28E113E3u);
}

enum { LENGTH = 60, SPLITS = 4 };

/* Words of one to three tokens; every 17th token cannot be masked. */
static km_row *make_row(uint64_t number) {
    km_row *row = km_row_create(LENGTH);
    row->number = number;
    row->length = LENGTH - (int)(number % 7);
    for (int p = 0; p < row->length; p++) {
        row->ids[p] = 100 + p;
        row->starts_word[p] = (uint64_t)p % (1 + number % 3) == 0;
        row->maskable[p] = p > 0 && p < row->length - 1 && p % 17 != 0;
    }
    return row;
}

static void add_masks(km_hasher *hasher, const km_mask_policy *policy, const km_mask_spec *spec, uint64_t number,
                      uint64_t visit) {
    static uint8_t bytes[SPLITS * LENGTH];
    km_masks masks = {.stride = LENGTH, .masks = bytes};
    km_row *row = make_row(number);
    const km_mask_visit drawn = {.seed = 21, .purpose = KM_RNG_MASK, .number = visit};
    km_masker *masker = NULL;
    assert_int_equal(km_masker_create(&masker, policy, spec, NULL, LENGTH), KM_OK);
    assert_int_equal(km_masker_draw(masker, row, &drawn, &masks), KM_OK);
    km_masker_destroy(masker);
    km_hasher_add(hasher, bytes, sizeof bytes);
    km_row_destroy(row);
}

static void masks_stay(void **state) {
    (void)state;
    static const struct {
        const char *policy;
        km_unit unit;
        double ratio;
        uint64_t hash;
    } cases[] = {
        {"fully_explored", KM_UNIT_SUBWORD, 0.15, 0xB453E4B5CE4C1BDEu},
        {"fully_explored", KM_UNIT_WORD, 0.15, 0x0CD5651F62FC9836u},
        {"fully_explored", KM_UNIT_SPAN, 0.15, 0x312FF55E1632B5C3u},
        {"fully_explored", KM_UNIT_SUBWORD, 0, 0x6A60C7CA2C55ABE8u},
        {"random", KM_UNIT_SUBWORD, 0.15, 0x3DD78C3E0B746938u},
        {"random", KM_UNIT_WORD, 0.4, 0x8B39E05FFACE99D8u},
        {"random", KM_UNIT_SPAN, 0.15, 0x99AC30B01F5D79E2u},
    };
    for (size_t i = 0; i < KM_COUNT(cases); i++) {
        const km_mask_spec spec = {.unit = cases[i].unit, .splits = SPLITS, .ratio = cases[i].ratio};
        km_hasher *hasher = km_hasher_create();
        for (uint64_t number = 0; number < 40; number++) {
            for (uint64_t visit = 0; visit < 3; visit++) {
                add_masks(hasher, km_mask_policy_named(cases[i].policy), &spec, number, visit);
            }
        }
        char what[64];
        snprintf(what, sizeof what, "masks %zu, %s", i, cases[i].policy);
        expect_hash(what, hasher, cases[i].hash);
    }
}

static void keys_of_views_stay(void **state) {
    (void)state;
    km_hasher *hasher = km_hasher_create();
    for (uint64_t visit = 0; visit < 3; visit++) {
        for (uint32_t index = 0; index < 3; index++) {
            const km_mask_visit frozen = {.seed = 31, .purpose = KM_RNG_EVAL, .number = visit};
            km_rng view = km_view_rng(31, visit, index, 12), eval = km_visit_rng(&frozen, 12);
            const uint64_t numbers[] = {km_rng_u64(&view), km_rng_u64(&eval)};
            km_hasher_add(hasher, numbers, sizeof numbers);
        }
    }
    expect_hash("keys of views", hasher, 0x3AC5A2F8586DBD5Cu);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_stay),
        cmocka_unit_test(order_stays),
        cmocka_unit_test(masks_stay),
        cmocka_unit_test(keys_of_views_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
