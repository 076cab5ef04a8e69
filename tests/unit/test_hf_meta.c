/* config.json alone against the directory it lies in: the plan of what a model of the class always
 * has takes the memory that the plan of the real tensors takes. And what else the small files say.
 */
#include <dirent.h>

#include "base/json.h"
#include "base/limits.h"
#include "base/map.h"
#include "base/mem.h"
#include "model/hf_meta.h"
#include "model/memory.h"
#include "model/meta.h"
#include "model/source.h"
#include "tap.h"

static struct arena arena;
static struct err_info err;

static str read_text(const char *dir, const char *name)
{
    char path[1024], *text;
    struct stat st;
    size_t n;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (stat(path, &st) || map_read_file(path, MIB(16), &text, &n, &err)) return (str){0};
    str kept = arena_str(&arena, (str){text, n});
    mem_free(text);
    return kept;
}

static bool shape_of(struct memory_shape *s, struct meta *m, const struct gguf *g)
{
    struct plan_source src = gguf_source(g);
    struct plan p;
    if (meta_from_gguf(m, &arena, g, &err)) return false;
    struct plan_conf pc = {.want = plan_want_of(m)};
    if (plan_build(&p, &arena, m, &src, &pc, &err)) return false;
    memory_shape_of(s, &p);
    return true;
}

static bool about(uint32_t a, uint32_t b)
{
    return a == b || fabs((double)a / b - 1) < 0.02;
}

static bool same(const struct memory_shape *a, const struct memory_shape *b)
{
    bool products = true;
    for (int i = 0; i < MEMORY_PRODUCTS; i++)
        products = products && !memcmp(&a->product[i], &b->product[i], sizeof a->product[i]);
    return a->k_cols == b->k_cols && a->v_cols == b->v_cols && a->k_max == b->k_max &&
           a->k_unit == b->k_unit && a->v_unit == b->v_unit && a->states == b->states &&
           a->n_ctx_train == b->n_ctx_train && a->n_ctx_learned == b->n_ctx_learned &&
           about(a->row_cols, b->row_cols) && a->result_cols == b->result_cols &&
           a->out_cols == b->out_cols && products && a->whole == b->whole;
}

static void one_directory(const char *dir, const char *name)
{
    struct hf_meta_files f = {.config = read_text(dir, "config.json"),
                              .tokenizer_config = read_text(dir, "tokenizer_config.json"),
                              .generation_config = read_text(dir, "generation_config.json"),
                              .chat_template = read_text(dir, "chat_template.jinja"),
                              .pooling = read_text(dir, "1_Pooling/config.json")};
    struct gguf whole, alone;
    struct memory_shape a, b;
    struct meta ma, mb;
    if (!f.config.n) return;
    if (source_open(&whole, dir, &err)) {
        bool refused = hf_meta_open(&alone, &f, &err) != ERR_OK;
        ok(refused, "%s: refused, as the directory is", name);
        if (!refused) hf_meta_close(&alone);
        return;
    }
    if (hf_meta_open(&alone, &f, &err)) {
        ok(false, "%s: %s", name, err.text);
        gguf_close(&whole);
        return;
    }
    bool good = shape_of(&a, &ma, &whole);
    if (!good || !shape_of(&b, &mb, &alone)) {
        ok(false, "%s: %s", name, err.text);
    } else {
        double params = (double)mb.n_params / (double)ma.n_params;
        good = same(&a, &b) && fabs(params - 1) < 0.03 && ma.main_dtype == mb.main_dtype;
        if (!ok(good, "%s: as the directory", name)) {
            printf("#   %.3f of the parameters, %s, %s\n", params, dtype_info(ma.main_dtype)->name,
                   dtype_info(mb.main_dtype)->name);
            buf out = {.cap = MIB(1)};
            struct jsonw w;
            jsonw_init(&w, &out);
            memory_shape_write(&a, &w);
            buf_c(&out, "\n#   ");
            memory_shape_write(&b, &w);
            printf("#   %.*s\n", STR(buf_view(&out)));
            buf_fini(&out);
        }
    }
    gguf_close(&whole);
    hf_meta_close(&alone);
}

static void test_goldens(void)
{
    const char *shared = tap_data("golden");
    char root[1024], dir[2100];
    DIR *d = shared ? opendir(shared) : NULL;
    struct dirent *x;
    if (!d) {
        skip("no ../shared/data/golden");
        return;
    }
    snprintf(root, sizeof root, "%s", shared);
    while ((x = readdir(d))) {
        if (x->d_name[0] == '.') continue;
        snprintf(dir, sizeof dir, "%s/%s/hf", root, x->d_name);
        one_directory(dir, x->d_name);
    }
    closedir(d);
}

/* Numbers of real models: how many parameters they have is known, so is what a position takes. */
static void one_config(const struct json *x)
{
    const struct json *config = json_get(x, "config");
    str name = json_str(json_get(x, "name"), S(""));
    struct hf_meta_files f;
    struct memory_shape shape;
    struct gguf g;
    struct meta m;
    struct jsonw w;
    buf text = {.cap = MIB(1)};
    jsonw_init(&w, &text);
    jsonw_value(&w, config);
    f = (struct hf_meta_files){.config = buf_view(&text)};
    if (hf_meta_open(&g, &f, &err)) {
        ok(false, "%.*s: %s", STR(name), err.text);
    } else {
        bool good = shape_of(&shape, &m, &g);
        double want = json_num(json_get(x, "millions"), 0), got = (double)m.n_params / 1e6;
        good = good && str_eqc(json_str(json_get(x, "family"), S("")), m.family->name) &&
               fabs(got / want - 1) < 0.005 && shape.k_cols == json_num(json_get(x, "keys"), -1) &&
               shape.v_cols == json_num(json_get(x, "values"), -1);
        if (!ok(good, "%.*s: its parameters and its cache", STR(name)))
            printf("#   %s, %.1f million of %.0f, %u and %u columns\n", m.family->name, got, want,
                   shape.k_cols, shape.v_cols);
        hf_meta_close(&g);
    }
    buf_fini(&text);
}

static void test_configs(void)
{
    str text = read_text(RBEE_SOURCE_DIR "/tests/golden/verdicts", "configs.json");
    const struct json *list;
    if (json_parse(&arena, text, &list, &err)) {
        ok(false, "configs.json: %s", err.text);
        return;
    }
    for (size_t i = 0; i < list->n; i++)
        one_config(&list->items[i]);
}

int main(void)
{
    arena_init(&arena, GIB(1));
    test_goldens();
    test_configs();
    arena_fini(&arena);
    return tap_end();
}
