/* shelf: the catalogue of models as the queen holds it: the rows of store/modeldb in memory, judged
 * for the machines that there are.
 *
 * Every question first looks whether the file has changed (another revision, another file) and
 * reads what is new, then judges for the machines of the view that it was given if they differ from
 * those before: other devices, rates, or a memory that is another by more than a fiftieth. Without
 * a file the catalogue is empty.
 *
 * One thread at a time: all of it runs in one lane (lane.h). A shelf reads views (hives.h) and
 * never counts their references: it borrows the one it was given last, and says so.
 */
#ifndef QUEEN_SHELF_H
#define QUEEN_SHELF_H

#include "model/catalog.h"
#include "queen/hives.h"
#include "store/precheck.h"

struct shelf;

struct shelf_conf {
    const char *path;       /* of the database, copied; NULL: the user's own */
    struct verdict_ask ask; /* what workers here run with */
};

/* The header of a set that was read from the Hub; belongs to whoever has it. */
struct shelf_header {
    struct arena arena;
    struct precheck pre; /* picked: that set; all of it in the arena */
    str set;             /* its name */
    uint64_t used;
};

MUST_CHECK enum err shelf_new(struct shelf **out, const struct shelf_conf *c, struct err_info *e);
void shelf_free(struct shelf *s); /* the view is the caller's */

/* Makes it current. *view becomes what the shelf no longer uses: the view before, the same one if
 * it was not taken, or NULL. */
MUST_CHECK enum err shelf_refresh(struct shelf *s, struct hives_view **view, struct err_info *e);
/* The view that is borrowed, for the end. */
struct hives_view *shelf_view(struct shelf *s);
/* Keeps a header, up to a few; h is the shelf's afterwards. */
void shelf_keep(struct shelf *s, struct shelf_header *h);
void shelf_header_free(struct shelf_header *h); /* NULL is fine */

/* ---- answers: JSON, appended ---- */

MUST_CHECK enum err shelf_models(struct shelf *s, const struct catalog_query *q, struct arena *a,
                                 buf *out, struct err_info *e);
MUST_CHECK enum err shelf_facets(struct shelf *s, const struct catalog_query *q, struct arena *a,
                                 buf *out, struct err_info *e);

/* What would make the answer on one model better. */
enum shelf_missing { SHELF_NOTHING, SHELF_ROW, SHELF_DETAIL, SHELF_HEADER };

struct shelf_ask {
    str id;
    const struct catalog_query *q; /* its configuration, and whether hidden ones are shown */
    str set;                       /* whose header matters; empty: the best one's */
    bool pending;                  /* more is being fetched */
    str problem;                   /* why nothing more could be fetched; empty: nothing was tried */
};

struct shelf_answer {
    int status; /* 200; 404 with the reasons */
    enum shelf_missing missing;
    str set;      /* whose header is missing; in the arena */
    bool decides; /* whether the model runs depends on that */
};

/* ERR_NOMODEL: there is no such row, and x->missing says so. */
MUST_CHECK enum err shelf_model(struct shelf *s, const struct shelf_ask *ask, struct arena *a,
                                struct shelf_answer *x, buf *out, struct err_info *e);

#endif
