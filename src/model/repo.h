/* repo: how repositories of the Hub, their revisions and their files may be called.
 *
 * What comes out of a name, a link or a reply of the Hub may become a path below the store or a
 * part of an address: that is decided here and nowhere else. Pure.
 */
#ifndef MODEL_REPO_H
#define MODEL_REPO_H

#include "base/str.h"

bool repo_id_ok(str id); /* "ORG/REPO" */
bool repo_revision_ok(str revision);
/* No part of a path is empty, hidden or climbs. */
bool repo_path_ok(str path);

#endif
