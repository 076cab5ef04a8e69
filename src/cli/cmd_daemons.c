/* cmd_daemons: `rbee queen` and `rbee hive`. */
#include "cli/cli.h"
#include "hive/hive.h"
#include "queen/queen.h"

static enum err run_queen(const struct cli_cmd *cmd, int argc, char **argv, struct err_info *e)
{
    (void)cmd;
    return queen_main(argc, argv, e);
}

static enum err run_hive(const struct cli_cmd *cmd, int argc, char **argv, struct err_info *e)
{
    (void)cmd;
    return hive_main(argc, argv, e);
}

const struct cli_cmd cmd_queen = {
    .name = "queen",
    .group = "Daemons",
    .summary = "answer clients and route to workers, in the foreground",
    .run = run_queen,
};

const struct cli_cmd cmd_hive = {
    .name = "hive",
    .group = "Daemons",
    .summary = "look after this machine's workers (a queen starts its own)",
    .run = run_hive,
};
