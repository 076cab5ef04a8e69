/* heap: the C library's allocator for a module that lives long and allocates little but large:
 * chunks of arenas, buffers, columns of catalogues.
 *
 * Blocks have one of four sizes an octave, so a block that was freed fits the next request of its
 * class, and what a class holds is its own peak: memory stays within a small factor of what was in
 * use at once, however many calls there are. Blocks are not joined again; the last block can grow
 * in place and be given back. All are aligned to 64 bytes, which is all that mem.c asks for.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ALIGN   64
#define HEAD    16 /* bytes of a header, in front of a block */
#define PAGE    65536
#define CLASSES (4 * 32)

struct block {
    uint32_t size; /* of the data, a multiple of ALIGN, less HEAD */
    uint32_t kind;
    struct block *next; /* while it is free */
    uint32_t unused;
};
_Static_assert(sizeof(struct block) == HEAD, "a header in front of each block");

extern unsigned char __heap_base;
static struct block *freed[CLASSES];
static uintptr_t top; /* data of the next block begin here */

/* Room of class k: 64 * (4 + k % 4) / 4 * 2^(k / 4), whole units of ALIGN, less a header. */
static uint64_t room(uint32_t k)
{
    uint64_t units = ((uint64_t)(4 + k % 4) << (k / 4)) / 4;
    return units * ALIGN - HEAD;
}

static uint32_t class_of(size_t n)
{
    uint32_t k = 0;
    while (k < CLASSES && room(k) < n)
        k++;
    return k;
}

/* Memory up to `end` is there, or false. */
static int reach(uint64_t end)
{
    uint64_t have = (uint64_t)__builtin_wasm_memory_size(0) * PAGE;
    if (end <= have) return 1;
    if (end > UINT32_MAX - PAGE) return 0;
    return __builtin_wasm_memory_grow(0, (size_t)((end - have + PAGE - 1) / PAGE)) != SIZE_MAX;
}

static struct block *head_of(void *p)
{
    return (struct block *)(void *)((char *)p - HEAD);
}

void *malloc(size_t n)
{
    uint32_t k = class_of(n);
    if (k == CLASSES) return NULL;
    struct block *b = freed[k];
    if (b) {
        freed[k] = b->next;
        return (char *)b + HEAD;
    }
    if (!top) top = ((uintptr_t)&__heap_base + HEAD + ALIGN - 1) / ALIGN * ALIGN;
    uint64_t end = top + room(k);
    if (!reach(end)) return NULL;
    void *p = (void *)top;
    *head_of(p) = (struct block){.size = (uint32_t)room(k), .kind = k};
    top = (uintptr_t)end + HEAD;
    return p;
}

void free(void *p)
{
    if (!p) return;
    struct block *b = head_of(p);
    if ((uintptr_t)p + b->size + HEAD == top) {
        top = (uintptr_t)p;
        return;
    }
    b->next = freed[b->kind];
    freed[b->kind] = b;
}

void *calloc(size_t count, size_t n)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, n, &bytes)) return NULL;
    void *p = malloc(bytes);
    return p ? memset(p, 0, bytes) : NULL;
}

void *realloc(void *p, size_t n)
{
    if (!p) return malloc(n);
    struct block *b = head_of(p);
    if (n <= b->size) return p;
    uint32_t k = class_of(n);
    /* What was freed comes first: blocks that only ever grow would leave it lying. */
    if (k < CLASSES && !freed[k] && (uintptr_t)p + b->size + HEAD == top &&
        reach((uintptr_t)p + room(k))) {
        *b = (struct block){.size = (uint32_t)room(k), .kind = k};
        top = (uintptr_t)p + b->size + HEAD;
        return p;
    }
    void *new = malloc(n);
    if (!new) return NULL;
    memcpy(new, p, b->size);
    free(p);
    return new;
}

void *aligned_alloc(size_t align, size_t n)
{
    return align <= ALIGN ? malloc(n) : NULL;
}
