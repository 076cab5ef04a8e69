/* table: what fits, what is cut, what is left out, and what never reaches a terminal. */
#include "cli/table.h"

#include "base/limits.h"
#include "cli/human.h"
#include "tap.h"

static const struct table_col cols[] = {
    {"NAME", false, TABLE_CUT_MIDDLE, 8, 0}, {"SIZE", true, TABLE_NO_CUT, 0, 0},
    {"LICENCE", false, TABLE_CUT_END, 7, 2}, {"EMPTY", false, TABLE_NO_CUT, 0, 0},
    {"WHY", false, TABLE_CUT_END, 6, 1},
};

static void fill(struct table *t, struct arena *a)
{
    table_init(t, a, cols, 5);
    table_put(t, TABLE_PLAIN, S("org/a-long-name-of-a-model-Q4_K_M"));
    table_printf(t, TABLE_PLAIN, "%.1f GiB", 4.7);
    table_put(t, TABLE_PLAIN, S("apache-2.0"));
    table_put(t, TABLE_PLAIN, S(""));
    table_put(t, TABLE_GOOD, S("runs"));
    table_put(t, TABLE_PLAIN, S("o/b"));
    table_put(t, TABLE_PLAIN, S("12 MiB"));
    table_put(t, TABLE_PLAIN, S(""));
    table_put(t, TABLE_PLAIN, S(""));
    table_put(t, TABLE_BAD, S("no kernel for it"));
}

static void written(int width, const char *want, const char *what)
{
    struct table_look l = {.width = width};
    struct arena a;
    struct table t;
    buf b = {.cap = 4096};

    arena_init(&a, KIB(64));
    fill(&t, &a);
    table_write(&t, &l, 0, &b);
    is_str(buf_view(&b), str_c(want), what);
    buf_fini(&b);
    arena_fini(&a);
}

static void test_widths(void)
{
    written(0,
            "NAME                                  SIZE  LICENCE     WHY\n"
            "org/a-long-name-of-a-model-Q4_K_M  4.7 GiB  apache-2.0  runs\n"
            "o/b                                 12 MiB              no kernel for it\n",
            "in a pipe nothing is cut, and an empty column is no column");
    written(64,
            "NAME                          SIZE  LICENCE     WHY\n"
            "org/a-long-n~model-Q4_K_M  4.7 GiB  apache-2.0  runs\n"
            "o/b                         12 MiB              no kernel for it\n",
            "the widest column that may be cut gives way");
    written(40,
            "NAME          SIZE  LICENCE    WHY\n"
            "org/~_K_M  4.7 GiB  apache-2~  runs\n"
            "o/b         12 MiB             no kerne~\n",
            "then the others, down to their least width");
    written(33,
            "NAME            SIZE  WHY\n"
            "org/a~4_K_M  4.7 GiB  runs\n"
            "o/b           12 MiB  no kernel ~\n",
            "then what matters least goes");
}

static void test_headless(void)
{
    static const struct table_col two[] = {{"", true, TABLE_NO_CUT, 0, 0},
                                           {"", false, TABLE_CUT_END, 4, 0}};
    struct table_look l = {0};
    struct arena a;
    struct table t;
    buf b = {.cap = 1024};

    arena_init(&a, KIB(8));
    table_init(&t, &a, two, 2);
    table_put(&t, TABLE_PLAIN, S("5"));
    table_put(&t, TABLE_PLAIN, S("few"));
    table_put(&t, TABLE_PLAIN, S("1,234"));
    table_put(&t, TABLE_PLAIN, S("many"));
    is_int(table_write(&t, &l, 2, &b), 3, "both columns are written");
    is_str(buf_view(&b), S("      5  few\n  1,234  many\n"),
           "without headings there is no heading");
    buf_clear(&b);
    table_fact(&l, "size", TABLE_PLAIN, S("4 GiB"), &b);
    table_fact(&l, "none", TABLE_PLAIN, S(""), &b);
    l.width = 24;
    table_fact(&l, "note", TABLE_PLAIN, S("four of five"), &b);
    is_str(buf_view(&b),
           S("  size          4 GiB\n  note          four of\n                five\n"), "facts");
    buf_fini(&b);
    arena_fini(&a);
}

static void test_no_wrap(void)
{
    bool all = true;

    for (int width = 26; width <= 120; width++) {
        struct table_look l = {.width = width, .utf8 = true};
        struct arena a;
        struct table t;
        buf b = {.cap = 4096};
        str rest, line;

        arena_init(&a, KIB(64));
        fill(&t, &a);
        table_put(&t, TABLE_PLAIN,
                  S("\346\250\241\345\236\213\346\250\241\345\236\213\346\250\241\345\236\213"));
        for (int i = 0; i < 4; i++)
            table_put(&t, TABLE_PLAIN, S("\303\244\303\266\303\274"));
        table_write(&t, &l, 2, &b);
        rest = buf_view(&b);
        while (rest.n) {
            line = str_cut(rest, '\n', &rest);
            all &= table_columns(line) <= width && !str_ends(line, S(" "));
        }
        buf_fini(&b);
        arena_fini(&a);
    }
    ok(all, "no line is wider than the terminal, none ends in spaces");
}

static void test_clean(void)
{
    struct arena a;
    str plain = S("Qwen/Qwen3-8B");

    arena_init(&a, KIB(4));
    ok(table_clean(&a, plain).p == plain.p, "what is clean stays where it is");
    is_str(table_clean(&a, S("a\033[2Jb\rc\nd\177e")), S("a?[2Jb?c?d?e"),
           "no orders to the terminal");
    is_str(table_clean(&a, S("x\342\200\256y\342\200\213z")), S("x?y?z"),
           "nothing that turns or hides text");
    is_str(table_clean(&a, S("\302\233x\377")), S("?x?"), "C1 and bytes that are no UTF-8");
    is_str(table_clean(&a, S("\303\251\346\250\241")), S("\303\251\346\250\241"),
           "letters of all people stay");
    is_int(table_columns(S("\303\251\346\250\241x")), 4, "wide ones take two columns");
    arena_fini(&a);
}

static void test_text(void)
{
    struct table_look l = {.width = 20};
    buf b = {.cap = 1024};

    table_text(&l, 0, 2, S("one two three four five six"), &b);
    is_str(buf_view(&b), S("one two three four\n  five six\n"), "a paragraph is broken at spaces");
    buf_clear(&b);
    table_text(&l, 18, 2, S("one two"), &b);
    is_str(buf_view(&b), S("one\n  two\n"), "after what stands on its line");
    buf_clear(&b);
    l.width = 0;
    table_text(&l, 0, 2, S("one two three four five six"), &b);
    is_str(buf_view(&b), S("one two three four five six\n"), "in a pipe it is one line");
    buf_clear(&b);
    table_tone(&l, TABLE_BAD, S("no"), &b);
    l.colour = true;
    table_tone(&l, TABLE_BAD, S("no"), &b);
    table_tone(&l, TABLE_PLAIN, S("no"), &b);
    is_str(buf_view(&b), S("no\033[31mno\033[0mno"), "colour where it is wanted");
    buf_fini(&b);
}

static void test_human(void)
{
    static const struct {
        uint64_t n;
        const char *count, *params, *positions;
    } rows[] = {
        {0, "0", "0", "0"},
        {512, "512", "512", "512"},
        {1000, "1k", "1K", "1K"},
        {4096, "4.1k", "4.1K", "4K"},
        {32768, "32.8k", "32.8K", "32K"},
        {131072, "131k", "131K", "128K"},
        {1048576, "1M", "1M", "1M"},
        {1000000, "1M", "1M", "1M"},
        {40960, "41k", "41K", "40K"},
        {8191999999, "8.2G", "8.2B", "7.6K"},
        {270000000, "270M", "270M", "270M"},
        {999999, "1M", "1M", "977K"},
        {1100000000000, "1100G", "1.1T", "1100M"},
    };
    char a[HUMAN_GROUPED], b[HUMAN_TEXT], c[HUMAN_TEXT];

    for (size_t i = 0; i < sizeof rows / sizeof *rows - 4; i++)
        if (!ok(!strcmp(human_count(rows[i].n, a), rows[i].count) &&
                    !strcmp(human_params(rows[i].n, b), rows[i].params) &&
                    !strcmp(human_positions(rows[i].n, c), rows[i].positions),
                "%s, %s, %s", rows[i].count, rows[i].params, rows[i].positions))
            printf("#   %s, %s, %s\n", a, b, c);
    is_str(str_c(human_params(8191999999, a)), S("8.2B"), "8.2B");
    is_str(str_c(human_params(270000000, a)), S("270M"), "270M");
    is_str(str_c(human_params(999999, a)), S("1M"), "what rounds up gets the next unit");
    is_str(str_c(human_params(1100000000000, a)), S("1.1T"), "1.1T");
    is_str(str_c(human_rate(0.84, a)), S("0.8"), "slow");
    is_str(str_c(human_rate(0.01, a)), S("<0.1"), "never a rate of zero");
    is_str(str_c(human_grouped(999, a)), S("999"), "999");
    is_str(str_c(human_grouped(UINT64_MAX, a)), S("18,446,744,073,709,551,615"), "thousands");
    is_str(str_c(human_rate(142.7, a)), S("143"), "fast");
    is_str(str_c(human_day(1745798400, a)), S("2025-04-28"), "a day");
    is_str(str_c(human_day(INT64_MAX, a)), S("?"), "and none");
}

int main(void)
{
    test_widths();
    test_headless();
    test_no_wrap();
    test_clean();
    test_text();
    test_human();
    return tap_end();
}
