/* catalog_json: pages, facets and rows as JSON, always the same members in the same order. */
#include "base/json.h"
#include "model/catalog_int.h"
#include "model/speed.h"

static void text_or_null(struct jsonw *w, const char *key, str s)
{
    jsonw_key(w, key);
    if (s.n)
        jsonw_str(w, s);
    else
        jsonw_null(w);
}

static void write_verdict(const struct catalog_row *r, struct jsonw *w)
{
    const struct judge_out *o = &r->out;
    jsonw_key(w, "verdict");
    if (!r->judged) {
        jsonw_null(w);
        return;
    }
    jsonw_obj(w);
    jsonw_kbool(w, "compatible", o->compatible);
    jsonw_kbool(w, "fits", o->fits);
    jsonw_kc(w, "why", judge_why_name(o->why));
    jsonw_kc(w, "text", judge_why_text(o->why));
    jsonw_kstr(w, "machine", r->machine);
    jsonw_kstr(w, "backend", r->backend);
    jsonw_kstrs(w, "machines", r->machines, r->n_machines);
    jsonw_kint(w, "context", o->n_ctx);
    jsonw_kint(w, "slots", o->n_slots);
    jsonw_key(w, "memory");
    jsonw_obj(w);
    jsonw_kuint_if(w, "weights", o->memory.weights, o->memory_known);
    jsonw_kuint_if(w, "kv", o->memory.kv, o->cache_known);
    jsonw_kuint_if(w, "compute", o->memory.compute, o->cache_known);
    jsonw_kuint_if(w, "total", o->memory.total, o->memory_known);
    jsonw_kbool(w, "estimated", o->cache_estimated);
    jsonw_end(w, '}');
    jsonw_kuint(w, "short_by", o->short_by);
    speed_write(w, "decode_tokens_per_s", (double)o->decode);
    speed_write(w, "prefill_tokens_per_s", (double)o->prefill);
    jsonw_end(w, '}');
}

static void write_lists(const struct catalog_row *r, struct jsonw *w)
{
    const char *name;
    jsonw_key(w, "capabilities");
    jsonw_arr(w);
    for (unsigned i = 0; (name = catalog_can_name(i)); i++)
        if (r->can >> i & 1) jsonw_c(w, name);
    jsonw_end(w, ']');
    jsonw_key(w, "formats");
    jsonw_arr(w);
    for (int i = 1; i < FILENAME_FORMATS; i++)
        if (r->formats >> i & 1) jsonw_c(w, filename_format_name((enum filename_format)i));
    jsonw_end(w, ']');
    jsonw_kstrs(w, "languages", r->languages, r->n_languages);
    jsonw_kstrs(w, "quantizations", r->quants, r->n_quants);
}

/* The set that the verdict is on. */
static void write_set(const struct catalog_row *r, struct jsonw *w)
{
    jsonw_key(w, "set");
    jsonw_obj(w);
    text_or_null(w, "name", r->set);
    jsonw_kc(w, "format", r->format ? filename_format_name(r->format) : NULL);
    text_or_null(w, "quantization", r->quant);
    jsonw_kuint_if(w, "bytes", r->set_bytes, r->set_bytes != 0);
    jsonw_kbool(w, "estimated", r->set_estimated);
    jsonw_end(w, '}');
}

void catalog_write_row(const struct catalog_row *r, struct jsonw *w)
{
    jsonw_obj(w);
    jsonw_kstr(w, "id", r->id);
    jsonw_kstr(w, "author", r->author);
    text_or_null(w, "architecture", r->architecture);
    text_or_null(w, "family", r->family);
    text_or_null(w, "base_model", r->base_model);
    text_or_null(w, "licence", r->licence);
    text_or_null(w, "task", r->task);
    text_or_null(w, "library", r->library);
    jsonw_kbool(w, "gated", r->gated);
    jsonw_kuint(w, "downloads", r->downloads);
    jsonw_kuint(w, "likes", r->likes);
    jsonw_knum(w, "trending", r->trending);
    jsonw_kuint_if(w, "created", (uint64_t)r->created, r->created > 0);
    jsonw_kuint_if(w, "updated", (uint64_t)r->updated, r->updated > 0);
    jsonw_kuint_if(w, "parameters", r->params, r->params != 0);
    jsonw_kuint_if(w, "parameters_active", r->params_active, r->params_active != 0);
    jsonw_kuint_if(w, "context", r->context, r->context != 0);
    jsonw_kuint_if(w, "bytes", r->bytes, r->bytes != 0);
    write_lists(r, w);
    jsonw_kint(w, "sets", (int64_t)r->n_sets);
    write_set(r, w);
    write_verdict(r, w);
    jsonw_end(w, '}');
}

void catalog_write_page(const struct catalog_page *p, const struct catalog_query *q,
                        struct jsonw *w)
{
    buf text = {.cap = LIMIT_INDEX_QUERY};
    jsonw_obj(w);
    jsonw_key(w, "models");
    jsonw_arr(w);
    for (size_t i = 0; i < p->n; i++)
        catalog_write_row(&p->rows[i], w);
    jsonw_end(w, ']');
    jsonw_kuint(w, "total", p->total);
    text_or_null(w, "next", p->next);
    catalog_query_write(q, &text);
    jsonw_kstr(w, "query", text.failed ? S("") : buf_view(&text));
    buf_fini(&text);
    jsonw_key(w, "hidden");
    jsonw_obj(w);
    jsonw_kuint(w, "count", p->hidden);
    jsonw_key(w, "reasons");
    jsonw_arr(w);
    for (size_t i = 0; i < p->n_reasons; i++) {
        jsonw_obj(w);
        jsonw_kc(w, "reason", judge_why_name(p->reasons[i].why));
        jsonw_kc(w, "text", judge_why_text(p->reasons[i].why));
        jsonw_kuint(w, "count", p->reasons[i].count);
        jsonw_end(w, '}');
    }
    jsonw_end(w, ']');
    jsonw_end(w, '}');
    jsonw_end(w, '}');
}

void catalog_write_facets(const struct catalog_facets *f, struct jsonw *w)
{
    jsonw_obj(w);
    for (size_t i = 0; i < f->n; i++) {
        jsonw_key(w, catalog_field(f->v[i].field)->name);
        jsonw_obj(w);
        jsonw_key(w, "values");
        jsonw_arr(w);
        for (size_t k = 0; k < f->v[i].n; k++) {
            jsonw_obj(w);
            jsonw_kstr(w, "value", f->v[i].v[k].value);
            jsonw_kuint(w, "count", f->v[i].v[k].count);
            jsonw_kbool(w, "chosen", f->v[i].v[k].chosen);
            jsonw_end(w, '}');
        }
        jsonw_end(w, ']');
        jsonw_kuint(w, "more", f->v[i].more);
        jsonw_end(w, '}');
    }
    jsonw_end(w, '}');
}
