/* cmd_meta: `rbee version` and `rbee completion`: about the program itself. */
#include <stdio.h>
#include <string.h>

#include "base/os.h"
#include "cli/cli.h"

struct version_opts {
    bool json;
};

static const struct opt version_rows[] = {
    {"json", 0, OPT_BOOL, offsetof(struct version_opts, json), NULL, NULL, NULL, 0, 0, NULL, NULL,
     "print as JSON"},
    {0},
};

static const struct opt_spec version_spec = {
    .opts = version_rows, .command = "rbee version", .summary = "Prints the version of rbee."};

static enum err run_version(const struct cli_cmd *cmd, int argc, char **argv, struct err_info *e)
{
    struct version_opts o = {0};
    bool help;
    enum err code = cli_parse(cmd, argc, argv, &o, &help, e);

    if (code || help) return code;
    if (o.json)
        printf("{\"version\":\"%s\",\"cpu\":\"%s\",\"cores\":%d}\n", RBEE_VERSION, os_cpu_name(),
               os_cpu_count());
    else
        printf("rbee %s\n", RBEE_VERSION);
    return ERR_OK;
}

const struct cli_cmd cmd_version = {
    .name = "version",
    .group = "About rbee",
    .summary = "print the version",
    .spec = &version_spec,
    .run = run_version,
};

/* ---- completion ---- */

struct completion_opts {
    const char *shell;
};

static const struct opt completion_rows[] = {{0}};

static const struct opt_pos completion_pos[] = {
    {"SHELL", offsetof(struct completion_opts, shell), true, false, "bash, zsh or fish"},
    {0},
};

static const struct opt_spec completion_spec = {
    .opts = completion_rows,
    .pos = completion_pos,
    .command = "rbee completion",
    .summary = "Prints a completion script for a shell.",
    .examples = "rbee completion bash > ~/.local/share/bash-completion/completions/rbee",
};

static const struct opt *rows_of(const struct cli_cmd *c)
{
    if (c->prepare) c->prepare();
    return c->spec ? c->spec->opts : NULL;
}

static void print_names(const char *before, const char *after)
{
    for (size_t i = 0; cli_commands()[i]; i++)
        printf("%s%s%s", before, cli_commands()[i]->name, after);
}

static void print_flags(const struct cli_cmd *c, const char *before, const char *after)
{
    for (const struct opt *o = rows_of(c); o && o->flag; o++)
        printf("%s%s%s", before, o->flag, after);
}

static void bash(void)
{
    printf("_rbee() {\n    local cur=${COMP_WORDS[COMP_CWORD]} words\n"
           "    if [ \"$COMP_CWORD\" -eq 1 ]; then words=\"");
    print_names("", " ");
    printf("\"\n    else case ${COMP_WORDS[1]} in\n");
    for (size_t i = 0; cli_commands()[i]; i++) {
        printf("        %s) words=\"--help", cli_commands()[i]->name);
        print_flags(cli_commands()[i], " --", "");
        printf("\" ;;\n");
    }
    printf("    esac; fi\n    COMPREPLY=($(compgen -W \"$words\" -f -- \"$cur\"))\n}\n"
           "complete -F _rbee rbee\n");
}

static void zsh(void)
{
    printf("#compdef rbee\n_rbee() {\n    if (( CURRENT == 2 )); then compadd");
    print_names(" ", "");
    printf("\n    else case $words[2] in\n");
    for (size_t i = 0; cli_commands()[i]; i++) {
        printf("        %s) compadd -- --help", cli_commands()[i]->name);
        print_flags(cli_commands()[i], " --", "");
        printf("; _files ;;\n");
    }
    printf("    esac; fi\n}\n_rbee \"$@\"\n");
}

static void fish(void)
{
    for (size_t i = 0; cli_commands()[i]; i++) {
        const struct cli_cmd *c = cli_commands()[i];

        printf("complete -c rbee -n __fish_use_subcommand -a %s -d \"%s\"\n", c->name, c->summary);
        for (const struct opt *o = rows_of(c); o && o->flag; o++)
            printf("complete -c rbee -n '__fish_seen_subcommand_from %s' -l %s\n", c->name,
                   o->flag);
    }
}

static enum err run_completion(const struct cli_cmd *cmd, int argc, char **argv, struct err_info *e)
{
    static const struct {
        const char *name;
        void (*print)(void);
    } shells[] = {{"bash", bash}, {"zsh", zsh}, {"fish", fish}};
    struct completion_opts o = {0};
    bool help;
    enum err code = cli_parse(cmd, argc, argv, &o, &help, e);

    if (code || help) return code;
    for (size_t i = 0; i < sizeof shells / sizeof shells[0]; i++) {
        if (strcmp(o.shell, shells[i].name) != 0) continue;
        shells[i].print();
        return ERR_OK;
    }
    return ERR_FAIL(e, INVALID, "no completion for '%s'; there is bash, zsh and fish", o.shell);
}

const struct cli_cmd cmd_completion = {
    .name = "completion",
    .group = "About rbee",
    .summary = "print a completion script for a shell",
    .spec = &completion_spec,
    .run = run_completion,
};
