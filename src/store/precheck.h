/* precheck: can a model of the Hub run, judged before its weights are fetched.
 *
 * GGUF: the headers of all parts come by range and go the way that the loader goes: parser, meta,
 * plan. SafeTensors: config.json alone says what the architecture is. Then the weights and the
 * smallest useful cache are compared with the memory of this machine.
 */
#ifndef STORE_PRECHECK_H
#define STORE_PRECHECK_H

#include "store/remote.h"

struct precheck {
    enum err refused; /* ERR_OK: nothing speaks against it */
    char why[ERR_TEXT_MAX];
    str arch;              /* in the arena */
    uint64_t weight_bytes; /* of the tensors; of the files where no header was read */
    uint64_t cache_bytes;  /* one sequence of n_ctx positions, f16; 0: not known */
    uint32_t n_ctx;
    uint64_t fetched; /* bytes of headers */
};

/* ERR_OK whenever there is a verdict; errors are those of the network and of memory.
 */
MUST_CHECK enum err precheck_run(struct precheck *out, struct arena *a, const struct remote_conf *c,
                                 const struct hubapi_repo *r, const struct pick *p,
                                 struct err_info *e);

#endif
