/* mem: the only door to the heap.
 *
 * Everything that allocates goes through here or through arena and buf, which stand on it; a check
 * bans malloc elsewhere. Sizes from outside are tested by the caller (NULL is returned); small
 * fixed sizes in programs may use mem_need(), which ends the process with a clear message.
 *
 * The engine thread calls mem_forbid(true) around a decode step: any allocation by that thread is
 * then a bug and aborts. mem_count() counts allocations of the whole process, for tests.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void *mem_alloc(size_t n);               /* zeroed; NULL when there is no memory */
void *mem_array(size_t count, size_t n); /* zeroed; NULL also when count * n overflows */
void *mem_resize(void *p, size_t n);     /* NULL leaves p as it was; new bytes are undefined */
void *mem_need(size_t n);                /* zeroed; ends the process when there is no memory */
void mem_free(void *p);
void *mem_aligned(size_t align, size_t n); /* zeroed; free with mem_free */

bool mem_mul(size_t a, size_t b, size_t *out); /* false on overflow */
bool mem_add(size_t a, size_t b, size_t *out);

void mem_forbid(bool on); /* this thread */
uint64_t mem_count(void); /* allocations so far, all threads */
/* For tests: the n-th allocation of this thread from here on finds no memory; 0: none. Returns how
 * many were left of the last such count: 0 when it was reached. */
uint64_t mem_fail_after(uint64_t n);

#endif
