/* matrix: see matrix.h. */
#include "model/matrix.h"

/* ---- filters ---- */

enum err matrix_filter_set(struct matrix_filter *f, str name, str value, struct err_info *e)
{
    if (str_eqc(name, "worker")) {
        f->worker = value;
    } else if (str_eqc(name, "model_architecture")) {
        f->architecture = value;
    } else if (str_eqc(name, "model_format")) {
        f->format = value;
    } else if (str_eqc(name, "quantization")) {
        f->quantization = value;
    } else if (str_eqc(name, "compatible")) {
        if (!str_eqc(value, "true") && !str_eqc(value, "false"))
            return ERR_FAIL(e, INVALID, "'compatible' is '%.*s' and neither true nor false",
                            STR(str_sub(value, 0, 40)));
        f->compatible = str_eqc(value, "true");
    } else {
        return ERR_FAIL(e, INVALID,
                        "'%.*s' is no filter here; there are worker, model_architecture, "
                        "model_format, quantization, compatible",
                        STR(str_sub(name, 0, 40)));
    }
    return ERR_OK;
}

static bool wanted(str value, str want)
{
    return !want.n || str_ieq(value, want);
}

/* ---- rows ---- */

struct walk {
    const struct matrix_filter *f;
    const struct family *arch; /* that the filter names; NULL: none, or none that we know */
    matrix_fn *fn;
    void *owner;
    struct matrix_row row;
};

static void emit(struct walk *k)
{
    if (!wanted(str_c(filename_format_name(k->row.format)), k->f->format)) return;
    if (!wanted(k->row.quantization, k->f->quantization)) return;
    if (k->f->compatible && k->row.confidence == VERDICT_NONE) return;
    k->fn(k->owner, &k->row);
}

/* Can a file of the format hold the type? */
static bool holds(enum filename_format f, enum dtype t)
{
    const struct dtype_info *d = dtype_info(t);
    return f == FILENAME_GGUF ? d->ggml_id != DTYPE_NO_GGML : d->elems == 1;
}

/* Golden models of a family are F32, so that type needs no proof of its own. */
static void judge(struct walk *k, const struct caps_family *f, enum dtype t)
{
    const struct caps *c = &k->row.worker->caps;
    str family = k->row.format == FILENAME_SAFETENSORS ? f->safetensors : f->gguf;
    bool high = family.n && (t == DTYPE_F32 || c->proof[t].n);
    k->row.golden_family = high ? family : S("");
    k->row.golden_type = high && t != DTYPE_F32 ? c->proof[t] : S("");
    k->row.confidence = !c->dtype[t] ? VERDICT_NONE : high ? VERDICT_HIGH : VERDICT_MEDIUM;
    if (k->row.confidence != VERDICT_HIGH) k->row.golden_family = k->row.golden_type = S("");
}

static void family_format(struct walk *k, const struct caps_family *f, enum filename_format format)
{
    const char *name;
    enum dtype t;
    k->row.format = format;
    for (size_t i = 0; (name = filename_quant_at(i, &t)); i++) {
        if (t == DTYPE_COUNT || !holds(format, t)) continue;
        k->row.quantization = str_c(name);
        judge(k, f, t);
        emit(k);
    }
}

/* Whether the worker reads the family's config.json. */
static bool has_classes(const struct workers_entry *x, const char *family)
{
    const struct json *list = json_get(x->said, "families");
    for (size_t i = 0; list && i < list->n; i++) {
        const struct json *classes = json_get(&list->items[i], "huggingface");
        if (str_eqc(json_str(json_get(&list->items[i], "name"), S("")), family))
            return classes && classes->type == JSON_ARR && classes->n;
    }
    return false;
}

static void families(struct walk *k)
{
    const struct caps *c = &k->row.worker->caps;
    for (size_t i = 0; i < c->n_families; i++) {
        const struct caps_family *f = &c->families[i];
        if (k->f->architecture.n && f->family != k->arch) continue;
        k->row.architecture = str_c(f->family->name);
        if (c->formats & 1u << FILENAME_GGUF) family_format(k, f, FILENAME_GGUF);
        if (c->formats & 1u << FILENAME_SAFETENSORS && has_classes(k->row.worker, f->family->name))
            family_format(k, f, FILENAME_SAFETENSORS);
    }
}

static void refused_formats(struct walk *k)
{
    if (k->f->architecture.n) return;
    k->row.architecture = k->row.quantization = S("*");
    k->row.golden_family = k->row.golden_type = S("");
    k->row.confidence = VERDICT_NONE;
    for (int i = FILENAME_NONE + 1; i < FILENAME_FORMATS; i++) {
        if (k->row.worker->caps.formats & 1u << i) continue;
        k->row.format = (enum filename_format)i;
        emit(k);
    }
}

void matrix_each(const struct workers *all, const struct matrix_filter *f, matrix_fn *fn,
                 void *owner)
{
    struct walk k = {.f = f, .arch = hub_family(f->architecture), .fn = fn, .owner = owner};
    for (size_t i = 0; i < all->n; i++) {
        k.row.worker = &all->entry[i];
        if (!wanted(k.row.worker->caps.id, f->worker)) continue;
        families(&k);
        refused_formats(&k);
    }
}

/* ---- writing ---- */

static void json_row(void *owner, const struct matrix_row *r)
{
    struct jsonw *w = owner;
    jsonw_obj(w);
    jsonw_kstr(w, "worker", r->worker->caps.id);
    jsonw_kstr(w, "version", r->worker->caps.version);
    jsonw_kstr(w, "architecture", r->architecture);
    jsonw_kc(w, "format", filename_format_name(r->format));
    jsonw_kstr(w, "quantization", r->quantization);
    jsonw_kbool(w, "compatible", r->confidence != VERDICT_NONE);
    jsonw_kc(w, "confidence", verdict_confidence_name(r->confidence));
    jsonw_key(w, "evidence");
    jsonw_arr(w);
    if (r->golden_family.n) jsonw_str(w, r->golden_family);
    if (r->golden_type.n) jsonw_str(w, r->golden_type);
    jsonw_end(w, ']');
    jsonw_end(w, '}');
}

void matrix_write_json(const struct workers *all, const struct matrix_filter *f, struct jsonw *w)
{
    jsonw_obj(w);
    jsonw_key(w, "rows");
    jsonw_arr(w);
    matrix_each(all, f, json_row, w);
    jsonw_end(w, ']');
    jsonw_end(w, '}');
}

/* One cell of two words; the second may be empty. Names come from workers: a comma, a quote or a
 * line end in one must not make a column. */
static void csv_cell(buf *out, str one, str two, const char *end)
{
    str part[3] = {one, one.n && two.n ? S(" ") : S(""), two};
    bool quote = false;
    for (int k = 0; k < 3; k++)
        for (size_t i = 0; i < part[k].n; i++)
            quote |= part[k].p[i] == ',' || part[k].p[i] == '"' || part[k].p[i] < ' ';
    if (quote) buf_ch(out, '"');
    for (int k = 0; k < 3; k++)
        for (size_t i = 0; i < part[k].n; i++) {
            if (part[k].p[i] == '"') buf_ch(out, '"');
            buf_ch(out, part[k].p[i]);
        }
    if (quote) buf_ch(out, '"');
    buf_c(out, end);
}

static void csv_row(void *owner, const struct matrix_row *r)
{
    const str cells[] = {r->worker->caps.id,
                         r->worker->caps.version,
                         r->architecture,
                         str_c(filename_format_name(r->format)),
                         r->quantization,
                         r->confidence != VERDICT_NONE ? S("true") : S("false"),
                         str_c(verdict_confidence_name(r->confidence))};
    for (size_t i = 0; i < sizeof cells / sizeof *cells; i++)
        csv_cell(owner, cells[i], S(""), ",");
    csv_cell(owner, r->golden_family, r->golden_type, "\r\n");
}

void matrix_write_csv(const struct workers *all, const struct matrix_filter *f, buf *out)
{
    buf_c(out,
          "worker,version,architecture,format,quantization,compatible,confidence,evidence\r\n");
    matrix_each(all, f, csv_row, out);
}
