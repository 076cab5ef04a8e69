/* opt: one table of options per command gives the parser, --help, the man page and completions.
 *
 * A row names the flag, the environment variable and the key of the configuration file, its type,
 * its limits, its default and its help text, and where in the caller's struct the value goes. Order
 * of precedence: flag, environment, file, default. Values are checked against the row; the error
 * names the option, the value and what is allowed. Strings are borrowed from argv, environ or the
 * table. A list takes all its values from one source. An empty environment variable counts as
 * unset.
 */
#ifndef BASE_OPT_H
#define BASE_OPT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum opt_type {
    OPT_BOOL, /* bool; --flag and --no-flag */
    OPT_INT,  /* int64_t */
    OPT_NUM,  /* double */
    OPT_STR,  /* const char * */
    OPT_ENUM, /* const char *, one of `choices` ("a|b|c") */
    OPT_SIZE, /* int64_t bytes; accepts 4k, 16M, 2G (powers of 1024) */
    OPT_TIME, /* int64_t milliseconds; accepts 500ms, 10s, 5m, 2h, -1 for "for ever" */
    OPT_LIST, /* struct opt_list: may be given several times */
};

#define OPT_LIST_MAX 32
struct opt_list {
    const char *v[OPT_LIST_MAX];
    int n;
};

struct opt {
    const char *flag; /* "max-tokens": --max-tokens; NULL for positional-only rows */
    char letter;      /* 'n': -n, or 0 */
    enum opt_type type;
    size_t at;           /* offsetof in the caller's struct */
    const char *arg;     /* "N", "FILE": shown in help; NULL for OPT_BOOL */
    const char *dflt;    /* as text, parsed like a value; NULL: zero, and shown as no default */
    const char *choices; /* OPT_ENUM: "a|b|c" */
    double min, max;     /* OPT_INT, OPT_NUM, OPT_SIZE, OPT_TIME when min < max */
    const char *env;     /* "RBEE_PORT" or NULL */
    const char *key;     /* key of rbee.conf or NULL */
    const char *help;    /* one line */
};

/* Positional arguments: filled in order; `required` of them must be there, the rest may be. */
struct opt_pos {
    const char *name; /* "MODEL" */
    size_t at;        /* const char * in the caller's struct */
    bool required;
    bool rest; /* last one only: struct opt_list, takes what remains */
    const char *help;
};

/* Looks up a configuration value; NULL when the file does not have the key. */
typedef const char *opt_config_fn(const char *key, void *owner);

struct opt_spec {
    const struct opt *opts;    /* ends with a row whose flag is NULL */
    const struct opt_pos *pos; /* ends with a row whose name is NULL; may be NULL */
    const char *command;       /* "rbee run" */
    const char *summary;       /* one line */
    const char *details;       /* paragraphs below the options, or NULL */
    const char *examples;      /* lines, or NULL */
    opt_config_fn *config;     /* or NULL */
    void *config_owner;
};

/* argv[0] is the command itself. *help is set when -h or --help was given: nothing is required
 * then.
 * `--` ends the options. Options and positionals may be mixed. */
MUST_CHECK enum err opt_parse(const struct opt_spec *spec, int argc, char **argv, void *out,
                              bool *help, struct err_info *e);
void opt_help(const struct opt_spec *spec, buf *out, int width);
/* The help on standard output; width 0: 80 columns. */
void opt_print(const struct opt_spec *spec, int width);

/* One value by type, for whoever reads numbers with units elsewhere; stored at out + o->at. */
MUST_CHECK enum err opt_value(const struct opt *o, const char *text, void *out, struct err_info *e);

#endif
