/* A wall clock, and one that only grows, that go ahead of the system's: loaded with LD_PRELOAD. The file NOCTURNE_CLOCK holds two numbers of eight bytes,
 * the seconds that are added to each; whoever writes them there moves the clocks of the running process.
 *
 * Waits in the kernel last as long as they were to, with two exceptions. `cnd_timedwait`, which librdkafka waits with, ends at a time of the wall clock: when that
 * is set back the wait lasts longer by as much, as it does where the system's clock is set back. And a wait until a time of the clock that only grows, as the
 * standard library's conditions make it, lasts longer by what was added, as it never does. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

enum { WALL, STEADY, CLOCKS };

static const _Atomic long long level[CLOCKS] = {0};
static const _Atomic long long *ahead = level;
static int (*real_clock)(clockid_t, struct timespec *) = NULL;
static int (*real_wait)(cnd_t *, mtx_t *, const struct timespec *) = NULL;

__attribute__((constructor)) static void begin(void) {
    real_wait = (__typeof__(real_wait))dlsym(RTLD_NEXT, "cnd_timedwait");
    const char *path = getenv("NOCTURNE_CLOCK");
    int fd = path ? open(path, O_RDONLY) : -1;
    if (fd < 0) return;
    void *shared = mmap(NULL, CLOCKS * sizeof *ahead, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (shared != MAP_FAILED) ahead = shared;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    /* Others' constructors may ask for the time before this one's. */
    if (!real_clock) real_clock = (__typeof__(real_clock))dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real_clock(clock, now);
    if (failed) return failed;
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) now->tv_sec += ahead[WALL];
    if (clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE) now->tv_sec += ahead[STEADY];
    return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec exact = {0, 0};
    int failed = clock_gettime(CLOCK_REALTIME, &exact);
    *now = (struct timeval){exact.tv_sec, exact.tv_nsec / 1000};
    return failed;
}

time_t time(time_t *told) {
    struct timespec now = {0, 0};
    clock_gettime(CLOCK_REALTIME, &now);
    if (told) *told = now.tv_sec;
    return now.tv_sec;
}

static int has_come(const struct timespec *moment) {
    struct timespec now = {0, 0};
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec > moment->tv_sec || (now.tv_sec == moment->tv_sec && now.tv_nsec >= moment->tv_nsec);
}

int cnd_timedwait(cnd_t *restrict woken, mtx_t *restrict held, const struct timespec *restrict until) {
    int ended;
    do {
        struct timespec end = {until->tv_sec - ahead[WALL], until->tv_nsec};
        ended = real_wait(woken, held, &end);
    } while (ended == thrd_timedout && !has_come(until));
    return ended;
}
