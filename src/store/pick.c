/* pick: see pick.h.
 *
 * Among several quantisations Q4_K_M is the first choice, because it is the smallest one whose
 * answers are commonly hard to tell from those of the whole model; where it is not there or does
 * not fit into memory, the nearest in bits that fits.
 */
#include "store/pick.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "model/repo.h"

/* ---- names ---- */

static bool strip(str *s, str prefix)
{
    if (!str_starts(*s, prefix)) return false;
    *s = str_sub(*s, prefix.n, s->n);
    return true;
}

/* "ORG/REPO/blob/REVISION/FILE" of the Hub's pages: what is behind ORG/REPO. */
static void page_parts(str rest, struct pick_name *out)
{
    if (!strip(&rest, S("blob/")) && !strip(&rest, S("resolve/")) && !strip(&rest, S("tree/")))
        return;
    out->revision = str_cut(rest, '/', &out->want);
    out->want = str_cut(out->want, '?', &rest);
    if (str_eqc(out->revision, "main")) out->revision = S("");
}

enum err pick_name(str text, struct pick_name *out, struct err_info *e)
{
    static const char *const hosts[] = {"hf.co/", "huggingface.co/", "www.huggingface.co/", "hf:"};
    str rest = text, org, repo, tail;

    *out = (struct pick_name){0};
    if (strip(&rest, S("https://")) || strip(&rest, S("http://")) || strip(&rest, S("hf://"))) {
    }
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++)
        if (strip(&rest, str_c(hosts[i]))) break;
    org = str_cut(rest, '/', &tail);
    repo = tail;
    for (size_t i = 0; i < tail.n && repo.n == tail.n; i++)
        if (strchr(":@/", tail.p[i])) repo = str_sub(tail, 0, i);
    out->id = (str){org.p, tail.p ? (size_t)(repo.p + repo.n - org.p) : org.n};
    rest = str_sub(tail, repo.n, tail.n);
    if (str_starts(rest, S("@"))) {
        out->revision = str_cut(str_sub(rest, 1, rest.n), ':', &out->want);
    } else if (str_starts(rest, S("/"))) {
        page_parts(str_sub(rest, 1, rest.n), out);
        if (!out->revision.p && rest.n > 1) out->id.n = 0; /* something else behind it */
    } else if (rest.n) {
        out->want = str_sub(rest, 1, rest.n);
        if (!out->want.n) out->id.n = 0;
    }
    if (repo_id_ok(out->id) && (!out->revision.n || repo_revision_ok(out->revision)) &&
        (!out->want.n || repo_path_ok(out->want)))
        return ERR_OK;
    return ERR_FAIL(e, INVALID,
                    "'%.*s' names no repository: write ORG/REPO, ORG/REPO:QUANT or ORG/REPO:FILE, "
                    "as in ggml-org/gemma-3-4b-it-GGUF:Q4_K_M",
                    STR(str_sub(text, 0, 200)));
}

/* ---- files ---- */

static bool is_weights(const struct pick_file *f, enum filename_format format)
{
    return f->name.kind == FILENAME_WEIGHTS && f->name.format == format;
}

/* One file stands for all its shards: the first. */
static bool leads(const struct pick_file *f)
{
    return is_weights(f, FILENAME_GGUF) && f->name.shard <= 1;
}

static bool same_set(const struct pick_file *a, const struct pick_file *b)
{
    return a == b || (a->name.n_shards && a->name.n_shards == b->name.n_shards &&
                      a->name.format == b->name.format && str_eq(a->name.set, b->name.set));
}

static uint64_t set_bytes(const struct pick_file *f, size_t n, const struct pick_file *lead)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < n; i++)
        if (same_set(lead, &f[i]) && bytes + f[i].bytes >= bytes) bytes += f[i].bytes;
    return bytes;
}

static str base_of(str path)
{
    for (size_t i = path.n; i > 0; i--)
        if (path.p[i - 1] == '/') return str_sub(path, i, path.n);
    return path;
}

/* "dir/x.gguf" by that name, by "x.gguf", by "x", by "x" without its shard. */
static bool is_named(const struct pick_file *f, str want)
{
    str base = base_of(f->path);

    if (str_eq(f->path, want) || str_eq(base, want)) return true;
    if (base.n > 5 && str_eq(str_sub(base, 0, base.n - 5), want)) return true;
    return str_eq(f->name.set, want) || str_eq(base_of(f->name.set), want);
}

static bool has_quant(const struct pick_file *f, str want)
{
    bool dynamic = want.n > 3 && str_ieq(str_sub(want, 0, 3), S("UD-"));
    const char *quant = filename_quant_from(dynamic ? str_sub(want, 3, want.n) : want);

    return quant && f->name.quant && strcmp(quant, f->name.quant) == 0 &&
           (!dynamic || f->name.dynamic);
}

static uint32_t distance(const struct pick_file *f)
{
    return filename_distance(f->name.centibits);
}

static const char *quant_of(const struct pick_file *f)
{
    return f->name.quant ? f->name.quant : "no quantisation in its name";
}

/* Asked for: by its name, else by its quantisation; plain before dynamic, short names first. */
static const struct pick_file *asked(const struct pick_file *f, size_t n, str want)
{
    const struct pick_file *best = NULL;

    for (size_t i = 0; i < n; i++)
        if (leads(&f[i]) && is_named(&f[i], want)) return &f[i];
    for (size_t i = 0; i < n; i++) {
        if (!leads(&f[i]) || !has_quant(&f[i], want)) continue;
        if (!best || (best->name.dynamic && !f[i].name.dynamic) ||
            (best->name.dynamic == f[i].name.dynamic && f[i].path.n < best->path.n))
            best = &f[i];
    }
    return best;
}

static const struct pick_file *nearest(const struct pick_file *f, size_t n, uint64_t memory)
{
    const struct pick_file *best = NULL;
    bool best_fits = false;

    for (size_t i = 0; i < n; i++) {
        uint64_t bytes = leads(&f[i]) ? set_bytes(f, n, &f[i]) : 0;
        bool fits = !memory || bytes <= memory, better;

        if (!leads(&f[i])) continue;
        if (best && fits != best_fits)
            better = fits;
        else if (best && !fits)
            better = bytes < set_bytes(f, n, best);
        else
            better = !best || distance(&f[i]) < distance(best) ||
                     (distance(&f[i]) == distance(best) && f[i].path.n < best->path.n);
        if (!better) continue;
        best = &f[i];
        best_fits = fits;
    }
    return best;
}

static void say_why(const struct pick_file *f, size_t n, const struct pick_file *best,
                    uint64_t memory, struct pick *out)
{
    const struct pick_file *any = nearest(f, n, 0);
    size_t sets = 0;

    for (size_t i = 0; i < n; i++)
        sets += leads(&f[i]);
    if (sets == 1)
        snprintf(out->why, sizeof out->why, "the only GGUF model there");
    else if (memory && out->bytes > memory)
        snprintf(out->why, sizeof out->why, "the smallest of %zu there", sets);
    else if (any != best)
        snprintf(out->why, sizeof out->why,
                 "of %zu there the nearest to " FILENAME_USUAL " that fits into this machine's "
                 "memory; %s would not",
                 sets, quant_of(any));
    else if (distance(best) == 0)
        snprintf(out->why, sizeof out->why, "the usual choice of %zu there", sets);
    else
        snprintf(out->why, sizeof out->why, "of %zu there the nearest to " FILENAME_USUAL, sets);
}

static enum err take_gguf(const struct pick_file *f, size_t n, const struct pick_file *lead,
                          struct pick *out, struct err_info *e)
{
    uint32_t shards = lead->name.n_shards ? lead->name.n_shards : 1;

    for (size_t i = 0; i < n; i++)
        if (&f[i] != lead && same_set(lead, &f[i])) out->files[out->n++] = (uint32_t)i;
    out->main = (uint32_t)(lead - f);
    out->files[out->n++] = out->main;
    out->bytes = set_bytes(f, n, lead);
    if (out->n == shards) return ERR_OK;
    return ERR_FAIL(e, FORMAT, "of the %u parts of %.*s there are %zu", shards,
                    STR(str_sub(lead->name.set, 0, 200)), out->n);
}

/* ---- SafeTensors ---- */

static bool in_root(const struct pick_file *f)
{
    return str_find(f->path, S("/"), 0) == SIZE_MAX;
}

/* What the loader and the tokenizer read beside the weights. */
static bool is_companion(const struct pick_file *f)
{
    static const char *const ends[] = {".json",     ".jinja",     ".model",
                                       ".tiktoken", "merges.txt", "vocab.txt"};

    if (str_eqc(f->path, "1_Pooling/config.json")) return true;
    for (size_t i = 0; in_root(f) && i < sizeof ends / sizeof *ends; i++)
        if (str_ends(f->path, str_c(ends[i]))) return true;
    return false;
}

static const struct pick_file *find(const struct pick_file *f, size_t n, const char *path)
{
    for (size_t i = 0; i < n; i++)
        if (str_eqc(f[i].path, path)) return &f[i];
    return NULL;
}

static bool is_shard(const struct pick_file *f)
{
    return in_root(f) && is_weights(f, FILENAME_SAFETENSORS) && f->name.n_shards > 0;
}

/* What the loader looks for: model.safetensors, else the parts that the index names. These are of
 * the set "model" mostly; "consolidated" are the same weights for another program. */
static str weights_set(const struct pick_file *f, size_t n)
{
    str set = {0};

    for (size_t i = 0; i < n; i++) {
        if (str_eqc(f[i].path, "model.safetensors")) return S("");
        if (!is_shard(&f[i]) || str_eqc(set, "model")) continue;
        if (str_eqc(f[i].name.set, "model") ||
            (!set.n && !str_starts(f[i].name.set, S("consolidated"))))
            set = f[i].name.set;
    }
    return set;
}

static bool take_folder(const struct pick_file *f, size_t n, struct pick *out)
{
    const struct pick_file *config = find(f, n, "config.json");
    str set = weights_set(f, n);
    size_t shards = 0;

    if (!config) return false;
    for (size_t i = 0; i < n; i++) {
        bool shard = set.n ? is_shard(&f[i]) && str_eq(f[i].name.set, set)
                           : str_eqc(f[i].path, "model.safetensors");

        shards += shard;
        if (&f[i] == config || (!shard && !is_companion(&f[i]))) continue;
        out->files[out->n++] = (uint32_t)i;
        out->bytes += f[i].bytes;
    }
    if (!shards) return false;
    out->main = (uint32_t)(config - f);
    out->files[out->n++] = out->main;
    out->bytes += config->bytes;
    out->folder = true;
    snprintf(out->why, sizeof out->why, "the repository as SafeTensors, %zu file%s of weights",
             shards, shards == 1 ? "" : "s");
    return true;
}

/* ---- the choice ---- */

static enum err not_there(const struct pick_file *f, size_t n, str want, struct err_info *e)
{
    char list[300] = "";
    size_t used = 0;

    for (size_t i = 0; i < n && used + 40 < sizeof list; i++) {
        const char *q = f[i].name.quant;

        if (!leads(&f[i]) || !q || strstr(list, q)) continue;
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%.30s", used ? ", " : "", q);
    }
    return ERR_FAIL(e, NOTFOUND, "there is no '%.*s' among the files; there %s%s",
                    STR(str_sub(want, 0, 100)), used ? "is: " : "are no GGUF files", list);
}

static enum err nothing(const struct pick_file *f, size_t n, struct err_info *e)
{
    char list[200] = "";
    size_t used = 0;
    unsigned said = 0;

    for (size_t i = 0; i < n && used + 20 < sizeof list; i++) {
        enum filename_format x = f[i].name.format;

        if (f[i].name.kind != FILENAME_WEIGHTS || (said & 1u << x)) continue;
        said |= 1u << x;
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "",
                                 filename_format_name(x));
    }
    if (!used) return ERR_FAIL(e, UNSUPPORTED, "the repository holds no weights");
    return ERR_FAIL(e, UNSUPPORTED,
                    "the repository holds %s; rbee runs GGUF files, and SafeTensors with their "
                    "config.json",
                    list);
}

enum err pick_files(const struct pick_file *f, size_t n, str want, uint64_t memory,
                    struct pick *out, struct arena *a, struct err_info *e)
{
    const struct pick_file *best;
    enum err code;

    *out = (struct pick){.files = ARENA_NEW(a, uint32_t, n ? n : 1)};
    if (!out->files) return ERR_FAIL(e, NOMEM, "no memory for a list of %zu files", n);
    if (want.n && !str_ieq(want, S("safetensors"))) {
        if (!(best = asked(f, n, want))) return not_there(f, n, want, e);
        snprintf(out->why, sizeof out->why, "as asked");
        return take_gguf(f, n, best, out, e);
    }
    if (!want.n && (best = nearest(f, n, memory))) {
        if ((code = take_gguf(f, n, best, out, e))) return code;
        say_why(f, n, best, memory, out);
        return ERR_OK;
    }
    return take_folder(f, n, out) ? ERR_OK : nothing(f, n, e);
}
