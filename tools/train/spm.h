/* spm: a small SentencePiece-style vocabulary: trained by byte-pair merges, used by score.
 *
 * Pieces are kept with plain spaces; the "lower one eighth block" that stands for them in files is
 * the writer's business. Ids: 0 <unk>, 1 <s>, 2 </s>, 3..258 the bytes, then the control tokens of
 * the chat template, then merges in the order they were learnt (score -rank), then single
 * characters. Encoding joins, again and again, the adjacent pair whose union has the highest score,
 * leftmost first, as llama.cpp does for tokenizer.ggml.model "llama".
 */
#ifndef TRAIN_SPM_H
#define TRAIN_SPM_H

#include "base/buf.h"
#include "base/str.h"

enum {
    SPM_UNK,
    SPM_BOS,
    SPM_EOS,
    SPM_BYTE0,
    SPM_IM_START = SPM_BYTE0 + 256,
    SPM_IM_END,
    SPM_FIRST
};
enum { SPM_PIECE_MAX = 24, SPM_VOCAB_MAX = 2048, SPM_SLOTS = 4 * SPM_VOCAB_MAX };

/* As tokenizer.ggml.token_type numbers them. */
enum spm_type { SPM_NORMAL = 1, SPM_UNKNOWN = 2, SPM_CONTROL = 3, SPM_BYTE = 6 };

struct spm_piece {
    char text[SPM_PIECE_MAX];
    uint32_t n;
    float score;
    enum spm_type type;
};

struct spm {
    struct spm_piece piece[SPM_VOCAB_MAX];
    size_t count;
    int32_t slot[SPM_SLOTS]; /* piece by text, -1: free */
};

/* Learns `vocab` pieces from text, in which control tokens are written out. */
void spm_train(struct spm *s, str text, size_t vocab);
/* The vocabulary without merges and characters; spm_add() appends a piece (for reading a file). */
void spm_init(struct spm *s);
void spm_add(struct spm *s, str text, float score, enum spm_type type);

/* Appends int32_t ids to `out`: <s>, then the text; control tokens written out become their ids; a
 * space goes in front of text that begins or follows one. */
void spm_encode(const struct spm *s, str text, buf *out);
/* Appends the bytes of one id; control tokens are written out. */
void spm_decode(const struct spm *s, int32_t id, buf *out);

#endif
