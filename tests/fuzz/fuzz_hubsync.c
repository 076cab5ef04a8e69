/* fuzz_hubsync: arbitrary bytes as the headers of a page: whatever Link says, the next page is one
 * of the endpoint's list; whatever RateLimit says, the pause has an end. */
#include <string.h>

#include "store/hubsync_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char begin[] = "https://hub.example/api/models?";
    str header = {(const char *)data, size};
    char out[DOWNLOAD_URL_MAX];
    bool found = hubsync_http_next(out, "https://hub.example", header);

    ASSERT(found == (out[0] != 0));
    ASSERT(!found || (strncmp(out, begin, sizeof begin - 1) == 0 && out[sizeof begin - 1]));
    for (size_t i = 0; out[i]; i++)
        ASSERT(out[i] > 0x20 && out[i] < 0x7f && out[i] != '#');
    ASSERT(hubsync_http_quota(header) <= 3600000);
    return 0;
}
