/* hubsync: the headers that pages come with. The walks are tested against a hub that misbehaves
 * (tests/wire/catalog.py). */
#include "store/hubsync_int.h"

#include "tap.h"

#define HUB "https://huggingface.co"

static void next_is(const char *link, const char *want)
{
    char out[DOWNLOAD_URL_MAX];
    bool found = hubsync_http_next(out, HUB, str_c(link));

    ok(found == (want[0] != 0) && strcmp(out, want) == 0, "%.*s: %s", (int)strcspn(link, "\r\n"),
       link, want[0] ? want : "none");
}

static void test_next(void)
{
    char out[DOWNLOAD_URL_MAX], *big = malloc(20000);

    next_is("<https://huggingface.co/api/models?limit=10&cursor=ab%3D>; rel=\"next\"",
            HUB "/api/models?limit=10&cursor=ab%3D");
    next_is("</api/models?cursor=x>; rel=next", HUB "/api/models?cursor=x");
    next_is(
        "<https://x/api/models?c=1,2>; rel=\"prev\", <https://x/api/models?c=3,4>; rel=\"next\"",
        HUB "/api/models?c=3,4");
    next_is("<https://evil.example/api/models?cursor=x>; rel=\"next\"", HUB "/api/models?cursor=x");
    next_is("<https://huggingface.co/api/datasets?cursor=x>; rel=\"next\"", "");
    next_is("<https://huggingface.co/api/models>; rel=\"next\"", "");
    next_is("<https://huggingface.co/api/models?>; rel=\"next\"", "");
    next_is("<https://huggingface.co/api/models?a=b c>; rel=\"next\"", "");
    next_is("<https://huggingface.co/api/models?a=b\r\nX: y>; rel=\"next\"", "");
    next_is("<https://huggingface.co/api/models?a=b#c>; rel=\"next\"", "");
    next_is("<https://huggingface.co/api/models?a=b; rel=\"next\"", "");
    next_is("https://huggingface.co/api/models?a=b", "");
    next_is("<>", "");
    next_is(",,,", "");
    next_is("", "");
    memset(big, 'a', 19999);
    memcpy(big, "</api/models?", 13);
    memcpy(big + 19980, ">; rel=next", 12);
    ok(!hubsync_http_next(out, HUB, str_c(big)) && !out[0], "an address that is too long is none");
    free(big);
}

static void test_quota(void)
{
    is_int(hubsync_http_quota(S("\"api\";r=0;t=55")), 55000, "none left: wait for the next window");
    is_int(hubsync_http_quota(S("\"api\";r=489;t=55")), 0, "some are left");
    is_int(hubsync_http_quota(S("\"api\"; r=0; t=7")), 7000, "with spaces");
    is_int(hubsync_http_quota(S("\"api\";r=0;t=99999999")), 3600000, "at most an hour");
    is_int(hubsync_http_quota(S("\"api\";r=0;t=-5")), 0, "no time before now");
    is_int(hubsync_http_quota(S("r=0")), 0, "no time at all");
    is_int(hubsync_http_quota(S("")), 0, "no header");
    is_int(hubsync_http_quota(S("r=x;t=y;=;;")), 0, "nonsense");
}

int main(void)
{
    test_next();
    test_quota();
    return tap_end();
}
