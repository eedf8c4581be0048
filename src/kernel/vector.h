/* vector: sixteen floats at a time, in the compiler's vector types: one register of AVX-512, two of AVX2, four of SSE or
 * NEON. For loops that the compiler does not vectorize well by itself. */
#ifndef KMASK_KERNEL_VECTOR_H
#define KMASK_KERNEL_VECTOR_H

#include "simd.h"

#include <stdbool.h>

enum { KM_LANES = 16 };
typedef float km_vector __attribute__((__vector_size__(64)));
typedef int32_t km_vector_ints __attribute__((__vector_size__(64)));
typedef uint32_t km_vector_bits __attribute__((__vector_size__(64)));
typedef float km_vector_anywhere __attribute__((__vector_size__(64), __aligned__(4), __may_alias__));
/* The vector at x, to write or to read; x need not be aligned. These are macros because every instruction set passes vectors
 * to functions in another way, of which compilers warn. */
#define KM_VECTOR_AT(x) (*(km_vector_anywhere *)(x))
#define KM_VECTOR_FROM(x) (*(const km_vector_anywhere *)(x))

/* A function with KM_AVX512 is compiled for AVX-512 as AMD has it since Zen 4 and Intel since Skylake's servers. Call it only
 * if km_has_avx512(). */
#if defined(__x86_64__)
#define KM_AVX512 __attribute__((__target__("avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi,bmi2")))
KM_INLINE bool km_has_avx512(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}
#endif

#endif
