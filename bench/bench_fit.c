/* bench_fit: the verdict on a file for a machine that is described elsewhere; for bench/fit.
 *
 *   bench_fit MODEL MACHINE.json CONTEXT SLOTS KV_TYPE
 *
 * MACHINE.json is what a hive answers to GET /v1/machine. Prints the verdict as JSON.
 */
#include <stdio.h>

#include "base/limits.h"
#include "base/map.h"
#include "base/mem.h"
#include "model/source.h"
#include "store/machine.h"

struct bench {
    struct arena arena;
    char *text;
    struct machine machine;
    struct gguf model;
};

static enum err read_machine(struct bench *b, const char *path, struct err_info *e)
{
    const struct json *v;
    size_t n;
    enum err code = map_read_file(path, MIB(8), &b->text, &n, e);

    if (!code) code = json_parse(&b->arena, (str){b->text, n}, &v, e);
    if (!code) code = machine_parse(&b->machine, &b->arena, v, e);
    if (!code && !b->machine.n) code = ERR_FAIL(e, FORMAT, "%s has no device", path);
    return code;
}

static enum err judge(struct bench *b, char **argv, struct err_info *e)
{
    int64_t ctx = 0, slots = 0;
    enum dtype kv = dtype_from_name(str_c(argv[5]));
    struct verdict v;
    struct jsonw w;
    buf out = {.cap = MIB(1)};
    enum err code;

    if (!str_int(str_c(argv[3]), &ctx) || !str_int(str_c(argv[4]), &slots) || kv == DTYPE_COUNT)
        return ERR_FAIL(e, INVALID, "a context, slots and a type of cache are wanted");
    if ((code = source_open(&b->model, argv[1], e))) return code;
    const struct machine_device *d = &b->machine.devices[0];
    struct verdict_ask ask = {(uint32_t)ctx, (uint32_t)slots, kv, kv};
    verdict_header(&v, &b->arena, &b->model, &d->caps, &d->device, &ask);
    jsonw_init(&w, &out);
    verdict_write(&v, &w);
    puts(out.p);
    buf_fini(&out);
    gguf_close(&b->model);
    return ERR_OK;
}

int main(int argc, char **argv)
{
    static struct bench b;
    struct err_info e;
    enum err code;

    if (argc != 6) {
        fprintf(stderr, "usage: bench_fit MODEL MACHINE.json CONTEXT SLOTS KV_TYPE\n");
        return 64;
    }
    arena_init(&b.arena, LIMIT_GGUF_ARENA);
    code = read_machine(&b, argv[2], &e);
    if (!code) code = judge(&b, argv, &e);
    if (code) fprintf(stderr, "bench_fit: %s\n", e.text);
    mem_free(b.text);
    arena_fini(&b.arena);
    return err_exit(code);
}
