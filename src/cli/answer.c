/* answer: see answer.h. */
#include "cli/answer.h"

#include "cli/cli.h"
#include "cli/human.h"
#include "model/judge.h"

#define NAME_MAX_SHOWN 64

str answer_text(const struct json *v, const char *key)
{
    return json_str(json_get(v, key), S(""));
}

uint64_t answer_count(const struct json *v, const char *key)
{
    int64_t n = json_int(json_get(v, key), 0);

    return n > 0 ? (uint64_t)n : 0;
}

bool answer_is(const struct json *v, const char *key)
{
    return json_bool(json_get(v, key), false);
}

size_t answer_items(const struct json *v, const char *key, const struct json **items)
{
    const struct json *list = json_get(v, key);
    bool some = list && list->type == JSON_ARR && list->n;

    *items = some ? list->items : NULL;
    return some ? list->n : 0;
}

bool answer_unmeasured(const struct json *v)
{
    const struct json *machines;
    size_t n = answer_items(v, "machines", &machines);

    for (size_t i = 0; i < n; i++)
        if (!json_bool(json_get(&machines[i], "measured"), true)) return true;
    return false;
}

bool answer_unjudged(const struct json *v)
{
    const struct json *machines = json_get(v, "machines");

    return machines && machines->type == JSON_ARR && !machines->n;
}

bool answer_runs(const struct json *verdict)
{
    return answer_is(verdict, "compatible") && answer_is(verdict, "fits");
}

void answer_verdict(struct table *t, const struct json *verdict, str arch, str format)
{
    enum judge_why why = judge_why_from(answer_text(verdict, "why"));
    const char *brief = why < JUDGE_WHYS ? judge_why_brief(why) : "no";
    str name = why == JUDGE_FAMILY ? arch : why == JUDGE_FORMAT ? format : S("");
    char bytes[24];

    if (answer_runs(verdict))
        table_put(t, TABLE_GOOD, S("runs"));
    else if (why == JUDGE_MEMORY && answer_count(verdict, "short_by"))
        table_printf(t, TABLE_WARN, "%s short",
                     cli_bytes(answer_count(verdict, "short_by"), bytes));
    else if (name.n)
        table_printf(t, TABLE_BAD, "%s: %.*s", brief, STR(str_sub(name, 0, NAME_MAX_SHOWN)));
    else
        table_put(t, TABLE_BAD, str_c(brief));
}

void answer_bytes(struct table *t, bool estimated, uint64_t n)
{
    char text[24];

    if (n)
        table_printf(t, TABLE_PLAIN, "%s%s", estimated ? "~" : "", cli_bytes(n, text));
    else
        table_put(t, TABLE_PLAIN, S(""));
}

void answer_speed(struct table *t, const struct json *verdict)
{
    double rate = json_num(json_get(verdict, "decode_tokens_per_s"), 0);
    char text[HUMAN_TEXT];

    if (rate > 0 && answer_runs(verdict))
        table_printf(t, TABLE_GOOD, "%s", human_rate(rate, text));
    else
        table_put(t, TABLE_PLAIN, S(""));
}
