/* tok_hf: what the readers of Hugging Face's JSON files share. */
#ifndef TEXT_TOK_HF_H
#define TEXT_TOK_HF_H

#include "base/json.h"
#include "text/tok_spec.h"

/* A file being read into a spec. */
struct tok_hf {
    struct tok_spec *s;
    struct arena *arena; /* lives as long as the tokenizer */
    str bytes;           /* of tokenizer.json: they live as long */
    struct arena tree;   /* of the parsed files, only while reading */
    bool byte_level;     /* the vocabulary spells bytes as GPT-2 does */
    struct err_info *e;
};

/* A string of the tree that outlives it; .p NULL: no memory. */
str tok_hf_keep(const struct tok_hf *h, str s);
/* Where a list of steps holds lists of steps: calls f for each that is none, in order. `list` names
 * the member that holds them. */
MUST_CHECK enum err tok_hf_each(struct tok_hf *h, const struct json *step, const char *list,
                                enum err (*f)(struct tok_hf *, const struct json *));
/* normalizer, pre_tokenizer and decoder. */
MUST_CHECK enum err tok_hf_rules(struct tok_hf *h, const struct json *root);
/* The bytes that base64 digits stand for; .p NULL: they are none, or no memory. */
str tok_hf_base64(struct arena *a, str s);

/* The id of a spelling, or -1. */
int32_t tok_hf_find(const struct tok_spec *s, str text);
/* Grows the vocabulary to hold `id`; new tokens are unused ones. *cap as last left. */
MUST_CHECK enum err tok_hf_room(struct tok_hf *h, int64_t id, uint32_t *cap);
/* added_tokens of tokenizer.json or added_tokens_decoder of tokenizer_config.json. */
MUST_CHECK enum err tok_hf_added(struct tok_hf *h, const struct json *list, uint32_t *cap);
/* bos, eos, unk and whether they are put around a text, as tokenizer_config.json and
 * special_tokens_map.json say; either may be empty. */
MUST_CHECK enum err tok_hf_config(struct tok_hf *h, str config, str special, uint32_t *cap);

#endif
