/* compat: what the package can do, behind one function of JSON.
 *
 * A request is an object with a member "call"; the table of calls is in compat.c. The judge's own
 * calls go to verdict_call() as they are. Members of requests are read in both styles, `kv_type`
 * and `kvType`; answers have one. A request costs no memory after its answer is gone, but for
 * catalogues, which live until they are freed. Pure: the same bytes natively and as WebAssembly.
 */
#ifndef COMPAT_H
#define COMPAT_H

#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/str.h"

#define COMPAT_REQUEST_MAX MIB(64)  /* bytes of a request, and of an answer */
#define COMPAT_ARENA_MAX   MIB(512) /* a request as a tree, and what is made of it */

/* The answer, or {"error": {...}} when the result is not ERR_OK; `reply` is cleared before. */
enum err compat_call(str request, buf *reply);

#endif
