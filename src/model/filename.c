/* filename: reads names by a table of endings, a table of quantisations, and two small scanners.
 *
 * A quantisation begins after anything but a letter or digit and ends before such; of several the
 * last wins, and one that packs weights into blocks wins over a float type, because names such as
 * "f16.Q6_K" say both. The name of the folder counts where the file's own says nothing.
 *
 * Parameters are a number with B or T, else one with M; so "-1M" after "7B" is a context and not a
 * size. Left out: sizes in words, and sizes below a million.
 */
#include "model/filename.h"

#include <string.h>

/* ---- tables ---- */

static const char *const formats[FILENAME_FORMATS] = {
    [FILENAME_NONE] = "unknown",
    [FILENAME_GGUF] = "gguf",
    [FILENAME_SAFETENSORS] = "safetensors",
    [FILENAME_PYTORCH] = "pytorch",
    [FILENAME_GGML] = "ggml",
    [FILENAME_ONNX] = "onnx",
    [FILENAME_MLX] = "mlx",
    [FILENAME_GPTQ] = "gptq",
    [FILENAME_AWQ] = "awq",
    [FILENAME_EXL2] = "exl2",
    [FILENAME_EXL3] = "exl3",
    [FILENAME_BNB] = "bitsandbytes",
    [FILENAME_TFLITE] = "tflite",
    [FILENAME_COREML] = "coreml",
    [FILENAME_OPENVINO] = "openvino",
    [FILENAME_TENSORFLOW] = "tensorflow",
    [FILENAME_FLAX] = "flax",
};

static const char *const kinds[FILENAME_KINDS] = {
    [FILENAME_OTHER] = "other",         [FILENAME_WEIGHTS] = "weights",
    [FILENAME_PROJECTOR] = "projector", [FILENAME_IMATRIX] = "imatrix",
    [FILENAME_ADAPTER] = "adapter",     [FILENAME_PIECE] = "piece",
    [FILENAME_CONFIG] = "config",       [FILENAME_TOKENIZER] = "tokenizer",
    [FILENAME_TEMPLATE] = "template",   [FILENAME_INDEX] = "index",
    [FILENAME_CARD] = "card",           [FILENAME_LICENCE] = "licence",
};

#define NO              DTYPE_COUNT
#define USUAL_CENTIBITS 489 /* of FILENAME_USUAL */

/* Quantisations as names spell them, with the type of most matrices. Bits a weight of the mixes are
 * those that llama.cpp's quantize program states for an 8B Llama, tables of scales included. */
// clang-format off
static const struct quant {
    const char *name, *canonical; /* NULL: as the name */
    enum dtype dtype;
    uint32_t centibits;
} quants[] = {
    {"F32", NULL, DTYPE_F32, 3200}, {"FP32", "F32", DTYPE_F32, 3200}, {"FLOAT32", "F32", DTYPE_F32, 3200},
    {"F16", NULL, DTYPE_F16, 1600}, {"FP16", "F16", DTYPE_F16, 1600}, {"FLOAT16", "F16", DTYPE_F16, 1600},
    {"BF16", NULL, DTYPE_BF16, 1600}, {"BFLOAT16", "BF16", DTYPE_BF16, 1600},
    {"FP8", NULL, DTYPE_F8_E4M3, 800}, {"F8_E4M3", "FP8", DTYPE_F8_E4M3, 800}, {"F8_E5M2", NULL, DTYPE_F8_E5M2, 800},
    {"Q8_0", NULL, DTYPE_Q8_0, 850}, {"Q8_0_L", NULL, DTYPE_Q8_0, 860}, {"Q8_K_XL", NULL, DTYPE_Q8_0, 1030},
    {"Q8_K", NULL, DTYPE_Q8_K, 912}, {"Q8_1", NULL, DTYPE_Q8_1, 900},
    {"Q6_K", NULL, DTYPE_Q6_K, 656}, {"Q6_K_S", NULL, DTYPE_Q6_K, 656}, {"Q6_K_M", NULL, DTYPE_Q6_K, 656},
    {"Q6_K_L", NULL, DTYPE_Q6_K, 680}, {"Q6_K_XL", NULL, DTYPE_Q6_K, 720},
    {"Q5_K", NULL, DTYPE_Q5_K, 570}, {"Q5_K_S", NULL, DTYPE_Q5_K, 557}, {"Q5_K_M", NULL, DTYPE_Q5_K, 570},
    {"Q5_K_L", NULL, DTYPE_Q5_K, 600}, {"Q5_K_XL", NULL, DTYPE_Q5_K, 575},
    {"Q5_0", NULL, DTYPE_Q5_0, 560}, {"Q5_1", NULL, DTYPE_Q5_1, 600},
    {"Q4_K", NULL, DTYPE_Q4_K, 489}, {"Q4_K_S", NULL, DTYPE_Q4_K, 467}, {FILENAME_USUAL, NULL, DTYPE_Q4_K, USUAL_CENTIBITS},
    {"Q4_K_L", NULL, DTYPE_Q4_K, 520}, {"Q4_K_XL", NULL, DTYPE_Q4_K, 500},
    {"Q4_0", NULL, DTYPE_Q4_0, 466}, {"Q4_1", NULL, DTYPE_Q4_1, 512},
    {"Q4_0_4_4", NULL, NO, 466}, {"Q4_0_4_8", NULL, NO, 466}, {"Q4_0_8_8", NULL, NO, 466},
    {"Q3_K", NULL, DTYPE_Q3_K, 400}, {"Q3_K_XS", NULL, DTYPE_Q3_K, 350}, {"Q3_K_S", NULL, DTYPE_Q3_K, 364},
    {"Q3_K_M", NULL, DTYPE_Q3_K, 400}, {"Q3_K_L", NULL, DTYPE_Q3_K, 430}, {"Q3_K_XL", NULL, DTYPE_Q3_K, 430},
    {"Q2_K", NULL, DTYPE_Q2_K, 316}, {"Q2_K_S", NULL, DTYPE_Q2_K, 297}, {"Q2_K_L", NULL, DTYPE_Q2_K, 340},
    {"Q2_K_XL", NULL, DTYPE_Q2_K, 330},
    {"IQ4_XS", NULL, DTYPE_IQ4_XS, 446}, {"IQ4_NL", NULL, DTYPE_IQ4_NL, 468},
    {"IQ3_M", NULL, DTYPE_IQ3_S, 376}, {"IQ3_S", NULL, DTYPE_IQ3_S, 366}, {"IQ3_XS", NULL, DTYPE_IQ3_S, 350},
    {"IQ3_XXS", NULL, DTYPE_IQ3_XXS, 325},
    {"IQ2_M", NULL, DTYPE_IQ2_S, 293}, {"IQ2_S", NULL, DTYPE_IQ2_S, 274}, {"IQ2_XS", NULL, DTYPE_IQ2_XS, 259},
    {"IQ2_XXS", NULL, DTYPE_IQ2_XXS, 238},
    {"IQ1_M", NULL, DTYPE_IQ1_M, 215}, {"IQ1_S", NULL, DTYPE_IQ1_S, 200},
    {"TQ1_0", NULL, DTYPE_TQ1_0, 169}, {"TQ2_0", NULL, DTYPE_TQ2_0, 206},
    {"Q1_0", NULL, DTYPE_Q1_0, 113}, {"Q2_0", NULL, DTYPE_Q2_0, 225},
    {"MXFP4", NULL, DTYPE_MXFP4, 425}, {"MXFP4_MOE", NULL, DTYPE_MXFP4, 425}, {"NVFP4", NULL, DTYPE_NVFP4, 450},
    /* types of other programs: known by name, run by none here */
    {"Q6_0", NULL, NO, 650}, {"I2_S", NULL, NO, 200}, {"IQ2_KS", NULL, NO, 219}, {"IQ2_K", NULL, NO, 238},
    {"IQ2_KL", NULL, NO, 269}, {"IQ3_KS", NULL, NO, 319}, {"IQ3_K", NULL, NO, 344}, {"IQ4_KSS", NULL, NO, 400},
    {"IQ4_KS", NULL, NO, 425}, {"IQ4_K", NULL, NO, 450}, {"IQ5_KS", NULL, NO, 525}, {"IQ5_K", NULL, NO, 550},
    {"IQ6_K", NULL, NO, 663}, {"IQ1_KT", NULL, NO, 175}, {"IQ2_KT", NULL, NO, 213}, {"IQ3_KT", NULL, NO, 313},
    {"IQ4_KT", NULL, NO, 400},
    {"INT8", NULL, NO, 800}, {"INT4", NULL, NO, 400}, {"FP4", NULL, NO, 400}, {"NF4", NULL, NO, 450},
    {"W4A16", NULL, NO, 425}, {"W8A16", NULL, NO, 825}, {"W8A8", NULL, NO, 800},
    {"8BIT", NULL, NO, 800}, {"6BIT", NULL, NO, 600}, {"5BIT", NULL, NO, 500}, {"4BIT", NULL, NO, 400},
    {"8BITS", "8BIT", NO, 800}, {"4BITS", "4BIT", NO, 400},
    {"3BIT", NULL, NO, 300}, {"2BIT", NULL, NO, 200}, {"8_BIT", "8BIT", NO, 800}, {"4_BIT", "4BIT", NO, 400},
    {"Q8", NULL, NO, 850}, {"Q6", NULL, NO, 656}, {"Q5", NULL, NO, 570}, {"Q4", NULL, NO, 489},
    {"Q3", NULL, NO, 400}, {"Q2", NULL, NO, 316},
};

/* Endings, longest first where one ends another. */
static const struct ending {
    const char *text;
    enum filename_format format;
    enum filename_kind kind;
} endings[] = {
    {".gguf", FILENAME_GGUF, FILENAME_WEIGHTS},
    {".safetensors.index.json", FILENAME_SAFETENSORS, FILENAME_INDEX},
    {".bin.index.json", FILENAME_PYTORCH, FILENAME_INDEX},
    {".safetensors", FILENAME_SAFETENSORS, FILENAME_WEIGHTS},
    {".onnx", FILENAME_ONNX, FILENAME_WEIGHTS}, {".onnx_data", FILENAME_ONNX, FILENAME_WEIGHTS},
    {".onnx.data", FILENAME_ONNX, FILENAME_WEIGHTS},
    {".bin", FILENAME_PYTORCH, FILENAME_WEIGHTS}, {".pt", FILENAME_PYTORCH, FILENAME_WEIGHTS},
    {".pth", FILENAME_PYTORCH, FILENAME_WEIGHTS}, {".ckpt", FILENAME_PYTORCH, FILENAME_WEIGHTS},
    {".ggml", FILENAME_GGML, FILENAME_WEIGHTS}, {".npz", FILENAME_MLX, FILENAME_WEIGHTS},
    {".tflite", FILENAME_TFLITE, FILENAME_WEIGHTS}, {".litertlm", FILENAME_TFLITE, FILENAME_WEIGHTS},
    {".task", FILENAME_TFLITE, FILENAME_WEIGHTS},
    {".mlmodel", FILENAME_COREML, FILENAME_WEIGHTS},
    {".h5", FILENAME_TENSORFLOW, FILENAME_WEIGHTS}, {".pb", FILENAME_TENSORFLOW, FILENAME_WEIGHTS},
    {".msgpack", FILENAME_FLAX, FILENAME_WEIGHTS},
};

/* Whole names, folders left off. */
static const struct ending wholes[] = {
    {"config.json", FILENAME_NONE, FILENAME_CONFIG}, {"generation_config.json", FILENAME_NONE, FILENAME_CONFIG},
    {"params.json", FILENAME_NONE, FILENAME_CONFIG},
    {"tokenizer.json", FILENAME_NONE, FILENAME_TOKENIZER}, {"tokenizer.model", FILENAME_NONE, FILENAME_TOKENIZER},
    {"tokenizer_config.json", FILENAME_NONE, FILENAME_TOKENIZER}, {"vocab.json", FILENAME_NONE, FILENAME_TOKENIZER},
    {"vocab.txt", FILENAME_NONE, FILENAME_TOKENIZER}, {"merges.txt", FILENAME_NONE, FILENAME_TOKENIZER},
    {"special_tokens_map.json", FILENAME_NONE, FILENAME_TOKENIZER}, {"added_tokens.json", FILENAME_NONE, FILENAME_TOKENIZER},
    {"spiece.model", FILENAME_NONE, FILENAME_TOKENIZER}, {"tekken.json", FILENAME_NONE, FILENAME_TOKENIZER},
    {"chat_template.jinja", FILENAME_NONE, FILENAME_TEMPLATE}, {"chat_template.json", FILENAME_NONE, FILENAME_TEMPLATE},
    {"README.md", FILENAME_NONE, FILENAME_CARD}, {"MODEL_CARD.md", FILENAME_NONE, FILENAME_CARD},
    {"LICENSE", FILENAME_NONE, FILENAME_LICENCE}, {"LICENSE.txt", FILENAME_NONE, FILENAME_LICENCE},
    {"LICENSE.md", FILENAME_NONE, FILENAME_LICENCE}, {"LICENCE", FILENAME_NONE, FILENAME_LICENCE},
    {"training_args.bin", FILENAME_NONE, FILENAME_OTHER}, {"optimizer.bin", FILENAME_NONE, FILENAME_OTHER},
    {"optimizer.pt", FILENAME_NONE, FILENAME_OTHER}, {"scheduler.pt", FILENAME_NONE, FILENAME_OTHER},
    {"scheduler.bin", FILENAME_NONE, FILENAME_OTHER}, {"rng_state.pth", FILENAME_NONE, FILENAME_OTHER},
};

/* Words anywhere that name a format of their own inside SafeTensors or a folder. */
static const struct word {
    const char *text;
    enum filename_format format;
} words[] = {
    {"gguf", FILENAME_GGUF}, {"gptq", FILENAME_GPTQ}, {"awq", FILENAME_AWQ}, {"exl2", FILENAME_EXL2},
    {"exl3", FILENAME_EXL3}, {"mlx", FILENAME_MLX}, {"bnb", FILENAME_BNB}, {"onnx", FILENAME_ONNX},
    {"ggml", FILENAME_GGML}, {"openvino", FILENAME_OPENVINO}, {"coreml", FILENAME_COREML},
    {"tflite", FILENAME_TFLITE}, {"litert", FILENAME_TFLITE},
};
// clang-format on

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* ---- characters ---- */

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

static char upper(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

static bool letter(char c)
{
    c = upper(c);
    return c >= 'A' && c <= 'Z';
}

static bool alnum(char c)
{
    return digit(c) || letter(c);
}

static char at(str s, size_t i)
{
    return i < s.n ? s.p[i] : 0;
}

static bool begins_at(str s, size_t i)
{
    return i == 0 || !alnum(s.p[i - 1]);
}

static bool ends_with(str s, const char *end)
{
    size_t n = strlen(end);
    return s.n >= n && str_ieq(str_sub(s, s.n - n, n), str_c(end));
}

/* Where a word stands by itself, or SIZE_MAX. A digit may follow: "ggmlv3", "litert2". */
static size_t find_word(str s, const char *word)
{
    size_t n = strlen(word);
    const char first = upper(word[0]);
    for (size_t i = 0; i + n <= s.n; i++) {
        if (upper(s.p[i]) != first) continue;
        char after = at(s, i + n);
        if (begins_at(s, i) && str_ieq(str_sub(s, i, n), str_c(word)) &&
            (!letter(after) || upper(after) == 'V'))
            return i;
    }
    return SIZE_MAX;
}

/* ---- quantisation ---- */

/* Characters of s from i on that spell the name, whole; 0: they do not. */
static size_t spelled(str s, size_t i, const char *name)
{
    size_t from = i;
    for (const char *p = name; *p; p++) {
        char c = at(s, i);
        if (*p == '_') {
            if (c == '_' || c == '-' || c == '.')
                i++;
            else if (!letter(p[1]))
                return 0;
        } else if (upper(c) == *p) {
            i++;
        } else {
            return 0;
        }
    }
    return alnum(at(s, i)) ? 0 : i - from;
}

static const struct quant *quant_at(str s, size_t i, size_t *len)
{
    const struct quant *best = NULL;
    *len = 0;
    const char first = upper(at(s, i));
    for (size_t k = 0; k < COUNT(quants); k++) {
        if (quants[k].name[0] != first) continue;
        size_t n = spelled(s, i, quants[k].name);
        if (n > *len) {
            *len = n;
            best = &quants[k];
        }
    }
    return best;
}

static bool plain_float(const struct quant *q)
{
    return q->dtype == DTYPE_F32 || q->dtype == DTYPE_F16 || q->dtype == DTYPE_BF16;
}

/* How much a find is worth: one that names a type beats a vague one ("Q4"), blocks beat floats. */
static int rank(const struct quant *q)
{
    return q->dtype != NO && !plain_float(q) ? 3
           : strchr(q->name, '_')            ? 2
           : plain_float(q)                  ? 1
                                             : 0;
}

static const struct quant *quant_in(str s, size_t *where)
{
    const struct quant *found = NULL;
    for (size_t i = 0; i < s.n; i++) {
        size_t len;
        const struct quant *q;
        if (!begins_at(s, i) || !(q = quant_at(s, i, &len))) continue;
        if (!found || rank(q) >= rank(found)) {
            found = q;
            *where = i;
        }
        i += len - 1;
    }
    /* Stuck to a word: "DevstralQ4_K_M". */
    for (size_t i = 0; !found && i < s.n; i++) {
        size_t len;
        const struct quant *q = upper(s.p[i]) == 'Q' ? quant_at(s, i, &len) : NULL;
        if (q && strchr(q->name, '_')) {
            found = q;
            *where = i;
        }
    }
    return found;
}

static void set_quant(struct filename *f, str name, const struct quant *q, size_t where)
{
    f->quant = q->canonical ? q->canonical : q->name;
    f->dtype = q->dtype;
    f->centibits = q->centibits;
    f->dynamic = where >= 3 && str_ieq(str_sub(name, where - 3, 2), S("UD"));
}

const char *filename_quant_from(str name)
{
    size_t len;
    const struct quant *q = name.n ? quant_at(name, 0, &len) : NULL;
    if (!q || len != name.n) return NULL;
    return q->canonical ? q->canonical : q->name;
}

const char *filename_quant_at(size_t i, enum dtype *dtype)
{
    for (size_t k = 0; k < sizeof quants / sizeof *quants; k++) {
        if (quants[k].canonical || i--) continue;
        *dtype = quants[k].dtype;
        return quants[k].name;
    }
    return NULL;
}

/* ---- numbers ---- */

struct number {
    double value;
    size_t end;
};

/* A decimal number at i: "7", "1.5", "1_5" before a unit. */
static struct number number_at(str s, size_t i)
{
    struct number n = {0, i};
    double place = 0.1;
    while (digit(at(s, n.end)) && n.end - i < 6)
        n.value = n.value * 10 + (s.p[n.end++] - '0');
    char c = at(s, n.end);
    if (n.end == i || (c != '.' && c != '_') || !digit(at(s, n.end + 1))) return n;
    struct number whole = n;
    for (n.end++; digit(at(s, n.end)) && n.end - i < 10; place /= 10)
        n.value += place * (s.p[n.end++] - '0');
    /* "2.5-7B": 2.5 is a version. */
    return letter(at(s, n.end)) ? n : whole;
}

/* The factor of a unit that ends a size at i, and how long it is; "7b1" is 7.1 B. */
static double unit_at(str s, struct number *n)
{
    char u = upper(at(s, n->end));
    double unit = u == 'B' ? 1e9 : u == 'T' ? 1e12 : u == 'M' ? 1e6 : 0;
    if (unit == 0) return 0;
    n->end++;
    if (digit(at(s, n->end)) && !alnum(at(s, n->end + 1))) n->value += 0.1 * (s.p[n->end++] - '0');
    return alnum(at(s, n->end)) ? 0 : unit;
}

static uint64_t size_at(str s, size_t i, size_t *end, bool *million)
{
    struct number n = number_at(s, i);
    if (n.end == i) return 0;
    double unit = unit_at(s, &n);
    double v = n.value * unit + 0.5;
    *end = n.end;
    *million = unit == 1e6;
    return v >= 1e6 && v < 1e14 ? (uint64_t)v : 0;
}

/* "8x7B" and "16x1.5B": experts times size. */
static bool experts_at(str s, size_t i, struct filename *f)
{
    struct number n = number_at(s, i);
    bool million;
    size_t end;
    if (n.end == i || upper(at(s, n.end)) != 'X' || n.value < 2 || n.value > 1024) return false;
    uint64_t each = size_at(s, n.end + 1, &end, &million);
    if (!each) return false;
    f->n_expert = (uint32_t)n.value;
    f->params = each * f->n_expert;
    return true;
}

/* "17B-128E": the size is what one token uses. */
static bool of_experts(str s, size_t i, struct filename *f)
{
    struct number n = at(s, i) == '-' ? number_at(s, i + 1) : (struct number){0, i};
    if (n.end <= i + 1 || upper(at(s, n.end)) != 'E' || alnum(at(s, n.end + 1)) || n.value > 1024)
        return false;
    f->n_expert = (uint32_t)n.value;
    return true;
}

static void sizes(struct filename *f, str s)
{
    uint64_t millions = 0;
    for (size_t i = 0; i < s.n; i++) {
        bool million;
        size_t end;
        char c = upper(s.p[i]);
        if (!begins_at(s, i) || (i >= 2 && s.p[i - 1] == '.' && digit(s.p[i - 2]))) continue;
        if (c == 'A' && f->params && !f->params_active) /* "30B-A3B" */
            f->params_active = size_at(s, i + 1, &end, &million);
        if (f->params || f->params_active) continue;
        if (digit(c) && experts_at(s, i, f)) continue;
        uint64_t v = digit(c)                          ? size_at(s, i, &end, &million)
                     : c == 'E' && digit(at(s, i + 1)) ? size_at(s, i + 1, &end, &million)
                                                       : 0; /* "E4B" */
        if (!v) continue;
        if (million)
            millions = millions ? millions : v;
        else if (of_experts(s, end, f))
            f->params_active = v;
        else
            f->params = v;
    }
    if (!f->params && !f->params_active) f->params = millions;
}

/* ---- shards ---- */

/* Cuts "-00001-of-00003" off the end of a stem. */
static bool cut_shard(str *stem, uint32_t *shard, uint32_t *n_shards)
{
    size_t i = stem->n, j;
    int64_t a, b;
    while (i && digit(stem->p[i - 1]))
        i--;
    if (i == stem->n || i < 5 || !str_ieq(str_sub(*stem, i - 4, 4), S("-of-"))) return false;
    j = i - 4;
    while (j && digit(stem->p[j - 1]))
        j--;
    if (j == i - 4 || j == 0 || (stem->p[j - 1] != '-' && stem->p[j - 1] != '.')) return false;
    if (!str_int(str_sub(*stem, j, i - 4 - j), &a) || !str_int(str_sub(*stem, i, stem->n - i), &b))
        return false;
    if (a < 1 || b < 1 || a > b || b > 99999) return false;
    *shard = (uint32_t)a;
    *n_shards = (uint32_t)b;
    stem->n = j - 1;
    return true;
}

/* "x.gguf.part1of2", "x.gguf-split-a": bytes of a file, not a file. */
static bool is_piece(str base)
{
    size_t i = str_find(base, S(".gguf"), 0);
    return i != SIZE_MAX && i + 6 < base.n && (base.p[i + 5] == '.' || base.p[i + 5] == '-');
}

/* ---- the whole ---- */

static str base_of(str name)
{
    size_t i = name.n;
    while (i && name.p[i - 1] != '/')
        i--;
    return str_sub(name, i, name.n - i);
}

static void by_ending(struct filename *f, str base)
{
    for (size_t i = 0; i < COUNT(wholes); i++) {
        if (!str_ieq(base, str_c(wholes[i].text))) continue;
        f->kind = wholes[i].kind;
        return;
    }
    for (size_t i = 0; i < COUNT(endings); i++) {
        if (!ends_with(base, endings[i].text)) continue;
        f->format = endings[i].format;
        f->kind = endings[i].kind;
        f->set.n -= strlen(endings[i].text);
        return;
    }
    if (is_piece(base)) {
        f->format = FILENAME_GGUF;
        f->kind = FILENAME_PIECE;
    }
}

/* GGUF files beside a model that makes sound or images. */
static bool is_part(str base)
{
    static const char *const parts[] = {"vae", "tokenizer", "vocoder"};
    for (size_t i = 0; i < COUNT(parts); i++)
        if (find_word(base, parts[i]) != SIZE_MAX) return true;
    return false;
}

/* What the ending leaves open. */
static void by_words(struct filename *f, str name, str base)
{
    if (f->format == FILENAME_NONE && f->kind == FILENAME_OTHER) {
        for (size_t i = 0; i < COUNT(words) && !f->format; i++)
            if (find_word(base, words[i].text) != SIZE_MAX) f->format = words[i].format;
        return;
    }
    if (f->kind != FILENAME_WEIGHTS) return;
    if (find_word(base, "mmproj") != SIZE_MAX)
        f->kind = FILENAME_PROJECTOR;
    else if (find_word(base, "imatrix") == 0 || ends_with(f->set, "imatrix") ||
             ends_with(f->set, "imatrix_unsloth"))
        f->kind = FILENAME_IMATRIX;
    else if (str_starts(base, S("adapter_model")) || str_ieq(base, S("lora.gguf")))
        f->kind = FILENAME_ADAPTER;
    else if (str_starts(base, S("mtp-")))
        f->kind = FILENAME_ADAPTER; /* what predicts tokens ahead, without the model */
    else if (f->format == FILENAME_GGUF && is_part(base))
        f->kind = FILENAME_OTHER;
    if (f->format == FILENAME_PYTORCH && str_starts(base, S("openvino_")))
        f->format = FILENAME_OPENVINO;
    else if (f->format == FILENAME_PYTORCH && find_word(base, "ggml") != SIZE_MAX)
        f->format = FILENAME_GGML;
    else if (str_find(name, S(".mlpackage/"), 0) != SIZE_MAX ||
             str_find(name, S(".mlmodelc/"), 0) != SIZE_MAX)
        f->format = FILENAME_COREML;
    for (size_t i = 0; f->format == FILENAME_SAFETENSORS && i < COUNT(words); i++) {
        bool own = words[i].format >= FILENAME_MLX && words[i].format <= FILENAME_BNB;
        if (own && find_word(base, words[i].text) != SIZE_MAX) f->format = words[i].format;
    }
}

void filename_parse(struct filename *f, str name)
{
    str base = base_of(name), own;
    const struct quant *q;
    size_t where = 0;

    *f = (struct filename){.dtype = NO, .set = name};
    by_ending(f, base);
    by_words(f, name, base);
    if (f->kind != FILENAME_OTHER || f->format != FILENAME_NONE)
        (void)cut_shard(&f->set, &f->shard, &f->n_shards);
    own = base_of(f->set);
    if ((q = quant_in(own, &where)))
        set_quant(f, own, q, where);
    else if ((q = quant_in(f->set, &where)))
        set_quant(f, f->set, q, where);
    sizes(f, own);
    if (!f->params && !f->params_active && own.n < f->set.n) sizes(f, f->set);
}

const char *filename_format_name(enum filename_format f)
{
    return formats[f];
}

const char *filename_kind_name(enum filename_kind k)
{
    return kinds[k];
}

enum filename_format filename_format_from(str name)
{
    for (int i = 1; i < FILENAME_FORMATS; i++)
        if (str_ieq(name, str_c(formats[i]))) return (enum filename_format)i;
    return FILENAME_NONE;
}

uint32_t filename_distance(uint32_t centibits)
{
    if (!centibits) return UINT32_MAX;
    return centibits > USUAL_CENTIBITS ? centibits - USUAL_CENTIBITS : USUAL_CENTIBITS - centibits;
}
