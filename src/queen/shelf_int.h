/* shelf_int: what the files of shelf share. */
#ifndef QUEEN_SHELF_INT_H
#define QUEEN_SHELF_INT_H

#include <sys/types.h>

#include "base/limits.h"
#include "queen/shelf.h"
#include "store/modeldb.h"

#define SHELF_HEADERS 4

struct shelf {
    char path[STORE_PATH_MAX];
    struct verdict_ask ask;
    struct modeldb *db; /* NULL: there is no file */
    ino_t inode;        /* of it */
    dev_t device;
    uint64_t origin, revision; /* that was read up to */
    uint64_t skipped;          /* rows that could not be read */
    struct catalog *catalog;
    bool judged; /* for the devices of the view */
    struct hives_view *view;
    struct catalog_device devices[LIMIT_INDEX_DEVICES];
    const struct machine_device *of[LIMIT_INDEX_DEVICES]; /* the same, in the view */
    size_t n_devices;
    struct shelf_header *header[SHELF_HEADERS];
    uint64_t clock;
};

/* Those of this commit of the repository; how many. */
size_t shelf_headers_of(struct shelf *s, const struct hub_model *m,
                        const struct shelf_header *out[SHELF_HEADERS]);
void shelf_write_machines(const struct shelf *s, struct jsonw *w);

#endif
