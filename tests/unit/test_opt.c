/* test_opt: parsing, precedence of the sources, messages, and the help text. */
#include <stddef.h>

#include "tap.h"

#include "base/opt.h"

struct run {
    int64_t max_tokens, size, wait;
    double temp;
    const char *system, *kv, *model;
    bool raw, verbose, color;
    struct opt_list stop, rest;
};

#define AT(f) .at = offsetof(struct run, f)

static const struct opt opts[] = {
    {.flag = "max-tokens",
     .letter = 'n',
     .type = OPT_INT,
     AT(max_tokens),
     .arg = "N",
     .dflt = "256",
     .min = -1,
     .max = 100000,
     .env = "RBEE_TEST_MAX",
     .key = "max_tokens",
     .help = "Stop after this many tokens."},
    {.flag = "temperature",
     .letter = 't',
     .type = OPT_NUM,
     AT(temp),
     .arg = "T",
     .dflt = "0.8",
     .min = 0,
     .max = 2,
     .help = "How freely words are chosen; 0 always takes the likeliest one."},
    {.flag = "system", .type = OPT_STR, AT(system), .arg = "TEXT", .help = "Put this first."},
    {.flag = "kv-type",
     .type = OPT_ENUM,
     AT(kv),
     .arg = "TYPE",
     .dflt = "f16",
     .choices = "f32|f16",
     .env = "RBEE_TEST_KV",
     .help = "Type of the cache."},
    {.flag = "memory",
     .type = OPT_SIZE,
     AT(size),
     .arg = "SIZE",
     .min = 1024,
     .max = 0x1p40,
     .help = "Use at most this much memory."},
    {.flag = "keep-alive",
     .type = OPT_TIME,
     AT(wait),
     .arg = "TIME",
     .dflt = "5m",
     .help = "Keep the model loaded for this long."},
    {.flag = "stop", .type = OPT_LIST, AT(stop), .arg = "TEXT", .help = "End at this text."},
    {.flag = "raw", .letter = 'r', .type = OPT_BOOL, AT(raw), .help = "No template."},
    {.flag = "verbose", .letter = 'v', .type = OPT_BOOL, AT(verbose), .help = "Say more."},
    {.flag = "color", .type = OPT_BOOL, AT(color), .dflt = "true", .help = "Use colours."},
    {.flag = NULL},
};
static const struct opt_pos pos[] = {
    {.name = "MODEL", AT(model), .required = true, .help = "A file or a name."},
    {.name = "PROMPT",
     AT(rest),
     .rest = true,
     .help = "What to ask; read from standard input if absent."},
    {.name = NULL},
};

static const char *config(const char *key, void *owner)
{
    return strcmp(key, "max_tokens") == 0 ? owner : NULL;
}

static struct opt_spec spec = {.opts = opts,
                               .pos = pos,
                               .command = "rbee run",
                               .summary = "Ask a model.",
                               .config = config,
                               .details = "Options may stand anywhere.\n\n  verbatim   line",
                               .examples = "rbee run tiny.gguf hello\nrbee run tiny.gguf -n 5\n"};
static struct run r;
static struct err_info e;
static bool help;

/* Arguments are separated by '|'. */
static enum err run(const char *args)
{
    static char copy[512];
    char *argv[40] = {(char *)"run"};
    int n = 1;

    memset(&r, 0xEE, sizeof r);
    snprintf(copy, sizeof copy, "%s", args);
    for (char *p = copy; *args && p; n++) {
        argv[n] = p;
        p = strchr(p, '|');
        if (p) *p++ = 0;
    }
    return opt_parse(&spec, n, argv, &r, &help, &e);
}

static void test_values(void)
{
    ok(run("m") == ERR_OK && !help, "defaults");
    is_int(r.max_tokens, 256, "default integer");
    ok(r.temp == 0.8, "default number");
    ok(!r.system && r.size == 0 && !r.raw && r.color, "zero without default");
    is_str(str_c(r.kv), S("f16"), "default choice");
    is_int(r.wait, 300000, "default time");
    is_int(r.stop.n + r.rest.n, 0, "empty lists");

    ok(run("-n5|m|--temperature=1.5|hello|--system|be brief|-vr|world") == ERR_OK, "mixed order");
    ok(r.max_tokens == 5 && r.temp == 1.5 && r.verbose && r.raw, "values");
    is_str(str_c(r.system), S("be brief"), "text");
    is_str(str_c(r.model), S("m"), "positional");
    ok(r.rest.n == 2 && strcmp(r.rest.v[1], "world") == 0, "the rest");

    ok(run("-n|-1|m|-5") == ERR_OK && r.max_tokens == -1 && r.rest.n == 1, "negative numbers");
    ok(run("m|--|-n|--raw") == ERR_OK && r.rest.n == 2 && !r.raw, "-- ends the options");
    ok(run("--no-color|m|-") == ERR_OK && !r.color && r.rest.n == 1, "--no-flag, lone dash");
    ok(run("--raw=false|m") == ERR_OK && !r.raw, "--flag=false");
    ok(run("--stop|a|--stop=b|m|--stop=") == ERR_OK && r.stop.n == 3, "list");
    ok(run("-rn7|m") == ERR_OK && r.raw && r.max_tokens == 7, "bundle with a value");
    ok(run("-n1|-n2|m") == ERR_OK && r.max_tokens == 2, "the last one wins");
    ok(run("--system=--raw|m") == ERR_OK && !r.raw, "= takes anything");
    ok(run("--system|--unheard-of|m") == ERR_OK, "a value may begin with dashes");

    static const struct {
        const char *args;
        int64_t want;
    } sizes[] = {{"--memory=2G|m", 2147483648},
                 {"--memory=1.5m|m", 1572864},
                 {"--memory=4096|m", 4096},
                 {"--memory=8KiB|m", 8192}};
    for (int i = 0; i < 4; i++)
        ok(run(sizes[i].args) == ERR_OK && r.size == sizes[i].want, "size");
    static const struct {
        const char *args;
        int64_t want;
    } times[] = {{"--keep-alive=500ms|m", 500},
                 {"--keep-alive=10|m", 10000},
                 {"--keep-alive|-1|m", -1},
                 {"--keep-alive=1.5h|m", 5400000}};
    for (int i = 0; i < 4; i++)
        ok(run(times[i].args) == ERR_OK && r.wait == times[i].want, "time");
}

static void test_sources(void)
{
    spec.config_owner = (char *)"77";
    ok(run("m") == ERR_OK && r.max_tokens == 77, "file over default");
    setenv("RBEE_TEST_MAX", "88", 1);
    ok(run("m") == ERR_OK && r.max_tokens == 88, "environment over file");
    ok(run("m|-n9") == ERR_OK && r.max_tokens == 9, "flag over environment");
    setenv("RBEE_TEST_MAX", "x", 1);
    ok(run("m") == ERR_INVALID, "environment is checked");
    is_str(str_c(e.text), S("environment variable RBEE_TEST_MAX: 'x' is not a whole number"),
           "and named");
    ok(run("m|-n9") == ERR_OK, "unless overridden");
    setenv("RBEE_TEST_MAX", "", 1);
    ok(run("m") == ERR_OK && r.max_tokens == 77, "an empty variable is none");
    unsetenv("RBEE_TEST_MAX");
    spec.config_owner = (char *)"999999";
    ok(run("m") == ERR_INVALID, "file is checked");
    is_str(str_c(e.text), S("configuration key max_tokens: 999999 is not between -1 and 100000"),
           "with its key");
    spec.config_owner = NULL;
}

static void test_errors(void)
{
    static const char *const cases[][2] = {
        {"m|--temprature=1", "unknown option --temprature; did you mean --temperature? "
                             "(rbee run --help lists all)"},
        {"m|--temp|1",
         "unknown option --temp; did you mean --temperature? (rbee run --help lists all)"},
        {"m|--hepl", "unknown option --hepl; did you mean --help? (rbee run --help lists all)"},
        {"m|--zzzzzzzz", "unknown option --zzzzzzzz (rbee run --help lists all)"},
        {"m|-x", "unknown option -x (rbee run --help lists all)"},
        {"m|--no-system", "unknown option --no-system; did you mean --system? "
                          "(rbee run --help lists all)"},
        {"m|-n", "-n needs a value: -n N"},
        {"m|--max-tokens|--raw", "--max-tokens needs a value: --max-tokens N"},
        {"m|-n|4x", "-n: '4x' is not a whole number"},
        {"m|-t|3", "-t: 3 is not between 0 and 2"},
        {"m|-t|0x1", "-t: '0x1' is not a number"},
        {"m|-t|nan", "-t: 'nan' is not a number"},
        {"m|--kv-type=q8", "--kv-type: 'q8' is not one of f32, f16"},
        {"m|--memory=5X", "--memory: '5X' is not a size such as 512K, 16M or 2G"},
        {"m|--memory=5", "--memory: 5 is not between 1K and 1T"},
        {"m|--keep-alive=-2s", "--keep-alive: '-2s' is not a time such as 500ms, 10s, 5m or 2h, "
                               "or -1 for ever"},
        {"m|--raw=maybe", "--raw: 'maybe' is neither true nor false"},
        {"", "MODEL is missing; usage: rbee run [OPTIONS] MODEL [PROMPT...]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum err err = run(cases[i][0]);

        is_str(err ? str_c(e.text) : S("accepted"), str_c(cases[i][1]), "message");
    }
    spec.pos = NULL;
    ok(run("x") == ERR_INVALID, "no positional allowed");
    is_str(str_c(e.text), S("unexpected argument 'x' (rbee run --help shows the usage)"),
           "message");
    spec.pos = pos;
    ok(run("--help") == ERR_OK && help, "--help needs nothing else");
    ok(run("-vh|--nonsense") == ERR_OK && help, "-h in a bundle ends the parse");
    ok(run("m|--|--help") == ERR_OK && !help, "not after --");

    int64_t v = 0;
    struct opt o = {.type = OPT_SIZE};
    ok(opt_value(&o, "3k", &v, &e) == ERR_OK && v == 3072, "opt_value");
}

/* clang-format off */
static void test_help(void)
{
    buf b = {.cap = 65536};

    opt_help(&spec, &b, 72);
    is_str(buf_view(&b), S(
"Ask a model.\n"
"\n"
"Usage: rbee run [OPTIONS] MODEL [PROMPT...]\n"
"\n"
"Arguments:\n"
"  MODEL                  A file or a name.\n"
"  [PROMPT...]            What to ask; read from standard input if\n"
"                         absent.\n"
"\n"
"Options:\n"
"  -n, --max-tokens N     Stop after this many tokens. (-1 to 100000;\n"
"                         default 256; env RBEE_TEST_MAX)\n"
"  -t, --temperature T    How freely words are chosen; 0 always takes the\n"
"                         likeliest one. (0 to 2; default 0.8)\n"
"      --system TEXT      Put this first.\n"
"      --kv-type TYPE     Type of the cache. (one of f32, f16; default\n"
"                         f16; env RBEE_TEST_KV)\n"
"      --memory SIZE      Use at most this much memory. (1K to 1T)\n"
"      --keep-alive TIME  Keep the model loaded for this long. (default\n"
"                         5m)\n"
"      --stop TEXT...     End at this text.\n"
"  -r, --raw              No template.\n"
"  -v, --verbose          Say more.\n"
"      --[no-]color       Use colours. (on by default)\n"
"  -h, --help             Show this help.\n"
"\n"
"Options may stand anywhere.\n"
"\n"
"  verbatim   line\n"
"\n"
"Examples:\n"
"  rbee run tiny.gguf hello\n"
"  rbee run tiny.gguf -n 5\n"), "help text");
    ok(!b.failed, "fits");
    buf_fini(&b);
}

/* clang-format on */

int main(void)
{
    test_values();
    test_sources();
    test_errors();
    test_help();
    return tap_end();
}
