/* hive: looks after the workers of one machine.
 *
 * Answers on one address (a unix socket when it is embedded in a queen, TCP otherwise): what models
 * lie here, which workers run, start one, stop one, and passes requests through to them. It spawns
 * worker executables, learns from their one line on standard output that they are ready or why not,
 * unloads those that idle past their keep-alive, makes room for a new model by stopping idle ones,
 * and notices at once when one dies. It decides nothing about routing and looks into no stream. One
 * thread.
 */
#ifndef HIVE_HIVE_H
#define HIVE_HIVE_H

#include "base/err.h"

/* `rbee hive`: argv[0] is the command's name. */
MUST_CHECK enum err hive_main(int argc, char **argv, struct err_info *e);

#endif
