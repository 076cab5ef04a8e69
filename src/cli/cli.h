/* cli: the `rbee` command line.
 *
 * A command is one file with one `const struct cli_cmd`, listed once in cli.c. Its options are a
 * table (base/opt.h), from which parser, help and completions are made. Commands talk to a queen
 * over HTTP or read model files; they link no kernel. Exit codes come from err.def.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "base/err.h"
#include "base/opt.h"

struct cli_cmd {
    const char *name;
    const char *alias; /* or NULL */
    const char *group; /* heading in the overview */
    const char *summary;
    const struct opt_spec *spec; /* NULL: the command parses and explains itself */
    void (*prepare)(void); /* fills in the spec's rows where they are made at run time; or NULL */
    /* argv[0] is the command's name. With a spec, --help was dealt with before. */
    enum err (*run)(const struct cli_cmd *cmd, int argc, char **argv, struct err_info *e);
};

/* The whole program; returns the exit code. */
int cli_main(int argc, char **argv);

/* All commands in order, NULL-terminated. */
const struct cli_cmd *const *cli_commands(void);
/* Parses by the command's spec. *help: it was asked for and has been printed. */
MUST_CHECK enum err cli_parse(const struct cli_cmd *cmd, int argc, char **argv, void *out,
                              bool *help, struct err_info *e);
/* Width of the terminal, 80 when standard output is none. */
int cli_width(void);
/* "1.3 GiB" */
const char *cli_bytes(uint64_t n, char out[24]);

/* The executable that links kernels: RBEE_WORKER, or the one beside this program. */
MUST_CHECK enum err cmd_worker_path(char *out, size_t size, struct err_info *e);

extern const struct cli_cmd cmd_run, cmd_chat, cmd_serve, cmd_ls, cmd_ps, cmd_show, cmd_stop,
    cmd_fit, cmd_explain, cmd_tokenize, cmd_convert, cmd_quantize, cmd_imatrix, cmd_eval, cmd_bench,
    cmd_version, cmd_completion, cmd_queen, cmd_hive, cmd_pull, cmd_open, cmd_catalog, cmd_search;

#endif
