/* cmd_run: `rbee run`: one prompt, one answer, streamed.
 *
 * The model file is looked at before anything is started, so that a wrong path costs nothing and
 * leaves nothing running; a queen that was started for a run that then fails to load its model is
 * stopped again. Without a prompt the prompt is standard input, and on a terminal the command
 * becomes a chat.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "cli/ask.h"
#include "cli/cli.h"
#include "store/store.h"

struct run_opts {
    struct ask_opts ask;
    const char *model;
    struct opt_list words;
};

static struct opt rows[ASK_ROWS_MAX];

static const struct opt_pos pos[] = {
    {"MODEL", offsetof(struct run_opts, model), true, false,
     "name of a model here, or a .gguf file"},
    {"PROMPT", offsetof(struct run_opts, words), false, true, "text; standard input when absent"},
    {0},
};

static const struct opt_spec spec = {
    .opts = rows,
    .pos = pos,
    .command = "rbee run",
    .summary = "Asks a model and streams its answer, starting what is needed.",
    .examples = "rbee run rbee-tiny \"Tell me a story about a fox.\"\n"
                "rbee run ./model.gguf \"Once upon a time\" --raw --temperature 0 --max-tokens 40\n"
                "cat letter.txt | rbee run rbee-tiny --system \"Summarise.\"",
};

static void join_words(const struct opt_list *w, buf *out)
{
    for (int i = 0; i < w->n; i++) {
        if (i) buf_ch(out, ' ');
        buf_c(out, w->v[i]);
    }
}

static enum err read_stdin(buf *out, struct err_info *e)
{
    char tmp[65536];
    size_t n;

    while ((n = fread(tmp, 1, sizeof tmp, stdin)) > 0)
        buf_put(out, tmp, n);
    if (out->failed) return ERR_FAIL(e, LIMIT, "standard input is larger than %zu bytes", out->cap);
    return ERR_OK;
}

static void prepare(void)
{
    static const struct opt none[] = {{0}};

    ask_rows(rows, offsetof(struct run_opts, ask), none);
}

static enum err run(const struct cli_cmd *cmd, int argc, char **argv, struct err_info *e)
{
    struct run_opts o = {0};
    char model[STORE_PATH_MAX];
    buf prompt = {.cap = LIMIT_HTTP_BODY};
    struct ask_turn turn = {.role = "user"};
    bool help;
    enum err code;

    if ((code = cli_parse(cmd, argc, argv, &o, &help, e)) || help) return code;
    if (o.words.n == 0 && isatty(0) && !o.ask.raw) return cmd_chat.run(&cmd_chat, argc, argv, e);
    if ((code = ask_resolve(&o.ask.client, o.model, model, sizeof model, e))) return code;
    if (o.words.n)
        join_words(&o.words, &prompt);
    else
        code = read_stdin(&prompt, e);
    client_catch_interrupt();
    if (!code) code = client_ensure(&o.ask.client, e);
    if (!code) {
        turn.text = buf_view(&prompt);
        code = ask_model(&o.ask, model, &turn, 1, NULL, e);
        if (code && code != ERR_CANCELLED) client_undo(&o.ask.client);
    }
    buf_fini(&prompt);
    return code;
}

const struct cli_cmd cmd_run = {
    .name = "run",
    .group = "Use models",
    .summary = "ask a model one thing and stream the answer",
    .spec = &spec,
    .prepare = prepare,
    .run = run,
};
