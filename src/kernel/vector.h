/* vector: sixteen floats at a time, in the compiler's vectors: one register of AVX-512, two of AVX2, four of others. For
 * loops whose shape the compiler does not find by itself. */
#ifndef KMASK_KERNEL_VECTOR_H
#define KMASK_KERNEL_VECTOR_H

#include "simd.h"

#include <stdbool.h>

enum { KM_LANES = 16 };
typedef float km_vector __attribute__((__vector_size__(64)));
typedef int32_t km_integers __attribute__((__vector_size__(64)));
typedef uint32_t km_bits __attribute__((__vector_size__(64)));
typedef float km_vector_anywhere __attribute__((__vector_size__(64), __aligned__(4), __may_alias__));
/* The vector at x, to write or to read. No a function: vectors that are passed have an ABI of each instruction set's
 * own, which compilers warn of. */
#define KM_AT(x) (*(km_vector_anywhere *)(x))
#define KM_FROM(x) (*(const km_vector_anywhere *)(x))

/* KM_WIDE before a function: AVX-512 as AMD has it since Zen 4 and Intel since Skylake's servers. To be called where
 * km_is_wide() only. */
#if defined(__x86_64__)
#define KM_WIDE __attribute__((__target__("avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi,bmi2")))
KM_INLINE bool km_is_wide(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}
#endif

#endif
