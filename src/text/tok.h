/* tok: text to tokens and back, for one vocabulary.
 *
 * A `struct tok` is immutable once opened and may be used from several threads; each call brings
 * its own scratch arena. From a GGUF it borrows the file's bytes: the gguf must outlive it. Opening
 * is lazy: it indexes the vocabulary (20 ms for 128k entries at most), it does not copy it.
 *
 * Special tokens in text are plain text unless TOK_PARSE_SPECIAL is given. No call recurses, and
 * time is linear or n log n in the text, whatever the text is.
 */
#ifndef TEXT_TOK_H
#define TEXT_TOK_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "model/gguf.h"

struct tok;

enum tok_flags {
    TOK_ADD_SPECIAL = 1,   /* BOS and EOS as the model says */
    TOK_PARSE_SPECIAL = 2, /* control tokens in the text become their ids */
};

enum tok_kind { TOK_NORMAL, TOK_UNKNOWN, TOK_CONTROL, TOK_USER, TOK_UNUSED, TOK_BYTE };

/* ---- life cycle ---- */
/* A model's own; for one that is a Hugging Face directory, tok_open_dir(). */
MUST_CHECK enum err tok_open(struct tok **out, const struct gguf *g, struct err_info *e);
/* From a folder as Hugging Face has it: tokenizer.json, else tokenizer.model, else *.tiktoken, else
 * vocab.json with merges.txt; with what tokenizer_config.json says. The tokenizer keeps the files
 * mapped; nothing need outlive it. ERR_NOTFOUND when there is none of them. */
MUST_CHECK enum err tok_open_dir(struct tok **out, const char *dir, struct err_info *e);
struct tok_spec;
/* From a normal form (tok_spec.h), whose memory must outlive the tokenizer. */
MUST_CHECK enum err tok_open_spec(struct tok **out, const struct tok_spec *spec,
                                  struct err_info *e);
void tok_close(struct tok *t);

struct gguf_write;
/* The keys tokenizer.ggml.* of this vocabulary, padded with unused tokens to n_vocab, the rows of
 * the embedding. ERR_UNSUPPORTED when GGUF has no form for it: a way to cut words without a name
 * there, or ranks without merges. */
MUST_CHECK enum err tok_export(const struct tok *t, uint32_t n_vocab, struct gguf_write *w,
                               struct err_info *e);

/* ---- use ---- */
/* Ids into the arena: *out [*n]. Fails only without memory or beyond the arena's cap. */
MUST_CHECK enum err tok_encode(const struct tok *t, struct arena *a, str text, unsigned flags,
                               int32_t **out, size_t *n, struct err_info *e);
/* Appends the bytes of one token as they stand in running text (SPM's leading-space rule is the
 * caller's: see tok_strips_first_space). May be part of a character. Control tokens give nothing
 * unless `special`; then their written form. */
void tok_piece(const struct tok *t, int32_t id, bool special, buf *out);
/* The whole text of ids, as the tokenizer's own decoder gives it (the space that SPM put in front
 * is taken off). Invalid UTF-8 becomes U+FFFD. */
void tok_decode(const struct tok *t, const int32_t *ids, size_t n, bool special, buf *out);

/* Copies s to out with every invalid sequence as U+FFFD. The beginning of a character at the end of
 * s is invalid too when `last`, else it is left: returns how many bytes of s were used. */
size_t tok_clean(str s, bool last, buf *out);

/* ---- inspect ---- */
/* What tok_piece() appends at most. */
size_t tok_piece_max(const struct tok *t);
uint32_t tok_count(const struct tok *t);
str tok_text(const struct tok *t, int32_t id); /* as the vocabulary spells it */
enum tok_kind tok_kind(const struct tok *t, int32_t id);
int32_t tok_bos(const struct tok *t); /* -1: none */
int32_t tok_eos(const struct tok *t);
bool tok_adds_bos(const struct tok *t);
/* EOS, EOT, EOM and whatever else the file or its vocabulary marks as the end of a turn. */
bool tok_is_end(const struct tok *t, int32_t id);
/* The id spelled exactly so, or -1. */
int32_t tok_find(const struct tok *t, str text);
bool tok_strips_first_space(const struct tok *t);
const char *const *tok_model_names(size_t *n);   /* of all kinds */
const char *tok_model_name(const struct tok *t); /* as GGUF has it: "llama", "gpt2" */

#endif
