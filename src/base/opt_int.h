/* opt_int: what opt.c and opt_help.c share; nobody else includes it. */
#ifndef BASE_OPT_INT_H
#define BASE_OPT_INT_H

#include "base/opt.h"

#define OPT_BOUND_TEXT 40

/* A bound of the option as a person writes it: "64K", "5m", "0.5". */
const char *opt_bound(const struct opt *o, double v, char out[OPT_BOUND_TEXT]);
/* Appends "rbee run [OPTIONS] MODEL [PROMPT...]". */
void opt_usage(const struct opt_spec *spec, buf *out);

#endif
