/* map: a file as read-only memory.
 *
 * The mapping belongs to whoever opened it and lives until map_close(). Only regular files; a
 * directory, a device or an unreadable path is refused with a sentence that names it.
 */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct map {
    const uint8_t *p; /* NULL when the file is empty */
    size_t n;
};

MUST_CHECK enum err map_open(struct map *m, const char *path, struct err_info *e);
void map_close(struct map *m);
/* Asks the kernel to read ahead; no effect on correctness. */
void map_willneed(const struct map *m);
/* Reads a whole small file; cap in bytes. The caller frees with mem_free. A NUL follows. */
MUST_CHECK enum err map_read_file(const char *path, size_t cap, char **out, size_t *n,
                                  struct err_info *e);

#endif
