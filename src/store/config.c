/* config: see config.h. The parser is inih. */
#include "store/config.h"

#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/limits.h"
#include "base/mem.h"
#include "store/store.h"

#define KEYS_MAX 256

struct config {
    struct arena a;
    struct {
        const char *key, *value;
    } rows[KEYS_MAX];
    int n;
    bool full;
};

static int on_row(void *owner, const char *section, const char *key, const char *value)
{
    struct config *c = owner;
    str k = arena_str(&c->a, str_c(key)), v = arena_str(&c->a, str_c(value));

    (void)section;
    if (c->n == KEYS_MAX || !k.p || !v.p) {
        c->full = true;
        return 0;
    }
    c->rows[c->n].key = k.p;
    c->rows[c->n++].value = v.p;
    return 1;
}

static void config_close(struct config *c)
{
    arena_fini(&c->a);
    mem_free(c);
}

static enum err config_open(struct config **out, struct err_info *e)
{
    static struct store st;
    struct config *c;
    char path[STORE_PATH_MAX];
    FILE *f;
    int line;
    enum err code = store_init(&st, e);

    if (code) return code;
    if (!(c = mem_alloc(sizeof *c))) return ERR_FAIL(e, NOMEM, "no memory for the configuration");
    arena_init(&c->a, LIMIT_CONFIG_FILE);
    *out = c;
    snprintf(path, sizeof path, "%.4000s/rbee.conf", st.config);
    if (!(f = fopen(path, "re"))) {
        if (errno == ENOENT || errno == ENOTDIR) return ERR_OK;
        code = err_errno(e, errno, "read", path);
        config_close(c);
        *out = NULL;
        return code;
    }
    line = ini_parse_file(f, on_row, c);
    fclose(f);
    if (line == 0) return ERR_OK;
    code = c->full ? ERR_FAIL(e, LIMIT, "%s holds more than %d settings", path, KEYS_MAX)
                   : ERR_FAIL(e, FORMAT, "%s, line %d: write `key = value`", path, line);
    config_close(c);
    *out = NULL;
    return code;
}

static const char *config_get(const char *key, void *owner)
{
    const struct config *c = owner;

    for (int i = c->n - 1; i >= 0; i--) {
        if (strcmp(c->rows[i].key, key) == 0) return c->rows[i].value;
    }
    return NULL;
}

enum err config_parse(const struct opt_spec *spec, int argc, char **argv, void *out, bool *help,
                      struct err_info *e)
{
    static struct config *c; /* read once; parsed values point into it */
    struct opt_spec with = *spec;
    enum err code;

    if (!c && (code = config_open(&c, e))) return code;
    with.config = config_get;
    with.config_owner = c;
    return opt_parse(&with, argc, argv, out, help, e);
}
