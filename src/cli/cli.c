/* cli: the list of commands, and what happens before one of them runs. */
#include "cli/cli.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/os.h"
#include "cli/table.h"
#include "store/config.h"

/* Grouped: the overview prints them in this order. */
static const struct cli_cmd *const commands[] = {
    &cmd_run,     &cmd_chat,     &cmd_serve,   &cmd_ps,       &cmd_stop,       &cmd_search,
    &cmd_pull,    &cmd_open,     &cmd_catalog, &cmd_ls,       &cmd_show,       &cmd_fit,
    &cmd_explain, &cmd_tokenize, &cmd_convert, &cmd_quantize, &cmd_eval,       &cmd_imatrix,
    &cmd_bench,   &cmd_queen,    &cmd_hive,    &cmd_version,  &cmd_completion, NULL,
};

const struct cli_cmd *const *cli_commands(void)
{
    return commands;
}

static const struct cli_cmd *find(const char *name)
{
    for (size_t i = 0; commands[i]; i++) {
        if (strcmp(commands[i]->name, name) == 0) return commands[i];
        if (commands[i]->alias && strcmp(commands[i]->alias, name) == 0) return commands[i];
    }
    return NULL;
}

int cli_width(void)
{
    struct winsize w;

    if (ioctl(1, TIOCGWINSZ, &w) == 0 && w.ws_col >= 40) return w.ws_col > 120 ? 120 : w.ws_col;
    return 80;
}

const char *cli_bytes(uint64_t n, char out[24])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double v = (double)n;
    size_t u = 0;

    while (v >= 1024 && u + 1 < sizeof units / sizeof units[0]) {
        v /= 1024;
        u++;
    }
    snprintf(out, 24, u == 0 || v >= 100 ? "%.0f %s" : "%.1f %s", v, units[u]);
    return out;
}

enum err cli_parse(const struct cli_cmd *cmd, int argc, char **argv, void *out, bool *help,
                   struct err_info *e)
{
    enum err code;

    if (cmd->prepare) cmd->prepare();
    code = config_parse(cmd->spec, argc, argv, out, help, e);
    if (code || !*help) return code;
    opt_print(cmd->spec, cli_width());
    return ERR_OK;
}

static void overview(void)
{
    const char *group = "";

    printf("rbee: your own machines as one private AI cloud\n\n"
           "Usage: rbee COMMAND [OPTIONS]\n");
    for (size_t i = 0; commands[i]; i++) {
        if (strcmp(group, commands[i]->group) != 0) {
            group = commands[i]->group;
            printf("\n%s\n", group);
        }
        printf("  %-11s %s\n", commands[i]->name, commands[i]->summary);
    }
    printf("\n`rbee COMMAND --help` explains a command. Try:\n  rbee run rbee-tiny \"Tell me "
           "a story.\"\n");
}

/* A command that nobody knows: name the one that looks most like it. */
static enum err unknown(const char *name, struct err_info *e)
{
    const struct cli_cmd *best = NULL;
    size_t best_same = 0;

    for (size_t i = 0; commands[i]; i++) {
        size_t same = 0;

        while (name[same] && name[same] == commands[i]->name[same])
            same++;
        if (same > best_same) {
            best = commands[i];
            best_same = same;
        }
    }
    if (best)
        return ERR_FAIL(e, INVALID, "no command '%s'; did you mean '%s'? `rbee --help` lists all",
                        name, best->name);
    return ERR_FAIL(e, INVALID, "no command '%s'; `rbee --help` lists all", name);
}

static void complain(const char *text)
{
    struct table_look l;
    buf out = {.cap = KIB(8)};

    table_look_of(&l, 2);
    buf_c(&out, "rbee: ");
    table_text(&l, 6, 2, str_c(text), &out);
    fputs(out.p, stderr);
    buf_fini(&out);
}

/* `rbee search | head`: who has read enough is told no error. */
static bool reader_gone(void)
{
    struct pollfd out = {.fd = STDOUT_FILENO};

    return poll(&out, 1, 0) > 0 && out.revents & POLLERR;
}

int cli_main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "--help";
    const struct cli_cmd *cmd;
    struct err_info e = {0};
    char help_flag[] = "--help", *help_args[] = {NULL, help_flag, NULL};
    enum err code;

    os_prepare();
    if (strcmp(name, "help") == 0 && argc > 2 && (cmd = find(argv[2]))) {
        help_args[0] = argv[2];
        code = cmd->run(cmd, 2, help_args, &e);
    } else if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 ||
               strcmp(name, "help") == 0) {
        overview();
        return 0;
    } else if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        printf("rbee %s\n", RBEE_VERSION);
        return 0;
    } else if ((cmd = find(name))) {
        code = cmd->run(cmd, argc - 1, argv + 1, &e);
    } else {
        code = unknown(name, &e);
    }
    errno = 0;
    if ((fflush(stdout) || ferror(stdout)) && !code)
        code =
            reader_gone() ? ERR_OK : err_errno(&e, errno ? errno : EIO, "write", "standard output");
    if (code && e.text[0]) complain(e.text);
    return err_exit(code);
}
