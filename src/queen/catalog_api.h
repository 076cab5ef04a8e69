/* catalog_api: the routes of the catalogue of models.
 *
 *   GET /v1/catalog/models        a page of models that run here: filters of model/catalog.def
 *   GET /v1/catalog/models/{id}   one: its sets on each machine, its files; 404 with the reasons
 *   GET /v1/catalog/facets        how many there are of each kind
 *
 * Answers come from the shelf (shelf.h), in a lane of its own, so that the loop never waits; what
 * the shelf lacks on one model is asked of the Hub (fetch.h). A request for one model waits for
 * that a bounded time, `?wait=SECONDS`, and is then answered by what is there: `rests_on` says.
 */
#ifndef QUEEN_CATALOG_API_H
#define QUEEN_CATALOG_API_H

#include "queen/hives.h"
#include "queen/shelf.h"

struct catalog_api_conf {
    uv_loop_t *loop;
    struct hives *hives;
    const struct store *store; /* outlives the routes */
    struct verdict_ask ask;    /* what workers here run with */
};

struct catalog_api;
MUST_CHECK enum err catalog_api_new(struct catalog_api **out, const struct catalog_api_conf *c,
                                    struct err_info *e);
/* Once no request can come any more; what runs ends soon. NULL is fine, here and below. */
void catalog_api_stop(struct catalog_api *x);
void catalog_api_free(struct catalog_api *x); /* after the loop has ended */
void catalog_api_tick(struct catalog_api *x); /* about every second */

void catalog_api_models(struct catalog_api *x, struct http_req *r);
void catalog_api_facets(struct catalog_api *x, struct http_req *r);
void catalog_api_model(struct catalog_api *x, struct http_req *r); /* param[0]: the id */

uint64_t catalog_api_last_ns(const struct catalog_api *x); /* when somebody asked last; 0: never */

#endif
