/* sandbox: gives up nearly everything a process may do, for good.
 *
 * sandbox_enter() is called by a process that was forked for one job: reading files that nobody
 * trusts and telling its parent about them through one descriptor. Afterwards it can map and read
 * files, use memory up to a limit, look at the clock and write to that descriptor. It has no
 * network, writes no file, starts no process, sends no signal, gains no privilege and ends with
 * its parent.
 *
 * On Linux, in this order: limits (bytes written 0, processes 0, core 0, data, CPU time), every
 * other descriptor closed, capabilities dropped but the one to read, Landlock (reading below the
 * given folders only), and a seccomp filter. What an attacker alone would call ends the process at
 * once; any other call that is not on the list fails with EPERM.
 *
 * Left out: macOS, where the system's own interface is deprecated. Builds with AddressSanitizer
 * keep standard error for its report, limit neither memory nor bytes written, and refuse where
 * others kill; ThreadSanitizer, whose runtime starts a thread after each fork, gets limits only.
 */
#ifndef WORKER_SANDBOX_H
#define WORKER_SANDBOX_H

#include <stdint.h>

#include "base/err.h"

#define SANDBOX_FOLDERS_MAX 8

struct sandbox {
    int fd;                                   /* stays open for writing */
    uint64_t heap;                            /* bytes that may be allocated from here on */
    uint32_t seconds;                         /* of CPU time; then SIGXCPU */
    const char *folders[SANDBOX_FOLDERS_MAX]; /* files below these can be read; none: all */
};

/* Why sandbox_enter() cannot do its work in this build, NULL when it can. Whether the system lets
 * it is known only by trying. */
const char *sandbox_missing(void);

/* One thread only. ERR_UNSUPPORTED with the reason when the system refused the filter; the limits
 * are in force then, and going on is the caller's choice. */
MUST_CHECK enum err sandbox_enter(const struct sandbox *s, struct err_info *e);

#endif
