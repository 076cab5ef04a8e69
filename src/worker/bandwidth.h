/* bandwidth: how fast this machine's cores read memory, measured.
 *
 * Every thread reads its own part of a buffer far larger than the caches, in four streams at once,
 * the way the decode kernels do. The figure is the limit that decode speed is stated against.
 */
#ifndef WORKER_BANDWIDTH_H
#define WORKER_BANDWIDTH_H

#include <stdint.h>

/* Bytes per second with n threads, the best of a few passes; 0 when there is no memory for it. */
double bandwidth_measure(uint32_t n_threads);

#endif
