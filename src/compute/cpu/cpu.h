/* cpu: the back end for processors: generic C, AVX2 and AVX-512, or NEON with and without its dot
 * product instructions, chosen when a model is opened.
 *
 * Weights are used from the mapping, through mat. The work of an op is split over the threads of a
 * pool where there is enough of it.
 *
 * Determinism: every op but the products gives a row bitwise the same result in any batch, at any
 * number of threads, in prefill and in decode, because sums are split by position and never by
 * thread, and a state goes from row to row in order. Products (LINEAR, EXPERT, HEADLIN and the
 * fused ones) are as exact as mat.h says: equal for any number of threads; of few and of many rows
 * by the rounding of sums. The instruction sets differ in rounding.
 */
#ifndef COMPUTE_CPU_CPU_H
#define COMPUTE_CPU_CPU_H

#include "compute/backend.h"

/* Names that dev_conf.isa may have here, as mat_isa_name() gives them. */
#if defined(__aarch64__)
#define CPU_ISAS "generic|neon|neon-dotprod"
#elif defined(__x86_64__)
#define CPU_ISAS "generic|avx2|avx512"
#else
#define CPU_ISAS "generic"
#endif

extern const struct backend cpu_backend;

#endif
