/* plan_int: what the files of plan share. */
#ifndef MODEL_PLAN_INT_H
#define MODEL_PLAN_INT_H

#include "model/plan.h"

/* Bit r is set when the step reads, or writes, register r. */
uint32_t plan_reads(const struct plan_step *s);
uint32_t plan_writes(const struct plan_step *s);

/* Fills rope_freq, rope_mscale, n_rot and rope_pairs of p from its meta and the file's factors. */
enum err plan_rope(struct plan *p, struct arena *a, const struct plan_source *src,
                   struct err_info *e);

#endif
