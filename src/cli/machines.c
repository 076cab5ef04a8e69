/* machines: see machines.h. */
#include "cli/machines.h"

#include <unistd.h>

#include "base/limits.h"
#include "cli/cli.h"

#define TEXT_MAX MIB(4)

struct verdict_ask machines_verdict_ask(const struct machines_conf *c)
{
    enum dtype kv = dtype_from_name(str_c(c->kv_type));

    return (struct verdict_ask){(uint32_t)c->context, (uint32_t)c->slots, kv, kv};
}

/* ---- of the queen ---- */

static enum err read_hives(struct machines *m, struct arena *a, const struct json *v,
                           struct err_info *e)
{
    const struct json *hives = json_get(v, "hives");
    struct machine *all;

    if (!hives || hives->type != JSON_ARR || hives->n > LIMIT_HIVES)
        return ERR_FAIL(e, FORMAT, "the queen names no hives");
    if (!(all = ARENA_NEW(a, struct machine, hives->n + 1)))
        return ERR_FAIL(e, NOMEM, "no memory for %zu machines", hives->n);
    m->machine = all;
    for (size_t i = 0; i < hives->n; i++) {
        enum err code;

        if (!str_eqc(json_str(json_get(&hives->items[i], "state"), S("ready")), "ready")) continue;
        if ((code = machine_parse(&all[m->n], a, &hives->items[i], e))) return code;
        m->n_devices += all[m->n++].n;
    }
    return ERR_OK;
}

/* False: no queen, or one that knows no machine. */
static bool ask_queen(struct machines *m, struct arena *a, const struct machines_ask *ask)
{
    const struct json *v;
    struct err_info e;

    if (!ask->queen || !client_alive(ask->queen)) return false;
    return !client_json(ask->queen, a, "GET",
                        ask->measure ? "/v1/hives?measure=yes" : "/v1/hives?measure=no", S(""), &v,
                        &e) &&
           !read_hives(m, a, v, &e) && m->n_devices;
}

/* ---- this one ---- */

static enum err look(struct arena *a, const struct machines_ask *ask, const struct json **v,
                     struct err_info *e)
{
    char exe[STORE_PATH_MAX];
    struct store store;
    struct machine_ask how = {.worker = exe,
                              .state = store.state,
                              .threads = ask->threads,
                              .measure = ask->measure ? MACHINE_NEEDED : MACHINE_KNOWN};
    buf text = {.cap = TEXT_MAX};
    enum err code;
    str kept;

    if ((code = store_init(&store, e)) || (code = cmd_worker_path(exe, sizeof exe, e))) return code;
    code = machine_look(&text, &how, e);
    kept = arena_str(a, buf_view(&text));
    buf_fini(&text);
    if (code) return code;
    if (!kept.p) return ERR_FAIL(e, NOMEM, "no memory for what the worker says of itself");
    return json_parse(a, kept, v, e);
}

static enum err look_here(struct machines *m, struct arena *a, const struct machines_ask *ask,
                          struct err_info *e)
{
    struct machine *one = ARENA_NEW(a, struct machine, 1);
    const struct json *v;
    enum err code;

    if (!one) return ERR_FAIL(e, NOMEM, "no memory for a machine");
    if ((code = look(a, ask, &v, e)) || (code = machine_parse(one, a, v, e))) return code;
    one->name = S("this machine");
    for (size_t i = 0; i < one->n; i++)
        one->devices[i].device.name = one->name;
    *m = (struct machines){.machine = one, .n = 1, .n_devices = one->n};
    if (one->n) return ERR_OK;
    return ERR_FAIL(e, UNAVAILABLE, "this machine has no worker");
}

enum err machines_get(struct machines *m, struct arena *a, const struct machines_ask *ask,
                      struct err_info *e)
{
    *m = (struct machines){0};
    return ask_queen(m, a, ask) ? ERR_OK : look_here(m, a, ask, e);
}
