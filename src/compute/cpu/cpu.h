/* cpu: the back end for processors: generic C, AVX2 and AVX-512, chosen when a model is opened.
 *
 * Weights are used from the mapping, through mat. The work of an op is split over the threads of a
 * pool where there is enough of it.
 *
 * Determinism: norms, RoPE, GLU, the cache and attention give a row bitwise the same result in any
 * batch, at any number of threads, in prefill and in decode, because sums are split by position and
 * never by thread. LINEAR is as exact as mat.h says. The instruction sets differ in rounding.
 */
#ifndef COMPUTE_CPU_CPU_H
#define COMPUTE_CPU_CPU_H

#include "compute/backend.h"

extern const struct backend cpu_backend;

#endif
