/* mat_dotprod_neon: mat for AArch64 processors with the dot product
 * instructions of Armv8.2, which most have since 2018. */
#include "compute/cpu/mat.h"

#define OPS              mat_ops_dotprod
#define DOT16(acc, a, b) vdotq_s32((acc), (a), (b))

#include "compute/cpu/mat_dot_neon.h"
