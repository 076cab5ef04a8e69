/* answer: members of the queen's JSON as commands print them.
 *
 * What is absent or of another type counts as empty: a later queen may say more than we read, an
 * earlier one less.
 */
#ifndef CLI_ANSWER_H
#define CLI_ANSWER_H

#include "base/json.h"
#include "cli/table.h"

str answer_text(const struct json *v, const char *key);
uint64_t answer_count(const struct json *v, const char *key); /* 0 also for what is negative */
bool answer_is(const struct json *v, const char *key);
/* How many; *items is NULL when there are none. */
size_t answer_items(const struct json *v, const char *key, const struct json **items);

/* A machine of the answer that has not been measured yet. */
bool answer_unmeasured(const struct json *v);
/* It was judged for no machine at all. */
bool answer_unjudged(const struct json *v);

/* ---- verdicts, of a list or of one model ---- */

bool answer_runs(const struct json *verdict);
/* The next cell: "runs", "4.2 GiB short", "format not read: awq". `what` is named behind
 * an architecture or a format that is not run, where it is known. */
void answer_verdict(struct table *t, const struct json *verdict, str arch, str format);
/* The next cell: bytes, with "~" before an estimate; empty for none. */
void answer_bytes(struct table *t, bool estimated, uint64_t n);
/* The next cell: tokens a second, where it runs and they are known. */
void answer_speed(struct table *t, const struct json *verdict);

#endif
