/* verdict_config: the verdict on SafeTensors by config.json and what lies beside it. The keys are
 * read and the plan is built as those of a directory are; what the weights would say is taken from
 * the class (hf_meta.h). */
#include "base/limits.h"
#include "model/hf_class.h"
#include "model/verdict_int.h"

/* Why hf_meta_open() refused, of the reasons that have a word. */
static enum judge_why why_of(struct arena *a, str config, enum err err)
{
    const struct json *v, *classes, *q;
    struct err_info e;
    str cls;
    if (json_parse(a, config, &v, &e)) return JUDGE_HEADER;
    classes = json_get(v, "architectures");
    q = json_get(v, "quantization_config");
    cls = json_str(classes && classes->type == JSON_ARR && classes->n ? &classes->items[0] : NULL,
                   S(""));
    if (!cls.n) return JUDGE_NO_ARCH;
    if (!hf_arch_of(cls)) return hub_family(cls) ? JUDGE_HF_CLASS : JUDGE_FAMILY;
    if (q && !hf_meta_reads(json_str(json_get(q, "quant_method"), S(""))))
        return JUDGE_FOREIGN_QUANT;
    return err == ERR_UNSUPPORTED ? JUDGE_FAMILY : JUDGE_HEADER;
}

void verdict_config(struct verdict *v, struct arena *a, const struct hf_meta_files *f,
                    uint64_t bytes, const struct caps *c, const struct verdict_device *d,
                    const struct verdict_ask *ask)
{
    struct verdict_basis basis = {.bytes = bytes, .config = true};
    struct err_info e = {0};
    struct gguf g;
    enum err err = hf_meta_open(&g, f, &e);
    if (err) {
        *v = (struct verdict){.why = why_of(a, f->config, err),
                              .fit_kv = DTYPE_COUNT,
                              .format = FILENAME_SAFETENSORS,
                              .n_ctx = ask->n_ctx,
                              .n_slots = ask->n_slots};
        REFUSE(v, a, "%s", e.text);
        return;
    }
    verdict_of(v, a, &g, &basis, c, d, ask);
    /* These are views of what goes with the header. */
    v->arch = arena_str(a, v->arch);
    v->quant = arena_str(a, v->quant);
    hf_meta_close(&g);
}
