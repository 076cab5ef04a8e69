/* arena: memory with one lifetime, freed all at once.
 *
 * An arena belongs to a model, a session or a request; what is allocated in it lives until
 * arena_fini() or arena_clear() and is never freed alone. Every arena has a cap in bytes; beyond
 * it, or without memory, arena_alloc() returns NULL. Not thread-safe: one owner.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

#include "base/str.h"

struct arena_chunk;
struct arena {
    struct arena_chunk *head;
    size_t used; /* bytes handed out, padding included */
    size_t cap;
};

void arena_init(struct arena *a, size_t cap);
void arena_fini(struct arena *a);
void arena_clear(struct arena *a); /* frees all but the first chunk */

void *arena_alloc(struct arena *a, size_t n, size_t align); /* zeroed, or NULL */
#define ARENA_NEW(a, T, count) ((T *)arena_array((a), (count), sizeof(T), _Alignof(T)))
void *arena_array(struct arena *a, size_t count, size_t n, size_t align);
/* A copy with a NUL after it; .p is NULL when there was no memory. */
str arena_str(struct arena *a, str s);
str arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
