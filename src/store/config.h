/* config: the configuration file, ~/.config/rbee/rbee.conf, INI.
 *
 * Keys are those of the option tables (base/opt.h), with or without sections; a key that stands
 * twice counts where it stands last. Flags and environment override it. A missing file is an empty
 * one.
 */
#ifndef STORE_CONFIG_H
#define STORE_CONFIG_H

#include "base/err.h"
#include "base/opt.h"

/* opt_parse() with that file as the third source. Its values live until the process ends. */
MUST_CHECK enum err config_parse(const struct opt_spec *spec, int argc, char **argv, void *out,
                                 bool *help, struct err_info *e);

#endif
