/* arena: chunks in a list, each handed out front to back. See arena.h.
 *
 * Chunks double from 4 KiB to 1 MiB; a larger request gets a chunk of its own size.
 */
#include "base/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define CHUNK_MIN ((size_t)4096)
#define CHUNK_MAX ((size_t)1 << 20)

struct arena_chunk {
    struct arena_chunk *next;
    size_t size, used; /* of data */
    _Alignas(64) char data[];
};

void arena_init(struct arena *a, size_t cap)
{
    *a = (struct arena){.cap = cap};
}

static void free_chunks(struct arena_chunk *c)
{
    while (c) {
        struct arena_chunk *next = c->next;

        mem_free(c);
        c = next;
    }
}

void arena_fini(struct arena *a)
{
    free_chunks(a->head);
    a->head = NULL;
    a->used = 0;
}

void arena_clear(struct arena *a)
{
    struct arena_chunk *c = a->head;

    if (!c) return;
    while (c->next) {
        struct arena_chunk *next = c->next;

        mem_free(c);
        c = next;
    }
    memset(c->data, 0, c->used);
    c->used = 0;
    a->head = c;
    a->used = 0;
}

static struct arena_chunk *grow(struct arena *a, size_t n, size_t align)
{
    size_t size = a->head ? a->head->size * 2 : CHUNK_MIN, bytes;
    struct arena_chunk *c;

    if (size > CHUNK_MAX) size = CHUNK_MAX;
    if (!mem_add(n, align, &n)) return NULL;
    if (size < n) size = n;
    if (!mem_add(size, sizeof *c, &bytes)) return NULL;
    c = mem_aligned(64, bytes);
    if (!c) return NULL;
    c->size = size;
    c->next = a->head;
    a->head = c;
    return c;
}

void *arena_alloc(struct arena *a, size_t n, size_t align)
{
    struct arena_chunk *c = a->head;
    size_t at, end, room;

    if (n > a->cap || a->used > a->cap - n) return NULL;
    for (int turn = 0; turn < 2; turn++) {
        if (c) {
            uintptr_t base = (uintptr_t)c->data;

            at = (size_t)(((base + c->used + align - 1) & ~(uintptr_t)(align - 1)) - base);
            room = c->size;
            if (at <= room && n <= room - at) {
                end = at + n;
                a->used += end - c->used;
                c->used = end;
                return c->data + at;
            }
        }
        if (turn == 0 && !(c = grow(a, n, align))) return NULL;
    }
    return NULL;
}

void *arena_array(struct arena *a, size_t count, size_t n, size_t align)
{
    size_t bytes;

    if (!mem_mul(count, n, &bytes)) return NULL;
    return arena_alloc(a, bytes, align);
}

str arena_str(struct arena *a, str s)
{
    char *p;

    if (s.n == SIZE_MAX || !(p = arena_alloc(a, s.n + 1, 1))) return (str){NULL, 0};
    if (s.n) memcpy(p, s.p, s.n);
    return (str){p, s.n};
}

str arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap;
    int n;
    char *p;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0 || !(p = arena_alloc(a, (size_t)n + 1, 1))) return (str){NULL, 0};
    va_start(ap, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return (str){p, (size_t)n};
}
