/* cmd_chat: `rbee chat`: a conversation on the terminal.
 *
 * The whole conversation goes along with each turn; the worker reuses the prefix that it knows.
 * Ctrl-C stops an answer, Ctrl-D or /bye ends.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "cli/ask.h"
#include "cli/cli.h"
#include "store/store.h"

#define TURNS_MAX 4096

struct chat_opts {
    struct ask_opts ask;
    const char *model;
};

static struct opt rows[ASK_ROWS_MAX];

static const struct opt_pos pos[] = {
    {"MODEL", offsetof(struct chat_opts, model), true, false,
     "name of a model here, or a .gguf file"},
    {0},
};

static const struct opt_spec spec = {
    .opts = rows,
    .pos = pos,
    .command = "rbee chat",
    .summary = "Talks with a model on the terminal. /clear forgets, /bye ends.",
    .examples = "rbee chat rbee-tiny --system \"You are kind.\"",
};

struct talk {
    struct chat_opts *o;
    const char *model;
    struct arena a; /* of the turns */
    struct ask_turn turns[TURNS_MAX];
    size_t n;
};

static void add(struct talk *t, const char *role, str text)
{
    str copy = arena_str(&t->a, text);

    if (copy.p) t->turns[t->n++] = (struct ask_turn){role, copy};
}

/* One exchange. An interrupted answer stays in the conversation as far as it came. */
static enum err exchange(struct talk *t, str line, struct err_info *e)
{
    buf reply = {.cap = LIMIT_HTTP_BODY};
    atomic_bool *interrupted = client_catch_interrupt();
    enum err code;

    add(t, "user", line);
    code = ask_model(&t->o->ask, t->model, t->turns, t->n, &reply, e);
    if (atomic_exchange(interrupted, false)) {
        fputs("[stopped]\n", stdout);
        code = ERR_OK;
    }
    if (code)
        t->n--;
    else
        add(t, "assistant", buf_view(&reply));
    buf_fini(&reply);
    return code;
}

static enum err talk_on(struct talk *t, struct err_info *e)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t got;
    enum err code = ERR_OK;

    for (;;) {
        str s;

        if (isatty(0)) {
            fputs(">>> ", stdout);
            fflush(stdout);
        }
        if ((got = getline(&line, &size, stdin)) < 0) break;
        s = str_trim((str){line, (size_t)got});
        if (s.n == 0) continue;
        if (str_eqc(s, "/bye")) break;
        if (str_eqc(s, "/clear")) {
            t->n = 0;
            arena_clear(&t->a);
            continue;
        }
        if (t->n + 2 > TURNS_MAX) {
            code =
                ERR_FAIL(e, LIMIT, "the conversation has %d turns; /clear begins anew", TURNS_MAX);
            break;
        }
        if ((code = exchange(t, s, e))) {
            if (code == ERR_UNAVAILABLE || code == ERR_NOMODEL) break;
            fprintf(stderr, "rbee: %s\n", e->text);
            code = ERR_OK;
        }
    }
    free(line); /* getline's own */
    if (isatty(0)) putchar('\n');
    return code;
}

static void prepare(void)
{
    static const struct opt none[] = {{0}};

    ask_rows(rows, offsetof(struct chat_opts, ask), none);
}

static enum err run(const struct cli_cmd *cmd, int argc, char **argv, struct err_info *e)
{
    static struct talk t;
    struct chat_opts o = {0};
    char model[STORE_PATH_MAX];
    bool help;
    enum err code;

    if ((code = cli_parse(cmd, argc, argv, &o, &help, e)) || help) return code;
    if ((code = ask_resolve(&o.ask.client, o.model, model, sizeof model, e))) return code;
    client_catch_interrupt();
    if ((code = client_ensure(&o.ask.client, e))) return code;
    t.o = &o;
    t.model = model;
    arena_init(&t.a, LIMIT_REQ_ARENA);
    if (isatty(0)) printf("%s. Ctrl-C stops an answer, /bye ends.\n", o.model);
    code = talk_on(&t, e);
    arena_fini(&t.a);
    return code;
}

const struct cli_cmd cmd_chat = {
    .name = "chat",
    .group = "Use models",
    .summary = "talk with a model on the terminal",
    .spec = &spec,
    .prepare = prepare,
    .run = run,
};
