/* Converts float16 and bfloat16 to and from float32. It works on the bits, so that every value survives unpacking and
 * packing, also the payload of a NaN. */
#include "kmask/store.h"

#include <string.h>

bool km_dtype_is_float(km_dtype type) {
    return type == KM_F32 || type == KM_F16 || type == KM_BF16;
}

/* float16 has 1 bit of sign, 5 of exponent (bias 15) and 10 of fraction; float32 has 1, 8 (bias 127) and 23. */
static uint32_t from_half(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 0x3ff;
    if (exponent == 31) {
        return sign | 0x7f800000 | fraction << 13;
    }
    if (exponent > 0) {
        return sign | (exponent + 112) << 23 | fraction << 13;
    }
    if (fraction == 0) {
        return sign;
    }
    exponent = 113; /* a subnormal float16 is a normal float32 */
    while ((fraction & 0x400) == 0) {
        fraction <<= 1;
        exponent--;
    }
    return sign | exponent << 23 | (fraction & 0x3ff) << 13;
}

/* bits >> shift, rounded to nearest, ties to even; 1 <= shift <= 31. */
static uint32_t shift_round(uint32_t bits, int shift) {
    uint32_t half = (uint32_t)1 << (shift - 1), kept = bits >> shift, rest = bits & ((half << 1) - 1);
    return kept + (rest > half || (rest == half && (kept & 1) != 0));
}

static uint16_t to_half(uint32_t bits) {
    uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) {
        uint32_t payload = magnitude >> 13 & 0x3ff;
        return (uint16_t)(sign | 0x7c00 | (payload != 0 ? payload : 0x200));
    }
    if (magnitude >= 0x477ff000) { /* rounds to 65,536 or more, which is infinite in float16 */
        return (uint16_t)(sign | 0x7c00);
    }
    if (magnitude >= 0x38800000) { /* 2^-14, the least normal float16 */
        return (uint16_t)(sign | shift_round(magnitude - (112U << 23), 13));
    }
    if (magnitude < 0x33000000) { /* below 2^-25, half of the least subnormal float16 */
        return (uint16_t)sign;
    }
    uint32_t fraction = (magnitude & 0x7fffff) | 0x800000;
    return (uint16_t)(sign | shift_round(fraction, 126 - (int)(magnitude >> 23)));
}

static uint16_t to_brain(uint32_t bits) {
    if ((bits & 0x7fffffff) > 0x7f800000) {
        uint32_t kept = bits >> 16;
        return (uint16_t)((kept & 0x7f) != 0 ? kept : kept | 0x40);
    }
    return (uint16_t)shift_round(bits, 16);
}

void km_floats_unpack(float *out, km_dtype type, const void *in, size_t count) {
    if (type == KM_F32) {
        memmove(out, in, count * sizeof *out);
        return;
    }
    const char *from = in;
    for (size_t i = 0; i < count; i++) {
        uint16_t packed;
        memcpy(&packed, from + i * sizeof packed, sizeof packed);
        uint32_t bits = type == KM_F16 ? from_half(packed) : (uint32_t)packed << 16;
        memcpy(out + i, &bits, sizeof bits);
    }
}

void km_floats_pack(void *out, km_dtype type, const float *in, size_t count) {
    if (type == KM_F32) {
        memmove(out, in, count * sizeof *in);
        return;
    }
    char *to = out;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, in + i, sizeof bits);
        uint16_t packed = type == KM_F16 ? to_half(bits) : to_brain(bits);
        memcpy(to + i * sizeof packed, &packed, sizeof packed);
    }
}
