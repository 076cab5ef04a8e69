/* os: what the system says of threads and memory. */
#include "base/os.h"

#include <pthread.h>
#include <stdatomic.h>

#include "tap.h"

static atomic_bool stop;

static void *spin(void *arg)
{
    (void)arg;
    while (!atomic_load(&stop))
        ;
    return NULL;
}

static void test_threads(void)
{
    pthread_t other;
    int ids[8], n = os_threads(ids, 8), many;
    if (n == 0) {
        skip("the system does not name threads");
        return;
    }
    ok(n >= 1 && ids[0] > 0, "this thread"); /* a sanitizer may have one of its own */
    if (!ok(pthread_create(&other, NULL, spin, NULL) == 0, "another begins")) return;
    many = os_threads(ids, 8);
    ok(many == n + 1 && ids[0] != ids[n], "one more");
    ok(os_threads(ids, 1) == 1, "no more than asked for");
    many = os_threads(ids, 8) - 1; /* the last is the other one, or a sanitizer's */
    uint64_t mine = os_thread_ns(ids[0]), its = os_thread_ns(ids[many]), more = 0;
    uint64_t until = os_now_ns() + 5000000000u;
    bool both = false;
    while (!both && os_now_ns() < until) {
        more = os_thread_ns(ids[0]) - mine;
        both = more > 1000000u && (n > 1 || os_thread_ns(ids[many]) > its);
    }
    ok(both && more < 5000000000u, "both had a core meanwhile");
    atomic_store(&stop, true);
    pthread_join(other, NULL);
    until = os_now_ns() + 2000000000u; /* the system takes its time to forget it */
    while (os_threads(ids, 8) > n && os_now_ns() < until)
        ;
    ok(os_threads(ids, 8) == n, "it is gone");
}

static void test_memory(void)
{
    ok(os_mem_total() > 0 && os_mem_available() > 0 && os_mem_available() <= os_mem_total(),
       "memory that is available is part of all");
    ok(os_cpu_count() >= 1 && os_cpu_name()[0], "cores, and their name");
}

int main(void)
{
    test_threads();
    test_memory();
    return tap_end();
}
