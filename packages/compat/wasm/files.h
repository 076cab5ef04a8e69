/* files: verdicts by what a repository's files say, for the module of that: config.json and what
 * lies beside it, and headers of GGUF files. Surer than compat.h, and larger: plans are built.
 *
 * The same form: an object with a member "call". Calls are the judge's (verdict_call) and
 * "check_gguf_header", whose request has the first bytes of a file behind it, after a NUL. The
 * answer of that is {need, verdict}: need 0 and the verdict, or how many bytes would be enough and
 * null.
 */
#ifndef COMPAT_FILES_H
#define COMPAT_FILES_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

enum err files_call(str request, buf *reply);

#endif
