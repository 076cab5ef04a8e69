/* chat: messages to prompt text, by the model's own template.
 *
 * The template is Jinja as transformers sets it up (trim_blocks, lstrip_blocks, loop controls,
 * raise_exception, strftime_now, tojson), compiled once per model and run by a small machine with
 * caps on steps, depth and output and no input or output of its own (text/jinja.h). The values come
 * in as JSON trees. A model without a template is asked with ChatML and says so.
 *
 * chat_render() also reports which bytes of the result came from message contents: those are
 * tokenised as plain text, so that a user who writes "<|im_end|>" ends nothing.
 */
#ifndef TEXT_CHAT_H
#define TEXT_CHAT_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "text/tok.h"

struct chat;

/* `source` may be empty (ChatML is used). bos and eos are the token texts given to the template. */
MUST_CHECK enum err chat_open(struct chat **out, str source, str bos, str eos, struct err_info *e);
void chat_close(struct chat *c);
bool chat_is_default(const struct chat *c); /* the model had no template */

struct chat_input {
    const struct json *messages; /* array of {role, content, ...} */
    const struct json *tools;    /* or NULL */
    const struct json *extra;    /* chat_template_kwargs, or NULL */
    bool add_generation_prompt;
    int64_t now; /* unix time for strftime_now */
};

/* Renders into *out. A template's raise_exception() gives ERR_INVALID with its text. */
MUST_CHECK enum err chat_render(const struct chat *c, struct arena *scratch,
                                const struct chat_input *in, buf *out, struct err_info *e);
/* Renders and tokenises: control tokens of the template are parsed, those in message contents are
 * not. BOS is not doubled. */
MUST_CHECK enum err chat_encode(const struct chat *c, const struct tok *t, struct arena *a,
                                const struct chat_input *in, int32_t **ids, size_t *n,
                                struct err_info *e);

#endif
