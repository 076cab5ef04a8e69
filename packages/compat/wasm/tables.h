/* tables: the words of C's tables as JSON, for the types of the package. */
#ifndef COMPAT_TABLES_H
#define COMPAT_TABLES_H

#include "base/buf.h"

/* One object: errors with all their columns, and lists of words. */
void tables_write(buf *out);

#endif
