/* noconfig: config.json is judged by the other module (files.h), so that this one stays small;
 * compat_call() refuses such a request before the judge would come here. */
#include "base/err.h"
#include "model/verdict.h"

void verdict_config(struct verdict *v, struct arena *a, const struct hf_meta_files *f,
                    uint64_t bytes, const struct caps *c, const struct verdict_device *d,
                    const struct verdict_ask *ask)
{
    (void)v, (void)a, (void)f, (void)bytes, (void)c, (void)d, (void)ask;
    BUG("config.json is not judged here");
}
