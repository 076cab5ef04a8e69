/* repo: see repo.h. */
#include "model/repo.h"

#include <string.h>

#include "base/utf8.h"

#define PATH_PART_MAX 240 /* room for what a partial file's name adds */

static bool word_ok(str s, const char *more, size_t most)
{
    if (s.n == 0 || s.n > most || s.p[0] == '.' || s.p[0] == '-') return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');

        if (!plain && (c == 0 || !strchr(more, c))) return false;
    }
    return str_find(s, S(".."), 0) == SIZE_MAX;
}

bool repo_id_ok(str id)
{
    str repo, org = str_cut(id, '/', &repo);

    return word_ok(org, "-_.", 96) && word_ok(repo, "-_.", 96);
}

bool repo_revision_ok(str revision)
{
    str rest = revision;

    do {
        if (!word_ok(str_cut(rest, '/', &rest), "-_.", 96)) return false;
    } while (rest.p);
    return revision.n <= 200;
}

/* Not what gives orders to a terminal or turns the direction of writing. */
static bool char_ok(uint32_t c)
{
    return c != UTF8_BAD && c >= 0x20 && (c < 0x7f || c >= 0xa0) && c != '\\' && c != 0x200e &&
           c != 0x200f && (c < 0x202a || c > 0x202e) && (c < 0x2066 || c > 0x2069);
}

bool repo_path_ok(str path)
{
    str rest = path;

    if (path.n > 1024) return false;
    for (size_t at = 0; at < path.n;) {
        if (!char_ok(utf8_next(path, &at))) return false;
    }
    do {
        str part = str_cut(rest, '/', &rest);

        if (part.n == 0 || part.n > PATH_PART_MAX || part.p[0] == '.') return false;
    } while (rest.p);
    return true;
}
