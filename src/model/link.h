/* link: rbee:// addresses, by which a page or a program names a model to look at or to install.
 *
 *   rbee://model?id=ORG/REPO
 *   rbee://install/model?id=ORG/REPO&worker=WORKER
 *
 * An id may go on as names of models do: "ORG/REPO:QUANT", "ORG/REPO:FILE"; a worker is meant by
 * its id or its kind ("cpu"), and need not be named. A link comes from anybody: it is taken whole
 * or not at all. Anything that is not one of the two forms, twice the same field, a field that the
 * form does not have, a plus sign (is it a space?), a wrong percent-encoding, a fragment, a name
 * that may not become a path (repo.h): ERR_INVALID, and it says which. Pure.
 */
#ifndef MODEL_LINK_H
#define MODEL_LINK_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

enum link_action { LINK_MODEL, LINK_INSTALL };

struct link {
    enum link_action action;
    str id;     /* "ORG/REPO" */
    str want;   /* a quantisation or a file; empty: not said */
    str worker; /* of LINK_INSTALL; empty: not said */
};

/* Strings are views of `text`, or in the arena where something was encoded. */
MUST_CHECK enum err link_parse(struct link *l, struct arena *a, str text, struct err_info *e);
/* The one spelling that all spellings of a link have in common. */
void link_write(const struct link *l, buf *out);
const char *link_action_name(enum link_action a); /* "model", "install/model" */

#endif
