/* download: fetches files of a hub into the store, whole or not at all.
 *
 * A file arrives in several ranges at once and lies meanwhile beside its place as ".NAME.part",
 * with a journal ".NAME.part.todo" of the ranges that are missing. Whatever ends the program, the
 * next download goes on from the journal. When all bytes are there and their hash is the one that
 * the hub names, the file is flushed and gets its name; what has another hash is removed. A lock on
 * the part keeps a second download of the same file out.
 *
 * Requests go to https only, to the endpoint's own host and those of the Hugging Face Hub; an
 * endpoint on http must be a loopback address, and then redirections may lead to loopback
 * addresses. The token is sent to the endpoint and to no other origin. Answers that pass (429, 5xx,
 * broken connections) are tried again after a growing pause or the one that the server asks for.
 *
 * One thread; download_init() once in a program before anything else here.
 */
#ifndef STORE_DOWNLOAD_H
#define STORE_DOWNLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

struct download_progress {
    uint64_t done, total; /* bytes of this file */
    double rate;          /* bytes a second, of the last seconds; 0: not known */
    const char *note;     /* a pause and its reason, once; mostly NULL */
    bool checking;        /* only the hash is still worked on */
};

struct download_conf {
    const char *endpoint;      /* "https://huggingface.co", without a slash at its end */
    const char *token;         /* or NULL */
    uint32_t n_streams;        /* 1 to LIMIT_PULL_STREAMS */
    uint32_t retries;          /* failures one after the other, without a byte between them */
    uint32_t stall_ms;         /* a transfer without a byte for so long is begun anew */
    bool (*stop)(void *owner); /* asked often; true: ERR_CANCELLED, to be continued; or NULL */
    void (*progress)(const struct download_progress *p,
                     void *owner); /* some ten times a second; or NULL */
    void *owner;
};

struct download_job {
    const char *url;
    const char *path; /* where the file shall be; its folder exists */
    uint64_t bytes;   /* its exact size */
    str digest;       /* 64 hexadecimal digits: sha256; 40: the hash of a git blob */
};

MUST_CHECK enum err download_init(struct err_info *e);

/* Is that an endpoint that may be used: https, or http to a loopback address, nothing else in it?
 */
MUST_CHECK enum err download_check_endpoint(const char *endpoint, struct err_info *e);

/* Ends with the file in place (also when it was there before, with this hash) or an error: ERR_
 * FORMAT for bytes with another hash, which are removed; ERR_NOSPACE; ERR_EXISTS while another
 * process downloads it; ERR_AUTH, ERR_ACCESS, ERR_NOTFOUND as the hub says; ERR_UNAVAILABLE after
 * all retries; ERR_CANCELLED. Only the first of these loses what was fetched. */
MUST_CHECK enum err download_file(const struct download_conf *c, const struct download_job *job,
                                  struct err_info *e);

/* Appends the bytes from..from+n of a file (n 0: all of it, from any offset 0) to out, whose cap
 * holds. `what` names it in errors. */
MUST_CHECK enum err download_get(const struct download_conf *c, const char *url, const char *what,
                                 uint64_t from, uint64_t n, buf *out, struct err_info *e);

/* Bytes of the job that still have to come: 0 when a file of that size has its name already. */
uint64_t download_missing(const struct download_job *job);

#endif
