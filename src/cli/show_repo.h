/* show_repo: a repository of the Hub for people: what it is, its files, each with its verdict. */
#ifndef CLI_SHOW_REPO_H
#define CLI_SHOW_REPO_H

#include "cli/client.h"
#include "store/pick.h"

struct show_repo {
    struct client client;
    struct pick_name name;
    bool all_files; /* also those that nobody looks for */
    bool json;      /* the queen's answer as it is */
};

/* Asks the queen, who is started if need be; waits while she asks the Hub. */
MUST_CHECK enum err show_repo(const struct show_repo *o, struct err_info *e);

#endif
