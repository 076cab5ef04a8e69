/* os: what differs between systems, behind plain functions. No other file but
 * worker/sandbox.c may name Linux. */
#ifndef BASE_OS_H
#define BASE_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* First thing in main(): descriptors 0 to 2 are open, so that no socket takes their place; writing
 * to a closed pipe or past a size limit is an error, not a signal; as many files may be open as the
 * system allows. */
void os_prepare(void);
uint64_t os_now_ns(void);   /* monotonic */
int64_t os_unix_time(void); /* seconds */
int os_cpu_count(void);     /* cores this process may use: affinity and cgroup quota respected */
bool os_pin_thread(int cpu_index); /* index among the usable cores; false where not possible */
/* The threads of this process, the calling one first; how many, at most `most`; 0 where the system
 * does not say. */
int os_threads(int *ids, int most);
uint64_t os_thread_ns(int id); /* that the thread had a core so far; 0: not known */
uint64_t os_mem_total(void);
uint64_t os_mem_available(void);
uint64_t os_rss(void); /* resident bytes of this process */
uint64_t os_rss_peak(void);
/* Zeroes memory of the heap; large ranges are given back to the system and come back as zero pages
 * when they are touched, so that a cache of gigabytes costs nothing until it is used. */
void os_zero(void *p, size_t n);
/* Ends this process when its parent ends; no effect where the system has no such thing. */
void os_die_with_parent(void);
/* Fills n bytes from the system's generator. */
MUST_CHECK enum err os_random(void *p, size_t n, struct err_info *e);
/* The directory of the running executable into out; false if unknown or too long. */
bool os_exe_dir(char *out, size_t size);
const char *os_cpu_name(void); /* static text, "unknown" if unknown */
/* Creates a directory and its parents, mode 0700 for those it creates. */
MUST_CHECK enum err os_mkdirs(const char *path, struct err_info *e);

#endif
