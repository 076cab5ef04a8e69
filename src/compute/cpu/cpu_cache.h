/* cpu_cache: the KV cache of the CPU back end and attention's scratch: layout, writing, copying.
 *
 * Every plan.caches[i] has two sides, keys and values, each of a type of its own. A side is a row
 * of pieces, one a block and a kv head: KV_BLOCK positions of one head. Keys lie [dim][KV_BLOCK],
 * values [KV_BLOCK][width], so that both are the right operand of a gemm. Types:
 *
 *   F32, F16, BF16   plain values. The width of values is dim rounded up to 16, the rest zero.
 *   Q8_0, Q4_0       codes in that order, then scales (float16), one for 32 columns of a position:
 *                    of keys [dim / 32][KV_BLOCK], of values [KV_BLOCK][dim / 32]. 4-bit codes lie
 *                    in groups of 32 along a line, low nibbles first, as in ggml's block.
 *
 * A value is worth what dtype_dequant() makes of the block that quant_row() makes of the 32 columns
 * of a position it is among.
 *
 * Included by cpu_int.h; cpu_cache.c and cpu_attn.c work on these.
 */
#ifndef COMPUTE_CPU_CPU_CACHE_H
#define COMPUTE_CPU_CPU_CACHE_H

#include "compute/backend.h"

/* Keys or values of one cache. */
struct cpu_side {
    enum dtype type;
    uint32_t dim;    /* values of one position of one head */
    uint32_t lines;  /* of keys: dim; of values: KV_BLOCK */
    uint32_t width;  /* values of a line: of keys KV_BLOCK, of values dim or rounded up */
    uint64_t line;   /* bytes of a line */
    uint64_t scales; /* bytes from the start of a piece to its scales */
    uint64_t piece;  /* bytes */
    char *at;        /* [n_blocks][n_head][piece] */
};

struct cpu_cache {
    uint32_t n_head; /* kv heads */
    struct cpu_side k, v;
};

/* Rows of the batch that attention takes together: positions of one span. */
struct cpu_tile {
    uint32_t span, first, n; /* index of the span, first row within it, rows */
};

/* Where it lies in the one allocation. */
struct cpu_kv_at {
    uint64_t table, data, tiles, scratch, part;
};

struct cpu_kv {
    struct cpu_cache *caches; /* [plan.n_caches] */
    struct cpu_tile *tiles;   /* [max_batch], of the step at hand */
    uint32_t n_tiles;
    uint32_t tile_rows;    /* positions of a tile; 0: the batch is not cut yet */
    uint32_t dim, width;   /* the largest k_dim, and v_dim rounded up, of all caches */
    char *scratch;         /* [n_threads][thread_bytes] */
    uint64_t thread_bytes; /* of attention's scratch */
    float *part;           /* parts of tiles that are split over groups */
};

static inline char *cpu_cache_piece(const struct cpu_cache *c, const struct cpu_side *s,
                                    uint32_t block, uint32_t head)
{
    return s->at + ((uint64_t)block * c->n_head + head) * s->piece;
}

#endif
