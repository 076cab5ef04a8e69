/* corpus: the text that rbee-tiny learns from, generated from a grammar.
 *
 * A document is a story, or a chat written out in the model's own template (ChatML) in which the
 * assistant tells a story or gives a short answer. Document number n of a split is always the same
 * text. A document's combination (which plot, who, where) decides its split: one in fifty is only
 * ever seen held out, so held-out loss measures new combinations and not remembered ones.
 */
#ifndef TRAIN_CORPUS_H
#define TRAIN_CORPUS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

/* Appends document n of the training or the held-out split. */
void corpus_document(uint64_t n, bool held_out, buf *out);

#endif
