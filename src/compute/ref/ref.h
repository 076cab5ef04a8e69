/* ref: the reference back end. Scalar, one thread, written to be read: the oracle of every op.
 *
 * Every sum is taken in double precision in index order, so a row's results are bitwise the same
 * whatever batch it is in. It runs every weight type that has a dequantiser, and every type of KV
 * cache.
 */
#ifndef COMPUTE_REF_REF_H
#define COMPUTE_REF_REF_H

#include "compute/backend.h"

extern const struct backend ref_backend;

#endif
