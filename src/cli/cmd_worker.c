/* cmd_worker: `rbee eval`, `rbee imatrix` and `rbee bench`: run by the worker executable itself,
 * which takes over this process; `rbee` links no kernel. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/os.h"
#include "cli/cli.h"
#include "store/store.h"

#define ARGS_MAX 256

enum err cmd_worker_path(char *out, size_t size, struct err_info *e)
{
    char dir[STORE_PATH_MAX - 32];
    const char *given = getenv("RBEE_WORKER");

    if (given)
        snprintf(out, size, "%s", given);
    else if (os_exe_dir(dir, sizeof dir))
        snprintf(out, size, "%s/llm-worker-rbee-cpu", dir);
    else
        return ERR_FAIL(e, INTERNAL, "cannot find this program's folder");
    return ERR_OK;
}

static enum err become_worker(const struct cli_cmd *cmd, int argc, char **argv, struct err_info *e)
{
    char exe[STORE_PATH_MAX];
    const char *args[ARGS_MAX];
    int n = 0;
    enum err code = cmd_worker_path(exe, sizeof exe, e);

    if (code) return code;
    if (argc + 2 > ARGS_MAX) return ERR_FAIL(e, INVALID, "too many arguments");
    args[n++] = exe;
    args[n++] = cmd->name;
    for (int i = 1; i < argc; i++)
        args[n++] = argv[i];
    args[n] = NULL;
    execv(exe, (char *const *)(uintptr_t)args);
    return err_errno(e, errno, "start the worker", exe);
}

const struct cli_cmd cmd_eval = {
    .name = "eval",
    .group = "Measure",
    .summary = "write the logits of a token file, or its perplexity",
    .run = become_worker,
};

const struct cli_cmd cmd_imatrix = {
    .name = "imatrix",
    .group = "Measure",
    .summary = "measure on a text which columns of the weights matter",
    .run = become_worker,
};

const struct cli_cmd cmd_bench = {
    .name = "bench",
    .group = "Measure",
    .summary = "measure prefill and decode speed of a model here",
    .run = become_worker,
};
