/* ref: the reference back end. Scalar, one thread, written to be read: the oracle of every op.
 *
 * Every sum is taken in double precision in index order, so its results do not depend on the batch
 * around a row. It runs every weight type that has a dequantiser, and a cache of F32 or F16.
 */
#ifndef COMPUTE_REF_REF_H
#define COMPUTE_REF_REF_H

#include "compute/backend.h"

extern const struct backend ref_backend;

#endif
