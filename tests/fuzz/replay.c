/* replay: runs a fuzz target over files of a corpus, without libFuzzer, and prints TAP.
 *
 * Arguments are files or folders (not nested). One test a file: it passes when the target returns.
 */
#include <dirent.h>

#include "../tap.h"
#include "base/map.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void replay_file(const char *path)
{
    struct err_info e;
    char *p;
    size_t n;

    if (map_read_file(path, (size_t)1 << 24, &p, &n, &e)) {
        ok(false, "%s: %s", path, e.text);
        return;
    }
    LLVMFuzzerTestOneInput((const uint8_t *)p, n);
    mem_free(p);
    ok(true, "%s", strrchr(path, '/') ? strrchr(path, '/') + 1 : path);
}

int main(int argc, char **argv)
{
    char path[4096];
    struct dirent *d;

    for (int i = 1; i < argc; i++) {
        DIR *dir = opendir(argv[i]);

        if (!dir) {
            replay_file(argv[i]);
            continue;
        }
        while ((d = readdir(dir))) {
            if (d->d_name[0] == '.') continue;
            snprintf(path, sizeof path, "%s/%s", argv[i], d->d_name);
            replay_file(path);
        }
        closedir(dir);
    }
    return tap_end();
}
