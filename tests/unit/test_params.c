/* test_params: the parameter table is sound and its defaults are those of the struct. */
#include "proto/params.h"

#include "tap.h"

static double field(const struct params *p, const struct params_row *r)
{
    const char *at = (const char *)p + r->at;
    switch (r->type) {
    case PARAMS_INT: return (double)*(const params_INT *)(const void *)at;
    case PARAMS_NUM: return *(const params_NUM *)(const void *)at;
    case PARAMS_BOOL: return *(const params_BOOL *)(const void *)at ? 1 : 0;
    }
    return NAN;
}

int main(void)
{
    struct params p;
    size_t n;
    const struct params_row *rows = params_rows(&n);
    memset(&p, 0x5a, sizeof p);
    params_default(&p);
    ok(n >= 10, "the table has %zu rows", n);
    for (size_t i = 0; i < n; i++) {
        const struct params_row *r = &rows[i];
        bool inside = r->dflt >= r->min && r->dflt <= r->max;
        ok(inside && fabs(field(&p, r) - r->dflt) < 1e-12 && r->help[0],
           "%s: default within range and set", r->name);
        ok(params_find(r->name, strlen(r->name)) == r, "%s: found by name", r->name);
    }
    const struct params_row *r = params_find("max_completion_tokens", 21);
    ok(r && strcmp(r->name, "max_tokens") == 0, "found by first alias");
    ok(params_find("n_predict", 9) == r, "found by last alias");
    ok(!params_find("n_predic", 8) && !params_find("", 0) && !params_find("|", 1) &&
           !params_find("num_predict|n_predict", 21) && !params_find("max_tokens ", 11),
       "near misses are not found");
    return tap_end();
}
