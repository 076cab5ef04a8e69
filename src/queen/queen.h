/* queen: the one address that clients talk to.
 *
 * Speaks the OpenAI API, finds or makes a worker for the model that a request names, and passes the
 * request through; bytes of a reply go client <- queen <- hive <- worker as they come. With no hive
 * configured it runs one for this machine as a child process. It links no kernel and opens no
 * model. One thread.
 */
#ifndef QUEEN_QUEEN_H
#define QUEEN_QUEEN_H

#include "base/err.h"

#define QUEEN_PORT 7833

/* `rbee queen`: argv[0] is the command's name. */
MUST_CHECK enum err queen_main(int argc, char **argv, struct err_info *e);

#endif
