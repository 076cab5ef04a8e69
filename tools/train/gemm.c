/* gemm: single-precision matrix products whose result depends on nothing but the operands.
 *
 * The usual scheme (Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication"): B
 * is packed into panels of 16 columns, A into strips of 6 rows, and a 6x16 tile of C is kept in
 * registers over a run of k. A later run of k starts from the C in memory, so the chain of
 * additions is not broken up. Without AVX2 the same chain is made by fmaf().
 */
#include "gemm.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

#if defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
#define GEMM_AVX2 1
#endif

enum { MR = 6, NR = 16, KC = 256, MC = 96 };

/* C tile [6][16] += A strip [k][6] x B panel [k][16]; starts from zero unless `add`. */
#ifdef GEMM_AVX2
static void tile(size_t k, const float *a, const float *b, float *c, size_t ldc, bool add)
{
    __m256 acc[MR][2];
    for (int i = 0; i < MR; i++) {
        acc[i][0] = add ? _mm256_loadu_ps(c + (size_t)i * ldc) : _mm256_setzero_ps();
        acc[i][1] = add ? _mm256_loadu_ps(c + (size_t)i * ldc + 8) : _mm256_setzero_ps();
    }
    for (size_t p = 0; p < k; p++, a += MR, b += NR) {
        __m256 b0 = _mm256_load_ps(b), b1 = _mm256_load_ps(b + 8);
#pragma GCC unroll 6
        for (int i = 0; i < MR; i++) {
            __m256 ai = _mm256_broadcast_ss(a + i);
            acc[i][0] = _mm256_fmadd_ps(ai, b0, acc[i][0]);
            acc[i][1] = _mm256_fmadd_ps(ai, b1, acc[i][1]);
        }
    }
    for (int i = 0; i < MR; i++) {
        _mm256_storeu_ps(c + (size_t)i * ldc, acc[i][0]);
        _mm256_storeu_ps(c + (size_t)i * ldc + 8, acc[i][1]);
    }
}
#else
static void tile(size_t k, const float *a, const float *b, float *c, size_t ldc, bool add)
{
    for (size_t i = 0; i < MR; i++)
        for (size_t j = 0; j < NR; j++) {
            float s = add ? c[i * ldc + j] : 0.0f;
            for (size_t p = 0; p < k; p++)
                s = fmaf(a[p * MR + i], b[p * NR + j], s);
            c[i * ldc + j] = s;
        }
}
#endif

static size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

static void room_for(float **p, size_t *size, size_t need)
{
    if (*size >= need) return;
    mem_free(*p);
    *p = mem_aligned(64, need * sizeof(float));
    if (!*p) *p = mem_need(need * sizeof(float)); /* ends the process with a message */
    *size = need;
}

void gemm_room_fini(struct gemm_room *r)
{
    mem_free(r->a);
    mem_free(r->b);
    *r = (struct gemm_room){0};
}

/* One panel of B: columns j0..j0+15, all of k; out is [k][16], zero beyond n. */
static void pack_panel(const struct gemm_job *g, size_t j0, float *out)
{
    size_t w = g->n - j0 < NR ? g->n - j0 : NR;
    for (size_t p = 0; p < g->k; p++, out += NR) {
        const float *src = g->b.p + p * g->b.rs + j0 * g->b.cs;
        if (w == NR && g->b.cs == 1) {
            memcpy(out, src, NR * sizeof *out);
            continue;
        }
        for (size_t j = 0; j < NR; j++)
            out[j] = j < w ? src[j * g->b.cs] : 0.0f;
    }
}

/* A's rows i0..i0+m-1, columns p0..p0+k-1, as strips [k][6], zero beyond m. */
static void pack_strips(const struct gemm_job *g, size_t i0, size_t m, size_t p0, size_t k,
                        float *out)
{
    for (size_t s = 0; s < m; s += MR, out += k * MR) {
        const float *top = g->a.p + (i0 + s) * g->a.rs + p0 * g->a.cs;
        if (g->a.rs == 1 && s + MR <= m) {
            for (size_t p = 0; p < k; p++)
                memcpy(out + p * MR, top + p * g->a.cs, MR * sizeof *out);
            continue;
        }
        for (size_t i = 0; i < MR; i++) {
            const float *src = top + i * g->a.rs;
            if (s + i >= m)
                for (size_t p = 0; p < k; p++)
                    out[p * MR + i] = 0.0f;
            else
                for (size_t p = 0; p < k; p++)
                    out[p * MR + i] = src[p * g->a.cs];
        }
    }
}

static void edge_tile(size_t k, const float *a, const float *b, float *c, size_t ldc, bool add,
                      size_t m, size_t n)
{
    float t[MR * NR] = {0};
    if (add)
        for (size_t i = 0; i < m; i++)
            memcpy(t + i * NR, c + i * ldc, n * sizeof *t);
    tile(k, a, b, t, NR, add);
    for (size_t i = 0; i < m; i++)
        memcpy(c + i * ldc, t + i * NR, n * sizeof *t);
}

/* Rows i0..i0+m-1 of C, with all of B packed. */
static void row_block(const struct gemm_job *g, struct gemm_room *room, const float *bp, size_t i0,
                      size_t m)
{
    for (size_t p0 = 0; p0 < g->k; p0 += KC) {
        size_t k = g->k - p0 < KC ? g->k - p0 : KC;
        bool add = g->add || p0 > 0;
        room_for(&room->a, &room->a_size, (size_t)KC * MC);
        pack_strips(g, i0, m, p0, k, room->a);
        for (size_t j = 0; j < g->n; j += NR) {
            const float *panel = bp + j * g->k + p0 * NR;
            size_t w = g->n - j < NR ? g->n - j : NR;
            for (size_t i = 0; i < m; i += MR) {
                float *c = g->c + (i0 + i) * g->ldc + j;
                const float *strip = room->a + i * k;
                size_t h = m - i < MR ? m - i : MR;
                if (h == MR && w == NR)
                    tile(k, strip, panel, c, g->ldc, add);
                else
                    edge_tile(k, strip, panel, c, g->ldc, add, h, w);
            }
        }
    }
}

void gemm_one(struct gemm_room *room, const struct gemm_job *g)
{
    room_for(&room->b, &room->b_size, round_up(g->n, NR) * g->k);
    for (size_t j = 0; j < g->n; j += NR)
        pack_panel(g, j, room->b + j * g->k);
    for (size_t i = 0; i < g->m; i += MC)
        row_block(g, room, room->b, i, g->m - i < MC ? g->m - i : MC);
}

struct shared {
    const struct gemm_job *g;
    struct gemm_room *room;
    float *bp;
    size_t mc;
};

static void pack_task(void *arg, size_t task, unsigned thread)
{
    struct shared *s = arg;
    (void)thread;
    pack_panel(s->g, task * NR, s->bp + task * NR * s->g->k);
}

static void row_task(void *arg, size_t task, unsigned thread)
{
    struct shared *s = arg;
    size_t i = task * s->mc;
    row_block(s->g, &s->room[thread], s->bp, i, s->g->m - i < s->mc ? s->g->m - i : s->mc);
}

void gemm_all(struct team *t, struct gemm_room *room, const struct gemm_job *g)
{
    struct shared s = {g, room, NULL, MC};
    size_t share = round_up((g->m + team_threads(t) - 1) / team_threads(t), MR);
    if (share < s.mc) s.mc = share;
    room_for(&room[0].b, &room[0].b_size, round_up(g->n, NR) * g->k);
    s.bp = room[0].b;
    team_for(t, (g->n + NR - 1) / NR, pack_task, &s);
    team_for(t, (g->m + s.mc - 1) / s.mc, row_task, &s);
}
