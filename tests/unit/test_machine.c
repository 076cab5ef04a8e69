/* machine: the description of a machine, read back. What asks the worker is tests/wire/machine.py.
 */
#include "store/machine.h"

#include "base/limits.h"
#include "base/map.h"
#include "base/mem.h"
#include "tap.h"

static struct arena arena;
static struct err_info err;
static char *caps; /* JSON of a worker's capabilities */

#define DEVICE                                                                                     \
    "\"id\":\"cpu\",\"backend\":\"cpu\",\"worker\":\"llm-worker-rbee-cpu\",\"memory_total\":64,"   \
    "\"memory_available\":32,\"threads\":3"

/* A machine with these devices and the one worker. */
static enum err parse(struct machine *m, const char *devices)
{
    const struct json *v = NULL;
    str text = arena_printf(&arena,
                            "{\"name\":\"pc\",\"os\":\"linux\",\"arch\":\"x86_64\",\"cpu\":\"c\","
                            "\"devices\":%s,\"workers\":[%s]}",
                            devices, caps);
    enum err e = text.p ? json_parse(&arena, text, &v, &err) : ERR_NOMEM;
    return e ? e : machine_parse(m, &arena, v, &err);
}

static void test_good(void)
{
    struct machine m;
    ok(parse(&m, "[{" DEVICE ",\"rates\":{\"bandwidth\":2e10,\"decode\":{\"q4_K\":3e10}}}]") ==
           ERR_OK,
       "a machine: %s", err.text);
    const struct machine_device *d = &m.devices[0];
    ok(m.n == 1 && str_eqc(m.name, "pc") && str_eqc(m.arch, "x86_64"), "its names");
    ok(str_eqc(d->id, "cpu") && d->memory_total == 64 && d->device.memory == 32 &&
           d->device.threads == 3 && str_eqc(d->device.name, "pc"),
       "its device");
    ok(d->measured && d->device.rates == &d->rates && d->rates.decode[DTYPE_Q4_K] > 2e10 &&
           d->device.bandwidth > 1e10,
       "what it was measured at");
    ok(caps_has(&d->caps, OP_LINEAR, DTYPE_Q4_K) && str_eqc(d->caps.backend, "cpu"),
       "what its worker runs");
    ok(parse(&m, "[{" DEVICE ",\"rates\":null},{" DEVICE "}]") == ERR_OK && m.n == 2 &&
           !m.devices[1].measured && !m.devices[0].device.rates,
       "not measured");
    ok(parse(&m, "[]") == ERR_OK && m.n == 0, "no device");
}

static void refused(const char *devices, const char *part)
{
    struct machine m;
    enum err e = parse(&m, devices);
    ok(e && strstr(err.text, part), "refused: %s", e ? err.text : devices);
}

static void test_bad(void)
{
    struct machine m;
    const struct json *v;
    refused("{}", "devices");
    refused("[{\"worker\":\"other\",\"backend\":\"cpu\"}]", "other");
    refused("[{\"worker\":\"llm-worker-rbee-cpu\",\"backend\":\"quantum\"}]", "quantum");
    refused("[7]", "worker");
    ok(parse(&m, "[{" DEVICE ",\"rates\":[1]}]") == ERR_OK && !m.devices[0].measured,
       "rates that are no object count as none");
    ok(json_parse(&arena, S("[]"), &v, &err) == ERR_OK &&
           machine_parse(&m, &arena, v, &err) == ERR_FORMAT,
       "a list is no machine");
}

int main(void)
{
    size_t n;
    arena_init(&arena, MIB(16));
    if (map_read_file(RBEE_SOURCE_DIR "/tests/golden/verdicts/caps.json", MIB(4), &caps, &n,
                      &err)) {
        ok(false, "%s", err.text);
    } else {
        test_good();
        test_bad();
    }
    mem_free(caps);
    arena_fini(&arena);
    return tap_end();
}
