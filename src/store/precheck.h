/* precheck: can a model of the Hub run, judged before its weights are fetched.
 *
 * One request lists the repository; the header of one of its files, or config.json and the headers
 * of its shards, come by range (remote.h) and are judged as `rbee fit` judges a file that is here
 * (model/verdict.h): one rule, the same words. The other quantisations of the repository have the
 * same layers: what they need beside their weights is known from that header.
 *
 * The choice among the files is pick's, the memory that it goes by is the verdict's: weights, cache
 * and compute of what is asked for.
 */
#ifndef STORE_PRECHECK_H
#define STORE_PRECHECK_H

#include "store/machine.h"
#include "store/remote.h"

/* Whom it is judged for. */
struct precheck_for {
    const struct caps *caps;
    const struct verdict_device *device;
    const struct verdict_ask *ask;
};

#define PRECHECK_KNOWN 8

struct precheck {
    const struct remote_conf *conf;
    struct arena *a;
    struct hubapi_repo repo;
    struct hub_model hub; /* the same repository, as the judge reads it */
    bool picked;          /* pick and remote are there */
    struct pick pick;
    struct remote remote;
    /* Verdicts on what was picked, for those who asked; they are told apart by their pointers. */
    struct precheck_known {
        struct precheck_for of;
        struct verdict v;
    } known[PRECHECK_KNOWN];
    size_t n_known;
};

/* Asks the Hub for the repository. Everything lives in the arena; precheck_close() in any case. */
MUST_CHECK enum err precheck_open(struct precheck *p, struct arena *a, const struct remote_conf *c,
                                  const struct pick_name *name, struct err_info *e);
void precheck_close(struct precheck *p);

/* Chooses a file, or all SafeTensors, and reads its header. `want` empty: the usual quantisation,
 * or the nearest to it that runs on `f`. f NULL: whatever the memory. Errors are those of
 * pick_files(), of the network and of memory. */
MUST_CHECK enum err precheck_pick(struct precheck *p, str want, const struct precheck_for *f,
                                  struct err_info *e);
/* The verdict on what was picked. */
void precheck_judge(const struct precheck *p, const struct precheck_for *f, struct verdict *v);

/* Both, for a device: for the memory that is available now, as a worker will ask; where nothing
 * runs in that, for all that the machine has, since other programs end. */
MUST_CHECK enum err precheck_choose(struct precheck *p, str want, const struct machine_device *on,
                                    const struct verdict_ask *ask, struct verdict *v,
                                    struct err_info *e);
/* It runs, if need be with less than a worker takes by itself; what was asked for must hold. */
bool precheck_runs(const struct verdict *v, const struct verdict_ask *ask);

/* What can be judged one by one: sets of p->hub that are weights. Was this one picked? */
bool precheck_is_picked(const struct precheck *p, size_t set);
/* The verdict on a set: that of precheck_judge() if it was picked, else by its size and the header
 * of the picked one, else by what the Hub says. */
void precheck_judge_set(struct precheck *p, size_t set, const struct precheck_for *f,
                        struct verdict *v);

/* What was picked, as members of the object that is being written: model, commit, name, gated,
 * bytes, chosen_because, files. */
void precheck_write(const struct precheck *p, struct jsonw *w);
/* What `rbee pull` and `rbee run` call the picked one: "ORG/REPO:Q4_K_M"; in the arena. */
str precheck_name(const struct precheck *p);

#endif
