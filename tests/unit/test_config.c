/* test_config: the configuration file as the third source of options. */
#include <unistd.h>

#include "base/os.h"
#include "store/config.h"
#include "tap.h"

struct o {
    int64_t port;
    const char *host;
};

static const struct opt rows[] = {
    {"port", 0, OPT_INT, offsetof(struct o, port), "N", "1", NULL, 1, 65535, "TEST_RBEE_PORT",
     "port", "port"},
    {"host", 0, OPT_STR, offsetof(struct o, host), "ADDR", "here", NULL, 0, 0, NULL, "host",
     "host"},
    {0},
};

/* Each case runs in a process of its own, for the file is read once. */
static int run(const char *text, int argc, char **argv, struct o *out, struct err_info *e)
{
    char path[256];
    const struct opt_spec spec = {.opts = rows, .command = "test", .summary = "test"};
    bool help;
    FILE *f;

    snprintf(path, sizeof path, "%s/rbee", getenv("XDG_CONFIG_HOME"));
    if (os_mkdirs(path, e)) return -1;
    snprintf(path, sizeof path, "%s/rbee/rbee.conf", getenv("XDG_CONFIG_HOME"));
    if (!text)
        unlink(path);
    else if ((f = fopen(path, "w"))) {
        fputs(text, f);
        fclose(f);
    }
    return (int)config_parse(&spec, argc, argv, out, &help, e);
}

int main(int argc, char **argv)
{
    char dir[] = "/tmp/rbee-config-XXXXXX", cmd[1200];
    const char *which = argc > 1 ? argv[1] : NULL;
    char name[] = "test", flag[] = "--port=9", *with[] = {name, flag, NULL};
    struct o o = {0};
    struct err_info e = {0};

    if (!which) {
        ok(mkdtemp(dir) != NULL, "a folder for the configuration");
        setenv("XDG_CONFIG_HOME", dir, 1);
        for (int i = 0; i < 5; i++) {
            snprintf(cmd, sizeof cmd, "'%s' %d > %s/out", argv[0], i, dir);
            ok(system(cmd) == 0, "case %d", i);
        }
        snprintf(cmd, sizeof cmd, "rm -r %s", dir);
        return system(cmd) ? 1 : tap_end();
    }
    switch (which[0]) {
    case '0':
        return run(NULL, 1, with, &o, &e) == 0 && o.port == 1 && strcmp(o.host, "here") == 0 ? 0
                                                                                             : 1;
    case '1':
        return run("# a comment\n[queen]\nport = 8 ; why\nhost=there\n", 1, with, &o, &e) == 0 &&
                       o.port == 8 && strcmp(o.host, "there") == 0
                   ? 0
                   : 1;
    case '2': return run("port = 8\n", 2, with, &o, &e) == 0 && o.port == 9 ? 0 : 1;
    case '3':
        return run("port = 70000\n", 1, with, &o, &e) == ERR_INVALID && strstr(e.text, "port") ? 0
                                                                                               : 1;
    default:
        return run("port = 8\nnonsense\n", 1, with, &o, &e) == ERR_FORMAT &&
                       strstr(e.text, "line 2")
                   ? 0
                   : 1;
    }
}
