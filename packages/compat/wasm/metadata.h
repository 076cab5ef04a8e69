/* metadata: a model described by a few facts, as the Hub would have said them. */
#ifndef COMPAT_METADATA_H
#define COMPAT_METADATA_H

#include "base/arena.h"
#include "base/err.h"
#include "base/json.h"

/* Is this no reply of the Hub but {architecture, format, quantization, parameters, size_bytes,
 * max_context_length}? No reply has an architecture at its top. */
bool metadata_is(const struct json *v);
/* The same facts as a reply; names of members in both styles. ERR_INVALID names the member. */
MUST_CHECK enum err metadata_as_reply(const struct json **out, struct arena *a,
                                      const struct json *v, struct err_info *e);

#endif
