/* link: see link.h. */
#include "model/link.h"

#include <string.h>

#include "base/limits.h"
#include "base/url.h"
#include "model/repo.h"

#define SCHEME     "rbee://"
#define FORMS      "rbee://model?id=ORG/REPO or rbee://install/model?id=ORG/REPO&worker=WORKER"
#define SHOWN      200 /* bytes of a link in an error */
#define WORKER_MAX 64

static const struct {
    const char *path;
    bool worker; /* may be named */
} actions[] = {
    [LINK_MODEL] = {"model", false},
    [LINK_INSTALL] = {"install/model", true},
};

const char *link_action_name(enum link_action a)
{
    return actions[a].path;
}

/* ---- one field ---- */

/* What a query may hold unencoded (RFC 3986), less what a form would read otherwise. */
static bool raw_ok(str raw, char *bad)
{
    for (size_t i = 0; i < raw.n; i++) {
        char c = raw.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');

        if (plain || (c != 0 && strchr("-._~%/:@!$'()*,;?", c))) continue;
        *bad = c;
        return false;
    }
    return true;
}

static enum err value(str *out, struct arena *a, str name, str raw, struct err_info *e)
{
    const char *why;
    char bad = 0;

    if (!raw_ok(raw, &bad))
        return ERR_FAIL(e, INVALID,
                        "the link's '%.*s' holds the byte 0x%02X, which must be written %%%02X",
                        STR(name), (unsigned char)bad, (unsigned char)bad);
    if (out->p) return ERR_FAIL(e, INVALID, "the link says '%.*s' twice", STR(name));
    if ((why = url_decode(out, a, raw)))
        return ERR_FAIL(e, INVALID, "the link's '%.*s' holds %s", STR(name), why);
    if (!out->n) return ERR_FAIL(e, INVALID, "the link's '%.*s' is empty", STR(name));
    return ERR_OK;
}

static bool worker_ok(str s)
{
    if (s.n > WORKER_MAX || s.p[0] == '-') return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];

        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-') return false;
    }
    return true;
}

static enum err check(struct link *l, str id, struct err_info *e)
{
    if (!id.p) return ERR_FAIL(e, INVALID, "the link names no model: it has no id=ORG/REPO");
    l->id = str_cut(id, ':', &l->want);
    if (!repo_id_ok(l->id) || (l->want.p && !repo_path_ok(l->want)))
        return ERR_FAIL(
            e, INVALID,
            "the link's id '%.*s' names no repository: it is ORG/REPO, ORG/REPO:QUANT or "
            "ORG/REPO:FILE",
            STR(str_sub(id, 0, SHOWN)));
    if (l->worker.p && !worker_ok(l->worker))
        return ERR_FAIL(e, INVALID, "the link's worker '%.*s' is no name of a worker",
                        STR(str_sub(l->worker, 0, WORKER_MAX)));
    return ERR_OK;
}

/* ---- the whole ---- */

static enum err fields(struct link *l, struct arena *a, str query, struct err_info *e)
{
    str id = {0};
    enum err code = ERR_OK;

    while (query.p && !code) {
        str raw, field = str_cut(query, '&', &query), name = str_cut(field, '=', &raw);

        if (!raw.p)
            code = ERR_FAIL(e, INVALID, "the link holds '%.*s' where a field with '=' should be",
                            STR(str_sub(field, 0, SHOWN)));
        else if (str_eqc(name, "id"))
            code = value(&id, a, name, raw, e);
        else if (str_eqc(name, "worker") && actions[l->action].worker)
            code = value(&l->worker, a, name, raw, e);
        else
            code =
                ERR_FAIL(e, INVALID, "the link has the field '%.*s', which rbee://%s does not have",
                         STR(str_sub(name, 0, SHOWN)), actions[l->action].path);
    }
    return code ? code : check(l, id, e);
}

/* Programs that hand links on may put a slash behind what they take for a host's name. */
static bool find_action(str path, enum link_action *out)
{
    if (path.n > 1 && path.p[path.n - 1] == '/') path.n--;
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
        if (!str_eqc(path, actions[i].path)) continue;
        *out = (enum link_action)i;
        return true;
    }
    return false;
}

enum err link_parse(struct link *l, struct arena *a, str text, struct err_info *e)
{
    str scheme = S(SCHEME), query, path;

    *l = (struct link){0};
    if (text.n > LIMIT_LINK)
        return ERR_FAIL(e, INVALID, "the link is %zu bytes long; rbee reads at most %zu", text.n,
                        LIMIT_LINK);
    if (!str_ieq(str_sub(text, 0, scheme.n), scheme))
        return ERR_FAIL(e, INVALID, "'%.*s' is no link of rbee: those are " FORMS,
                        STR(str_sub(text, 0, SHOWN)));
    if (str_find(text, S("#"), 0) != SIZE_MAX)
        return ERR_FAIL(e, INVALID, "the link has a '#' in it, which links of rbee do not have");
    path = str_cut(str_sub(text, scheme.n, text.n), '?', &query);
    if (!find_action(path, &l->action))
        return ERR_FAIL(e, INVALID,
                        "the link asks for '%.*s', which rbee does not do: it knows " FORMS,
                        STR(str_sub(path, 0, SHOWN)));
    return fields(l, a, query, e);
}

void link_write(const struct link *l, buf *out)
{
    buf_printf(out, SCHEME "%s?id=", actions[l->action].path);
    url_encode(out, l->id, "/");
    if (l->want.n) {
        buf_ch(out, ':');
        url_encode(out, l->want, "/:");
    }
    if (!l->worker.n) return;
    buf_c(out, "&worker=");
    url_encode(out, l->worker, "");
}
