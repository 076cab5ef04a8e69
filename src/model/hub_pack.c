/* hub_pack: how the weights of a repository are packed, where SafeTensors hold what only another
 * program reads: by the method that config.json names, the types that the Hub counts, the tags, and
 * the names of repository and files.
 */
#include <string.h>

#include "base/limits.h"
#include "model/hf_meta.h"
#include "model/hub_int.h"

static bool is_own(enum filename_format f)
{
    return f >= FILENAME_MLX && f <= FILENAME_BNB;
}

static bool is_float(str type)
{
    static const char *const names[] = {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (str_eqc(type, names[i])) return true;
    return false;
}

/* More than a quarter of the numbers are integers that stand for packed weights. */
static bool is_packed(const struct hub_model *m)
{
    uint64_t all = 0, packed = 0;
    for (size_t i = 0; i < m->n_dtypes; i++) {
        uint64_t n = m->dtypes[i].params < UINT64_MAX >> 16 ? m->dtypes[i].params : 0;
        all += n;
        if (!is_float(m->dtypes[i].name)) packed += n;
    }
    return packed > all / 4;
}

/* Integers or types of other programs in the name of a repository or file: "W4A16", "4bit". */
static bool names_packing(const struct filename *f)
{
    return f->quant && f->dtype == DTYPE_COUNT;
}

/* Of SafeTensors only: what the loader does not read, by the method, else the types, else names. */
static void foreign(struct hub_model *m, const struct json *q, const struct filename *id)
{
    bool named = names_packing(id) || (!m->quant_method.n && json_get(q, "bits"));
    for (size_t i = 0; i < m->n_sets && !named; i++)
        named = m->sets[i].format == FILENAME_SAFETENSORS && m->sets[i].quant &&
                m->sets[i].dtype == DTYPE_COUNT;
    if (m->quant_method.n && !hf_meta_reads(m->quant_method))
        m->foreign_quant = true;
    else if (m->n_dtypes)
        m->foreign_quant = is_packed(m) && !str_eqc(m->quant_method, "mxfp4");
    else
        m->foreign_quant = named;
}

/* Scaled 8-bit floats become F32 while they are read (hf_fix.c), mostly. */
static void loaded(struct hub_model *m, const struct filename *id)
{
    static const char *const methods[] = {"fp8", "fbgemm_fp8", "compressed-tensors"};
    struct hub_set *sets = (struct hub_set *)m->sets;
    uint64_t f8 = 0;
    m->scaled = !m->quant_method.n && !m->n_dtypes && id->dtype == DTYPE_F8_E4M3;
    for (size_t i = 0; i < m->n_dtypes; i++)
        if (str_starts(m->dtypes[i].name, S("F8_"))) f8 += m->dtypes[i].params;
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (str_eqc(m->quant_method, methods[i])) m->scaled = !m->n_dtypes || f8;
    for (size_t i = 0; i < m->n_sets; i++) {
        struct hub_set *s = &sets[i];
        uint64_t more = m->n_dtypes ? f8 : s->bytes;
        s->loaded = s->bytes;
        if (!s->bytes || !m->scaled || s->format != FILENAME_SAFETENSORS) continue;
        if (more > (UINT64_MAX - s->bytes) / 3) more = (UINT64_MAX - s->bytes) / 3;
        s->loaded += 3 * more;
    }
}

/* GPTQ and its like live in SafeTensors: only tags, config or the repository's name tell. */
static void own_format(struct hub_model *m, const struct json *v, const struct filename *id)
{
    const struct json *q = json_get(json_get(v, "config"), "quantization_config");
    const struct json *t = json_get(v, "tags");
    m->quant_method = str_sub(json_str(json_get(q, "quant_method"), S("")), 0, LIMIT_HUB_STR);
    enum filename_format f = filename_format_from(m->quant_method);
    for (size_t i = 0; !is_own(f) && t && t->type == JSON_ARR && i < t->n; i++)
        f = filename_format_from(json_str(&t->items[i], S("")));
    if (!is_own(f)) f = id->format;
    if (!is_own(f) || !(m->formats & 1u << FILENAME_SAFETENSORS)) return;
    m->formats = (m->formats & ~(1u << FILENAME_SAFETENSORS)) | 1u << f;
    struct hub_set *sets = (struct hub_set *)m->sets;
    for (size_t i = 0; i < m->n_sets; i++)
        if (sets[i].format == FILENAME_SAFETENSORS) sets[i].format = f;
}

void hub_pack(struct hub_model *m, const struct json *v, const struct filename *id)
{
    own_format(m, v, id);
    foreign(m, json_get(json_get(v, "config"), "quantization_config"), id);
    loaded(m, id);
}
