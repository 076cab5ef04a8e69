/* log: events with named fields, declared in log.def.
 *
 * One event feeds whoever is listening: standard error as text or as JSON lines, a job's stream, a
 * test. Libraries raise events and never print. The sink is process-wide, set once before threads
 * start; the default writes text to standard error. log_ev() is safe from any thread.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

enum log_id {
#define LOG(name, level, text) LOG_##name,
#include "base/log.def"
#undef LOG
    LOG_COUNT
};

/* Pairs of key and value follow, all `const char *`; a NULL value is left out. */
#define log_ev(id, ...) log_event((id), __VA_ARGS__, (const char *)0)
void log_event(enum log_id id, ...);

typedef void log_sink(enum log_id id, const char *const *kv, int n_pairs, void *owner);
void log_set_sink(log_sink *sink, void *owner);
void log_set_level(enum log_level level);
bool log_level_from(const char *name, enum log_level *out);
void log_set_json(bool on);             /* of the default sink */
void log_set_name(const char *program); /* shown in front, borrowed for ever */

const char *log_name(enum log_id id); /* lower case, static */
const char *log_text(enum log_id id);

#endif
