/* verdict_int: what the verdicts on headers and on repositories share: their lines. */
#ifndef MODEL_VERDICT_INT_H
#define MODEL_VERDICT_INT_H

#include "model/verdict.h"

/* Adds a line unless there are VERDICT_LINES; cut at 400 bytes. */
__attribute__((format(printf, 3, 4))) void verdict_say(struct verdict_lines *l, struct arena *a,
                                                       const char *fmt, ...);

#define REFUSE(v, a, ...) verdict_say(&(v)->reasons, (a), __VA_ARGS__)
#define WARN(v, a, ...)   verdict_say(&(v)->warnings, (a), __VA_ARGS__)
#define ADVISE(v, a, ...) verdict_say(&(v)->recommendations, (a), __VA_ARGS__)
/* The arguments of a "%.*s" for a name out of a file: long ones are cut. */
#define NAME(s) (int)((s).n > 80 ? 80 : (s).n), (s).p

/* What a header is when it is not one of a file's. */
struct verdict_basis {
    uint64_t bytes; /* of the weights; 0: as the header has them */
    bool config;    /* the header was made of config.json */
};
/* verdict_header() on such a basis. */
void verdict_of(struct verdict *v, struct arena *a, const struct gguf *g,
                const struct verdict_basis *basis, const struct caps *c,
                const struct verdict_device *d, const struct verdict_ask *ask);

/* One refusal: its code and its sentence. */
#define REFUSE_FOR(v, a, code, ...) ((v)->why = (code), REFUSE((v), (a), __VA_ARGS__))

/* v->memory.total is more than the machine has: says so, and by how much. */
void verdict_short(struct verdict *v, struct arena *a, const struct verdict_device *d);
/* What of the configuration `conf` of v->shape could be less so that it fits, as recommendations.
 * False: nothing. */
bool verdict_shrink(struct verdict *v, struct arena *a, const struct memory_conf *conf,
                    const struct caps *c, const struct verdict_device *d);

#endif
