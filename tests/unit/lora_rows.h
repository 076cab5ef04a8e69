/* Logits of a model with adapters, and how far two of them are from each other: what the tests of
 * both forms of adapters compare. */
#ifndef TESTS_LORA_ROWS_H
#define TESTS_LORA_ROWS_H

#include <string.h>

#include "engine/engine.h"

enum { N_IDS = 20 };

struct rows {
    float p[N_IDS][512];
    uint32_t n, width;
};

static void keep(uint32_t i, const float *row, void *owner)
{
    struct rows *r = owner;
    memcpy(r->p[i], row, r->width * sizeof *row);
    r->n = i + 1;
}

static enum err logits(const struct backend *be, const char *path, const struct engine_lora *loras,
                       uint32_t n_loras, struct rows *r, struct err_info *e)
{
    struct engine_conf conf = {.backend = be,
                               .n_threads = 1,
                               .n_ctx = 64,
                               .n_slots = 1,
                               .max_out = 7,
                               .loras = loras,
                               .n_loras = n_loras};
    int32_t ids[N_IDS];
    struct engine *en;
    memset(r, 0, sizeof *r);
    for (int i = 0; i < N_IDS; i++)
        ids[i] = 3 + i * 7 % 60;
    enum err err = engine_open(&en, path, &conf, e);
    if (err) return err;
    r->width = engine_width(en);
    ASSERT(r->width <= sizeof r->p[0] / sizeof r->p[0][0]);
    err = engine_eval(en, ids, N_IDS, keep, r, e);
    engine_close(en);
    return err;
}

/* Normalised mean square error; 1e30 when rows are missing. */
static double distance(const struct rows *a, const struct rows *b)
{
    double err = 0, power = 0;
    for (uint32_t i = 0; i < N_IDS; i++)
        for (uint32_t c = 0; c < a->width; c++) {
            double d = (double)a->p[i][c] - (double)b->p[i][c];
            err += d * d;
            power += (double)b->p[i][c] * (double)b->p[i][c];
        }
    return a->n == N_IDS && b->n == N_IDS ? err / power : 1e30;
}

#endif
