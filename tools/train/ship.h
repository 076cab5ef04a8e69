/* ship: the trained model as a GGUF file, out and in again. */
#ifndef TRAIN_SHIP_H
#define TRAIN_SHIP_H

#include "base/err.h"
#include "lm.h"
#include "spm.h"

/* GGUF v3: matrices F16, norms F32, vocabulary and chat template inside. */
MUST_CHECK enum err ship_write(const char *path, const struct lm *m, const struct spm *s,
                               uint32_t context, struct err_info *e);
/* Reads back what ship_layout() wrote; other models are refused. */
MUST_CHECK enum err ship_read(const char *path, struct lm *m, struct spm *s, uint32_t *context,
                              struct err_info *e);

#endif
