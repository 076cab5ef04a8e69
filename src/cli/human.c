/* human: see human.h. */
#include "cli/human.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* One decimal below a hundred, unless it is a zero: "1.5B", "8B", "270M". */
static const char *scaled(uint64_t n, double step, const char *const *units, char out[HUMAN_TEXT])
{
    double v = (double)n;
    size_t len;

    while (v >= step * 0.9995 && units[1]) {
        v /= step;
        units++;
    }
    snprintf(out, HUMAN_TEXT, v < 99.95 && **units ? "%.1f" : "%.0f", v);
    len = strlen(out);
    if (len > 2 && strcmp(out + len - 2, ".0") == 0) len -= 2;
    snprintf(out + len, HUMAN_TEXT - len, "%s", *units);
    return out;
}

const char *human_count(uint64_t n, char out[HUMAN_TEXT])
{
    static const char *const units[] = {"", "k", "M", "G", NULL};

    return scaled(n, 1e3, units, out);
}

const char *human_grouped(uint64_t n, char out[HUMAN_GROUPED])
{
    char digits[HUMAN_TEXT];
    int len = snprintf(digits, sizeof digits, "%llu", (unsigned long long)n), at = 0;

    for (int i = 0; i < len; i++) {
        if (i && (len - i) % 3 == 0) out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = 0;
    return out;
}

const char *human_params(uint64_t n, char out[HUMAN_TEXT])
{
    static const char *const units[] = {"", "K", "M", "B", "T", NULL};

    return scaled(n, 1e3, units, out);
}

/* Contexts are powers of two, or thousands that somebody chose. */
const char *human_positions(uint64_t n, char out[HUMAN_TEXT])
{
    static const char *const units[] = {"", "K", "M", NULL};

    return scaled(n, n % 1000 == 0 ? 1000 : 1024, units, out);
}

const char *human_rate(double per_second, char out[HUMAN_TEXT])
{
    if (per_second > 0 && per_second < 0.05)
        snprintf(out, HUMAN_TEXT, "<0.1");
    else
        snprintf(out, HUMAN_TEXT, per_second < 9.95 ? "%.1f" : "%.0f", per_second);
    return out;
}

const char *human_day(int64_t unix_time, char out[HUMAN_TEXT])
{
    time_t when = (time_t)unix_time;
    struct tm tm;

    if (!gmtime_r(&when, &tm) || tm.tm_year > 8099 || tm.tm_year < -1900)
        snprintf(out, HUMAN_TEXT, "?");
    else
        strftime(out, HUMAN_TEXT, "%Y-%m-%d", &tm);
    return out;
}
