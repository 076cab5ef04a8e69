/* mem: the heap. See mem.h. */
#include "base/mem.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/os.h"

static atomic_uint_fast64_t count;
static _Thread_local bool forbidden;
static _Thread_local uint64_t fail_after;

/* Counts an allocation; false: it is to fail. */
static bool allowed(void)
{
    if (forbidden) BUG("an allocation inside a decode step");
    atomic_fetch_add_explicit(&count, 1, memory_order_relaxed);
    return !fail_after || --fail_after;
}

void *mem_alloc(size_t n)
{
    return allowed() ? calloc(1, n ? n : 1) : NULL;
}

void *mem_array(size_t n_items, size_t n)
{
    size_t bytes;

    if (!mem_mul(n_items, n, &bytes)) return NULL;
    return mem_alloc(bytes);
}

void *mem_resize(void *p, size_t n)
{
    return allowed() ? realloc(p, n ? n : 1) : NULL;
}

void *mem_need(size_t n)
{
    void *p = mem_alloc(n);

    if (p) return p;
    fprintf(stderr, "rbee: out of memory (%zu bytes)\n", n);
    abort();
}

void mem_free(void *p)
{
    free(p);
}

void *mem_aligned(size_t align, size_t n)
{
    void *p;
    size_t bytes;

    if (!allowed() || !mem_add(n ? n : 1, align - 1, &bytes)) return NULL;
    bytes &= ~(align - 1);
    p = aligned_alloc(align, bytes);
    if (p) os_zero(p, bytes);
    return p;
}

bool mem_mul(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

bool mem_add(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

void mem_forbid(bool on)
{
    forbidden = on;
}

uint64_t mem_count(void)
{
    return atomic_load_explicit(&count, memory_order_relaxed);
}

uint64_t mem_fail_after(uint64_t n)
{
    uint64_t left = fail_after;

    fail_after = n;
    return left;
}
