/* Kills its process, as kill -9 does, at its n-th step that changes a disk: NOCTURNE_DIE_AT=n, loaded with LD_PRELOAD.
 * With NOCTURNE_DIE_TORN=1 a step that writes writes half of its bytes first. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long left = 0;
static int torn = 0;

__attribute__((constructor)) static void begin(void) {
    const char *at = getenv("NOCTURNE_DIE_AT"), *half = getenv("NOCTURNE_DIE_TORN");
    left = at ? atol(at) : 0;
    torn = half && *half == '1';
}

static int is_last(void) { return left > 0 && atomic_fetch_sub(&left, 1) == 1; }

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static void step(void) {
    if (is_last()) die();
}

static int is_file(int fd) {
    struct stat found;
    return fstat(fd, &found) == 0 && S_ISREG(found.st_mode);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *bytes, size_t count) {
    if (left > 0 && is_file(fd) && is_last()) {
        if (torn) REAL(write)(fd, bytes, count / 2);
        die();
    }
    return REAL(write)(fd, bytes, count);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (left > 0 && is_file(fd) && is_last()) {
        if (torn) REAL(writev)(fd, parts, count / 2);
        die();
    }
    return REAL(writev)(fd, parts, count);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    if (left > 0 && is_last()) {
        if (torn) REAL(pwrite64)(fd, bytes, count / 2, at);
        die();
    }
    return REAL(pwrite64)(fd, bytes, count, at);
}

int fsync(int fd) { step(); return REAL(fsync)(fd); }
int fdatasync(int fd) { step(); return REAL(fdatasync)(fd); }
int ftruncate64(int fd, off64_t length) { step(); return REAL(ftruncate64)(fd, length); }
int link(const char *from, const char *to) { step(); return REAL(link)(from, to); }
int linkat(int a, const char *from, int b, const char *to, int flags) { step(); return REAL(linkat)(a, from, b, to, flags); }
int rename(const char *from, const char *to) { step(); return REAL(rename)(from, to); }
int unlink(const char *path) { step(); return REAL(unlink)(path); }
int unlinkat(int at, const char *path, int flags) { step(); return REAL(unlinkat)(at, path, flags); }
int mkdir(const char *path, mode_t mode) { step(); return REAL(mkdir)(path, mode); }

int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
    va_end(more);
    if (flags & O_CREAT) step();
    return REAL(open64)(path, flags, mode);
}
