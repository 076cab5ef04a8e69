/* rbee: the main file of the command line and, as subcommands, of queen and hive. */
#include "cli/cli.h"

int main(int argc, char **argv)
{
    return cli_main(argc, argv);
}
