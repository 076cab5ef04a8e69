/* worker: one model on one device with one back end.
 *
 * worker_main() is the whole program: `serve` answers HTTP behind a hive, `eval` and `bench` run
 * the engine directly, `--capabilities` prints what this executable can do, from the tables. The
 * main file of each worker executable passes the back ends it was linked with; the first is the
 * default.
 */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include "base/buf.h"
#include "base/err.h"
#include "base/opt.h"
#include "compute/cpu/cpu.h"
#include "engine/engine.h"
#include "text/chat.h"
#include "worker/vet.h"

struct worker_kind {
    const char *name;                      /* "llm-worker-rbee-cpu" */
    const char *device;                    /* "cpu" */
    const struct backend *const *backends; /* NULL-terminated */
};

/* Returns the exit code. */
int worker_main(const struct worker_kind *kind, int argc, char **argv);

/* ---- options that every command shares ---- */
struct worker_conf {
    const char *model, *backend, *kv_type, *ktype, *vtype, *isa, *sandbox, *quantize;
    int64_t threads, ctx, slots, batch, kv_budget;
    struct opt_list lora;
};
/* Rows for a command's option table, with the given struct's member of type struct worker_conf. */
#define WORKER_OPTS(T, member)                                                                     \
    {"threads", 't',                                                                               \
     OPT_INT,   offsetof(T, member.threads),                                                       \
     "N",       NULL,                                                                              \
     NULL,      0,                                                                                 \
     256,       "RBEE_THREADS",                                                                    \
     NULL,      "kernel threads; 0: all cores"},                                                   \
        {"ctx",    'c',                                                                            \
         OPT_SIZE, offsetof(T, member.ctx),                                                        \
         "N",      NULL,                                                                           \
         NULL,     0,                                                                              \
         16777216, "RBEE_CTX",                                                                     \
         NULL,     "positions of one sequence; 0: the model's own, at most 4096"},                 \
        {"slots", 0,                                                                               \
         OPT_INT, offsetof(T, member.slots),                                                       \
         "N",     NULL,                                                                            \
         NULL,    0,                                                                               \
         256,     "RBEE_SLOTS",                                                                    \
         NULL,    "sequences decoded together; 0: 16"},                                            \
        {"batch", 0,    OPT_INT, offsetof(T, member.batch),   "N", NULL, NULL, 0,                  \
         2048,    NULL, NULL,    "tokens of one step; 0: 512"},                                    \
        {"kv-budget",                                                                              \
         0,                                                                                        \
         OPT_SIZE,                                                                                 \
         offsetof(T, member.kv_budget),                                                            \
         "BYTES",                                                                                  \
         NULL,                                                                                     \
         NULL,                                                                                     \
         0,                                                                                        \
         1e15,                                                                                     \
         NULL,                                                                                     \
         NULL,                                                                                     \
         "memory for the KV cache; 0: what slots and ctx need, at most 2G "                        \
         "unless both are given"},                                                                 \
        {"kv-type",                                                                                \
         0,                                                                                        \
         OPT_ENUM,                                                                                 \
         offsetof(T, member.kv_type),                                                              \
         "TYPE",                                                                                   \
         NULL,                                                                                     \
         DTYPE_KV_NAMES,                                                                           \
         0,                                                                                        \
         0,                                                                                        \
         "RBEE_KV_TYPE",                                                                           \
         NULL,                                                                                     \
         "element type of the KV cache; f16 unless said, f32 for eval"},                           \
        {"kv-type-k",                                                                              \
         0,                                                                                        \
         OPT_ENUM,                                                                                 \
         offsetof(T, member.ktype),                                                                \
         "TYPE",                                                                                   \
         NULL,                                                                                     \
         DTYPE_KV_NAMES,                                                                           \
         0,                                                                                        \
         0,                                                                                        \
         "RBEE_KV_TYPE_K",                                                                         \
         NULL,                                                                                     \
         "of its keys, where they differ"},                                                        \
        {"kv-type-v",                                                                              \
         0,                                                                                        \
         OPT_ENUM,                                                                                 \
         offsetof(T, member.vtype),                                                                \
         "TYPE",                                                                                   \
         NULL,                                                                                     \
         DTYPE_KV_NAMES,                                                                           \
         0,                                                                                        \
         0,                                                                                        \
         "RBEE_KV_TYPE_V",                                                                         \
         NULL,                                                                                     \
         "of its values, where they differ"},                                                      \
        {"lora",                                                                                   \
         0,                                                                                        \
         OPT_LIST,                                                                                 \
         offsetof(T, member.lora),                                                                 \
         "FILE[=SCALE]",                                                                           \
         NULL,                                                                                     \
         NULL,                                                                                     \
         0,                                                                                        \
         0,                                                                                        \
         NULL,                                                                                     \
         NULL,                                                                                     \
         "LoRA adapter to apply, times SCALE: a GGUF file or a directory of PEFT; may be "         \
         "repeated or separated by commas"},                                                       \
        {"backend", 0,                                                                             \
         OPT_STR,   offsetof(T, member.backend),                                                   \
         "NAME",    NULL,                                                                          \
         NULL,      0,                                                                             \
         0,         NULL,                                                                          \
         NULL,      "back end of this worker; the first of --capabilities is the default"},        \
        {"sandbox",                                                                                \
         0,                                                                                        \
         OPT_ENUM,                                                                                 \
         offsetof(T, member.sandbox),                                                              \
         "MODE",                                                                                   \
         "auto",                                                                                   \
         VET_MODES,                                                                                \
         0,                                                                                        \
         0,                                                                                        \
         "RBEE_SANDBOX",                                                                           \
         NULL,                                                                                     \
         "let a sandboxed process open the model first; require: refuse models where the system "  \
         "allows no sandbox"},                                                                     \
        {"quantize", 0,                                                                            \
         OPT_STR,    offsetof(T, member.quantize),                                                 \
         "TYPE",     NULL,                                                                         \
         NULL,       0,                                                                            \
         0,          "RBEE_QUANTIZE",                                                              \
         NULL,       "quantise a SafeTensors model while it is loaded: q8_0, q4_K, Q4_K_M, ..."},  \
    {                                                                                              \
        "isa", 0, OPT_ENUM, offsetof(T, member.isa), "NAME", NULL, CPU_ISAS, 0, 0, NULL, NULL,     \
            "force an instruction set; the best one is chosen otherwise"                           \
    }

MUST_CHECK enum err worker_conf_engine(const struct worker_kind *kind, const struct worker_conf *c,
                                       struct engine_conf *out, struct err_info *e);

/* Has the model opened in the sandbox first, as --sandbox says; with its chat template, when the
 * command is going to use it. Call it before any thread is started. */
MUST_CHECK enum err worker_vet(const char *path, const struct worker_conf *c,
                               const struct engine_conf *conf, bool chat, struct err_info *e);
/* The chat template of a model, with the texts of its BOS and EOS. */
MUST_CHECK enum err worker_chat(struct chat **out, const struct meta *m, const struct tok *t,
                                struct err_info *e);

/* The file that a MODEL argument means: a name or a path, as everywhere. `out` has STORE_PATH_MAX
 * bytes. */
MUST_CHECK enum err worker_resolve(const char *model, char *out, struct err_info *e);

/* ---- commands; argv[0] is the command's name ---- */
enum err worker_serve(const struct worker_kind *kind, int argc, char **argv, struct err_info *e);
enum err worker_eval(const struct worker_kind *kind, int argc, char **argv, struct err_info *e);
enum err worker_imatrix(const struct worker_kind *kind, int argc, char **argv, struct err_info *e);
enum err worker_bench(const struct worker_kind *kind, int argc, char **argv, struct err_info *e);
/* JSON of --capabilities. */
void worker_capabilities(const struct worker_kind *kind, buf *out);

#endif
