/* fuzz_filename: arbitrary bytes as a name in a repository; what comes out stays within bounds. */
#include "base/err.h"
#include "model/filename.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct filename f;
    str name = {(const char *)data, size};
    filename_parse(&f, name);
    ASSERT(f.format < FILENAME_FORMATS && f.kind < FILENAME_KINDS && f.dtype <= DTYPE_COUNT);
    ASSERT(f.shard <= f.n_shards && (f.shard != 0) == (f.n_shards != 0));
    ASSERT(f.set.n <= size && (!f.set.n || f.set.p == name.p));
    ASSERT(!f.quant || filename_quant_from(str_c(f.quant)));
    ASSERT(f.n_expert <= 1024 && f.params < (uint64_t)2e17 && f.params_active < (uint64_t)2e14);
    ASSERT(filename_format_name(f.format) && filename_kind_name(f.kind));
    (void)filename_quant_from(name);
    return 0;
}
