/* workers_api: the routes that say what machines and workers there are.
 *
 *   GET /v1/hives       machines, their devices and what their workers can do
 *   GET /workers        the catalogue of workers, filtered; /workers/{id} one of it
 *   GET /compatibility  worker, architecture, format, quantisation: JSON or CSV
 *
 * All of it is what the hives say (hives.h); requests wait for them without blocking the loop.
 */
#ifndef QUEEN_WORKERS_API_H
#define QUEEN_WORKERS_API_H

#include "queen/hives.h"

void workers_api_hives(struct hives *h, struct http_req *r);
void workers_api_list(struct hives *h, struct http_req *r);
void workers_api_one(struct hives *h, struct http_req *r); /* param[0]: the id */
void workers_api_matrix(struct hives *h, struct http_req *r);

#endif
