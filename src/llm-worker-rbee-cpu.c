/* llm-worker-rbee-cpu: the CPU worker's main file: it links the CPU back ends and no other. */
#include "compute/cpu/cpu.h"
#include "compute/ref/ref.h"
#include "worker/worker.h"

int main(int argc, char **argv)
{
    static const struct backend *const backends[] = {&cpu_backend, &ref_backend, NULL};
    static const struct worker_kind kind = {
        .name = "llm-worker-rbee-cpu", .device = "cpu", .backends = backends};

    return worker_main(&kind, argc, argv);
}
