/* log: formats events for the sink. See log.h. */
#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/json.h"

#define PAIRS_MAX      16
#define LINE_MAX_BYTES 4096

static const struct row {
    const char *name;
    enum log_level level;
    const char *text;
} rows[LOG_COUNT] = {
#define LOG(name, level, text) [LOG_##name] = {#name, LOG_LEVEL_##level, text},
#include "base/log.def"
#undef LOG
};

static const char *const level_names[] = {"error", "warn", "info", "debug"};

static void to_stderr(enum log_id id, const char *const *kv, int n_pairs, void *owner);

static log_sink *sink = to_stderr;
static void *sink_owner;
static enum log_level max_level = LOG_LEVEL_INFO;
static bool as_json;
static const char *program = "rbee";

void log_set_sink(log_sink *s, void *owner)
{
    sink = s ? s : to_stderr;
    sink_owner = owner;
}

void log_set_level(enum log_level level)
{
    max_level = level;
}

bool log_level_from(const char *name, enum log_level *out)
{
    for (size_t i = 0; i < sizeof level_names / sizeof level_names[0]; i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *out = (enum log_level)i;
            return true;
        }
    }
    return false;
}

void log_set_json(bool on)
{
    as_json = on;
}

void log_set_name(const char *name)
{
    program = name;
}

static char names[LOG_COUNT][32];

static void make_names(void)
{
    for (int i = 0; i < LOG_COUNT; i++) {
        for (size_t k = 0; rows[i].name[k] && k < sizeof names[0] - 1; k++) {
            char c = rows[i].name[k];

            names[i][k] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
        }
    }
}

const char *log_name(enum log_id id)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, make_names);
    return names[id];
}

const char *log_text(enum log_id id)
{
    return rows[id].text;
}

static void line_json(buf *b, enum log_id id, const char *const *kv, int n_pairs, const char *when)
{
    struct jsonw w;

    jsonw_init(&w, b);
    jsonw_obj(&w);
    jsonw_kc(&w, "time", when);
    jsonw_kc(&w, "level", level_names[rows[id].level]);
    jsonw_kc(&w, "program", program);
    jsonw_kc(&w, "event", log_name(id));
    for (int i = 0; i < n_pairs; i++)
        jsonw_kc(&w, kv[2 * i], kv[2 * i + 1]);
    jsonw_end(&w, '}');
}

static void line_text(buf *b, enum log_id id, const char *const *kv, int n_pairs, const char *when)
{
    buf_printf(b, "%s %-5s %s: %s", when, level_names[rows[id].level], program, rows[id].text);
    for (int i = 0; i < n_pairs; i++) {
        const char *v = kv[2 * i + 1];
        bool quote = v[0] == 0 || strpbrk(v, " \"\n\t") != NULL;

        buf_printf(b, quote ? " %s=\"" : " %s=", kv[2 * i]);
        for (; *v; v++)
            buf_ch(b, (unsigned char)*v < 0x20 ? ' ' : *v);
        if (quote) buf_ch(b, '"');
    }
}

static void to_stderr(enum log_id id, const char *const *kv, int n_pairs, void *owner)
{
    buf b;
    char when[32];
    struct timespec now;
    struct tm tm;
    size_t n;

    (void)owner;
    buf_init(&b, LINE_MAX_BYTES);
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    n = strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(when + n, sizeof when - n, ".%03dZ", (int)(now.tv_nsec / 1000000));
    (as_json ? line_json : line_text)(&b, id, kv, n_pairs, when);
    buf_ch(&b, '\n');
    if (b.n) fwrite(b.p, 1, b.n, stderr);
    buf_fini(&b);
}

void log_event(enum log_id id, ...)
{
    const char *kv[2 * PAIRS_MAX];
    int n = 0;
    va_list ap;

    if (rows[id].level > max_level) return;
    va_start(ap, id);
    while (n < PAIRS_MAX) {
        const char *k = va_arg(ap, const char *), *v;

        if (!k) break;
        v = va_arg(ap, const char *);
        if (!v) continue;
        kv[2 * n] = k;
        kv[2 * n + 1] = v;
        n++;
    }
    va_end(ap);
    sink(id, kv, n, sink_owner);
}
