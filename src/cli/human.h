/* human: numbers as people read them, short and of the same form everywhere. */
#ifndef CLI_HUMAN_H
#define CLI_HUMAN_H

#include <stdint.h>

#define HUMAN_TEXT    24
#define HUMAN_GROUPED 32

const char *human_count(uint64_t n, char out[HUMAN_TEXT]);       /* "950", "12.3k", "4.1M" */
const char *human_grouped(uint64_t n, char out[HUMAN_GROUPED]);  /* "12,345" */
const char *human_params(uint64_t n, char out[HUMAN_TEXT]);      /* "270M", "1.5B", "8B", "1.1T" */
const char *human_positions(uint64_t n, char out[HUMAN_TEXT]);   /* "512", "32K", "1M" */
const char *human_rate(double per_second, char out[HUMAN_TEXT]); /* "<0.1", "9.7", "143" */
const char *human_day(int64_t unix_time, char out[HUMAN_TEXT]);  /* "2025-04-28", UTC */

#endif
