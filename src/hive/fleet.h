/* fleet: the worker processes of this machine and their life.
 *
 * A worker is LOADING from its start to its ready line, then READY, then STOPPING until its process
 * has gone; only then is its memory known to be free. fleet_want() finds or starts the worker of a
 * model and calls back once, when it is ready or has failed. A worker that is being asked by
 * `inflight` requests is never idle. One thread, the hive's loop.
 */
#ifndef HIVE_FLEET_H
#define HIVE_FLEET_H

#include "base/json.h"
#include "net/http.h"
#include "store/store.h"

enum fleet_state { FLEET_LOADING, FLEET_READY, FLEET_STOPPING };

struct fleet;

struct fleet_worker { /* read by others, written by fleet.c */
    uint32_t id;
    char name[1024];
    char path[STORE_PATH_MAX];
    enum fleet_state state;
    int pid;
    struct http_client *client;
    uint32_t inflight;
    int64_t keep_alive_ms; /* INT64_MAX: for ever */
    uint64_t last_used_ns, started_ns;
    const char *info; /* JSON of the worker's last /v1/info, never NULL */
    struct fleet_worker *next;
};

struct fleet_conf {
    uv_loop_t *loop;
    const char *worker_exe; /* path of llm-worker-rbee-cpu */
    const char *run_dir;    /* for sockets */
    int64_t keep_alive_ms;
    const char *const *worker_args; /* passed on to every worker, NULL-terminated */
};

MUST_CHECK enum err fleet_new(struct fleet **out, const struct fleet_conf *conf,
                              struct err_info *e);
/* Stops all workers, then calls done. */
void fleet_close(struct fleet *f, void (*done)(void *owner), void *owner);

/* The worker for the file at `path`, known as `name`. `then` is called exactly once, perhaps before
 * fleet_want returns; w is NULL on failure. `extra` (may be NULL) are options of a new worker as
 * JSON: ctx, slots, threads, batch, kv_type, kv_type_k, kv_type_v, backend, kv_budget, lora. */
typedef void fleet_then(struct fleet_worker *w, enum err code, const char *text, void *owner);
void fleet_want(struct fleet *f, const char *name, const char *path, const struct json *extra,
                fleet_then *then, void *owner);
/* Forgets a waiting callback whose owner goes away. */
void fleet_forget(struct fleet *f, void *owner);

struct fleet_worker *fleet_find(struct fleet *f,
                                uint32_t id); /* NULL; stopping ones are not found */
const struct fleet_worker *fleet_list(const struct fleet *f);
/* Stops one; `then` when its process has gone (may be NULL). Requests in flight are cut off. */
void fleet_stop(struct fleet *f, struct fleet_worker *w, void (*then)(void *owner), void *owner);
void fleet_begin_use(struct fleet *f, struct fleet_worker *w);
void fleet_end_use(struct fleet *f, uint32_t id);
/* A request to this worker broke off. Before it is handed out again it is asked whether it lives;
 * where it does not, whoever wants it waits for its successor. */
void fleet_doubt(struct fleet *f, uint32_t id);
const char *fleet_state_name(enum fleet_state s);

#endif
