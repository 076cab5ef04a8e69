/* download: what is missing and its journal, the partial file's end, where requests may go. */
#include "store/download_int.h"

#include <openssl/evp.h>
#include <unistd.h>

#include "tap.h"

#define BYTES 1000

static char home[] = "/tmp/rbee-download-XXXXXX";
static char path[512], part_path[512], journal[512];
static uint8_t content[BYTES];
static char sha[65], git[41];

static void hex_of(const EVP_MD *md, const char *head, size_t n, char *out)
{
    uint8_t sum[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    bool good = c && EVP_DigestInit_ex(c, md, NULL) && EVP_DigestUpdate(c, head, n) &&
                EVP_DigestUpdate(c, content, sizeof content) && EVP_DigestFinal_ex(c, sum, &len);

    for (unsigned i = 0; good && i < len; i++)
        snprintf(out + 2 * i, 3, "%02x", sum[i]);
    EVP_MD_CTX_free(c);
}

static bool there(const char *p)
{
    return access(p, F_OK) == 0;
}

/* ---- what is missing ---- */

static void test_todo(void)
{
    struct download_todo t = {0};
    struct download_range r;

    ok(download_todo_add(&t, 100, 200) && download_todo_add(&t, 300, 400) &&
           download_todo_add(&t, 0, 50) && t.n == 3 && t.r[0].to == 50 && t.r[2].from == 300,
       "ranges stand in order");
    ok(download_todo_add(&t, 200, 300) && t.n == 2 && t.r[1].from == 100 && t.r[1].to == 400,
       "neighbours become one");
    ok(download_todo_add(&t, 7, 7) && t.n == 2, "an empty range is none");
    is_int(download_todo_bytes(&t), 350, "bytes");
    ok(download_todo_take(&t, 20, &r) && r.from == 0 && r.to == 20 && t.r[0].from == 20,
       "a piece of the front");
    ok(download_todo_take(&t, 100, &r) && r.from == 20 && r.to == 50 && t.n == 1, "the rest of it");
    ok(download_todo_take(&t, 1000, &r) && r.to == 400 && !download_todo_take(&t, 1, &r),
       "the last, then none");
    for (uint64_t i = 0; i < DOWNLOAD_RANGES; i++)
        (void)download_todo_add(&t, i * 10, i * 10 + 5);
    ok(t.n == DOWNLOAD_RANGES && !download_todo_add(&t, 5000, 5001) &&
           download_todo_add(&t, 5, 10) && t.n == DOWNLOAD_RANGES - 1,
       "a full list takes neighbours only");
}

static void test_journal(void)
{
    static const char *const bad[] = {
        "",
        "rbee download 1\n",
        "rbee download 2\nbytes 1000\ndigest D\nend\n",
        "rbee download 1\nbytes 999\ndigest D\nend\n",
        "rbee download 1\nbytes 1000\ndigest E\nend\n",
        "rbee download 1\nbytes 1000\ndigest D\n",
        "rbee download 1\nbytes 1000\ndigest D\nend",
        "rbee download 1\nbytes 1000\ndigest D\nend\nmore",
        "rbee download 1\nbytes 1000\ndigest D\ntodo 5 1001\nend\n",
        "rbee download 1\nbytes 1000\ndigest D\ntodo -5 10\nend\n",
        "rbee download 1\nbytes 1000\ndigest D\ntodo 9 9\nend\n",
        "rbee download 1\nbytes 1000\ndigest D\ntodo 9\nend\n",
        "rbee download 1\nbytes 1000\ndigest D\ntodo 50 60\ntodo 10 20\nend\n",
        "rbee download 1\nbytes 1000\ndigest D\ntodo 50 60\ntodo 55 70\nend\n",
    };
    struct download_todo t = {0}, back;
    buf b = {.cap = 4096};
    bool none = true, cut = true;

    (void)download_todo_add(&t, 10, 20);
    (void)download_todo_add(&t, 900, 1000);
    download_todo_write(&t, BYTES, S("D"), &b);
    ok(download_todo_parse(&back, buf_view(&b), BYTES, S("D")) && back.n == 2 &&
           memcmp(back.r, t.r, 2 * sizeof *t.r) == 0,
       "a journal is read as it was written");
    for (size_t n = 0; n < b.n; n++)
        cut = cut && !download_todo_parse(&back, str_sub(buf_view(&b), 0, n), BYTES, S("D"));
    ok(cut, "cut off anywhere it is none");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (!download_todo_parse(&back, str_c(bad[i]), BYTES, S("D")) && back.n == 0) continue;
        printf("#   taken: %s\n", bad[i]);
        none = false;
    }
    ok(none, "of another file, with ranges outside of it or in disorder neither");
    buf_fini(&b);
}

/* ---- the partial file ---- */

static struct download_job job_with(const char *digest)
{
    return (struct download_job){.url = "", .path = path, .bytes = BYTES, .digest = str_c(digest)};
}

static enum err finish(struct download_part *p, struct err_info *e)
{
    enum err code;

    while (p->hashed < BYTES)
        if ((code = download_part_hash(p, BYTES, 77, e))) return code;
    return download_part_finish(p, e);
}

static void test_part(const char *digest, const char *kind)
{
    struct download_job job = job_with(digest);
    struct download_part p;
    struct err_info e = {0};
    struct download_range late = {600, 700};
    struct stat st;

    ok(download_part_open(&p, &job, &e) == ERR_OK && download_todo_bytes(&p.todo) == BYTES,
       "%s: a new part misses everything", kind);
    p.todo.n = 0;
    (void)download_todo_add(&p.todo, 900, 1000);
    ok(download_part_write(&p, 0, content, 900, &e) == ERR_OK &&
           download_part_save(&p, &late, 1, &e) == ERR_OK && there(journal),
       "bytes and journal");
    download_part_close(&p);
    ok(download_part_open(&p, &job, &e) == ERR_OK && p.todo.n == 2 && p.todo.r[0].from == 600 &&
           p.todo.r[1].from == 900,
       "opened again it misses what was under way and what was not begun");
    ok(download_part_write(&p, 900, content + 900, 100, &e) == ERR_OK && finish(&p, &e) == ERR_OK &&
           !there(part_path) && !there(journal),
       "the right hash: it has its name, nothing lies beside it");
    ok(stat(path, &st) == 0 && st.st_size == BYTES, "and its size");
    download_part_close(&p);
    unlink(path);
}

static void test_wrong(void)
{
    struct download_job job = job_with(sha), other = job_with(git);
    struct download_part p, q;
    struct err_info e = {0};

    if (download_part_open(&p, &job, &e)) {
        ok(false, "a part");
        return;
    }
    content[5] ^= 1;
    ok(download_part_write(&p, 0, content, BYTES, &e) == ERR_OK && finish(&p, &e) == ERR_FORMAT &&
           strstr(e.text, "hash") && !there(part_path) && !there(path),
       "one wrong bit: refused and removed");
    content[5] ^= 1;
    download_part_close(&p);
    ok(download_part_open(&p, &job, &e) == ERR_OK, "begun anew");
    ok(download_part_open(&q, &job, &e) == ERR_EXISTS && strstr(e.text, "another process"),
       "a second one at the same time is kept out");
    download_part_close(&q);
    p.todo.n = 0;
    ok(download_part_save(&p, NULL, 0, &e) == ERR_OK, "a journal that misses nothing");
    download_part_close(&p);
    ok(download_part_open(&p, &other, &e) == ERR_OK && download_todo_bytes(&p.todo) == BYTES,
       "is nothing to a file with another hash");
    download_part_close(&p);
    unlink(part_path);
    unlink(journal);
}

static void test_room(void)
{
    struct download_job job = job_with(sha);
    struct download_part p;
    struct err_info e = {0};

    job.bytes = (uint64_t)1 << 60;
    ok(download_part_open(&p, &job, &e) == ERR_NOSPACE && strstr(e.text, "short"),
       "a file larger than the disk");
    is_int(download_missing(&job), (int64_t)job.bytes, "all of it is missing");
    download_part_close(&p);
    unlink(part_path);
}

/* ---- addresses ---- */

static void test_addresses(void)
{
    static const struct {
        const char *url, *endpoint;
        bool allowed, same;
    } cases[] = {
        {"https://huggingface.co/x", "https://huggingface.co", true, true},
        {"https://huggingface.co:443/x", "https://huggingface.co", true, true},
        {"https://huggingface.co:444/x", "https://huggingface.co", true, false},
        {"https://HuggingFace.co/x", "https://huggingface.co", true, true},
        {"https://cdn-lfs.hf.co/x", "https://huggingface.co", true, false},
        {"https://cas-bridge.xethub.hf.co/x", "https://huggingface.co", true, false},
        {"https://cas-bridge.xethub.hf.co/x", "https://mirror.example", true, false},
        {"https://mirror.example/x", "https://mirror.example", true, true},
        {"https://mirror.example/x", "https://huggingface.co", false, false},
        {"https://evilhf.co/x", "https://huggingface.co", false, false},
        {"https://hf.co.evil.example/x", "https://huggingface.co", false, false},
        {"https://huggingface.co@evil.example/x", "https://huggingface.co", false, false},
        {"https://me:pw@huggingface.co/x", "https://huggingface.co", false, true},
        {"http://huggingface.co/x", "https://huggingface.co", false, false},
        {"http://127.0.0.1/x", "https://huggingface.co", false, false},
        {"http://127.0.0.1:8/x", "http://127.0.0.1:8", true, true},
        {"http://127.0.0.1:9/x", "http://127.0.0.1:8", true, false},
        {"http://localhost:8/x", "http://127.0.0.1:8", true, false},
        {"http://[::1]:8/x", "http://127.0.0.1:8", true, false},
        {"http://10.0.0.1/x", "http://127.0.0.1:8", false, false},
        {"file:///etc/passwd", "https://huggingface.co", false, false},
        {"nonsense://x", "https://huggingface.co", false, false},
        {"", "https://huggingface.co", false, false},
    };
    bool good = true;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (download_http_allowed(cases[i].url, cases[i].endpoint) == cases[i].allowed &&
            download_http_same_origin(cases[i].url, cases[i].endpoint) == cases[i].same)
            continue;
        printf("#   %s from %s\n", cases[i].url, cases[i].endpoint);
        good = false;
    }
    ok(good, "where requests may go, and where the token");
}

static void test_pauses(void)
{
    bool grows = true;

    for (uint32_t i = 1; i < 40; i++) {
        uint64_t p = download_http_pause(i, 0);

        if (p < 250 || p > 30000 || (i > 7 && p < 15000)) grows = false;
    }
    ok(grows, "pauses grow from a quarter of a second to half a minute at most");
    ok(download_http_pause(1, 5000) == 5000 && download_http_pause(1, 9000000) == 120000,
       "the server's wish counts, up to two minutes");
}

int main(void)
{
    struct err_info e;
    char head[32];

    if (!mkdtemp(home) || download_init(&e)) {
        ok(false, "a folder for the test");
        return tap_end();
    }
    for (size_t i = 0; i < sizeof content; i++)
        content[i] = (uint8_t)(i * 7 + i / 256);
    hex_of(EVP_sha256(), "", 0, sha);
    snprintf(head, sizeof head, "blob %d", BYTES);
    hex_of(EVP_sha1(), head, strlen(head) + 1, git);
    snprintf(path, sizeof path, "%s/m.gguf", home);
    snprintf(part_path, sizeof part_path, "%s/.m.gguf.part", home);
    snprintf(journal, sizeof journal, "%s/.m.gguf.part.todo", home);
    test_todo();
    test_journal();
    test_part(sha, "sha256");
    test_part(git, "git");
    test_wrong();
    test_room();
    test_addresses();
    test_pauses();
    rmdir(home);
    ok(!there(home), "nothing stays in the folder");
    return tap_end();
}
