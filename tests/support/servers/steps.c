/* Kills its process, as kill -9 does, at its n-th step: NOCTURNE_DIE_AT=n, loaded with LD_PRELOAD.
 *
 * A step is a change of a disk; with NOCTURNE_DIE_PORT=p it is bytes that are sent to that TCP port, and with NOCTURNE_DIE_WORD=w a line on standard output
 * that begins so. NOCTURNE_DIE_WHEN says when it dies at a step that writes: `before`, `halfway`, when half of the bytes are out, or `after`.
 * The number of steps that were met goes to the file NOCTURNE_DIE_COUNTED at the end of a process that lives. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long met = 0;
static long at = 0;
static int port = 0, when = 'b';
static const char *word = NULL;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void begin(void) {
    const char *step = getenv("NOCTURNE_DIE_AT"), *to = getenv("NOCTURNE_DIE_PORT"), *moment = getenv("NOCTURNE_DIE_WHEN");
    at = step ? atol(step) : 0;
    port = to ? atoi(to) : 0;
    when = moment ? *moment : 'b';
    word = getenv("NOCTURNE_DIE_WORD");
}

__attribute__((destructor)) static void end(void) {
    const char *path = getenv("NOCTURNE_DIE_COUNTED");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (!file) return;
    fprintf(file, "%ld", (long)met);
    fclose(file);
}

static int is_last(void) { return atomic_fetch_add(&met, 1) + 1 == at; }

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* A change of the disk that writes no bytes. */
static void step(void) {
    if (!port && !word && is_last()) die();
}

static int is_file(int fd) {
    struct stat found;
    return fstat(fd, &found) == 0 && S_ISREG(found.st_mode);
}

static int leads_to_port(int fd) {
    union { struct sockaddr any; struct sockaddr_in four; struct sockaddr_in6 six; } peer;
    socklen_t length = sizeof peer;
    if (getpeername(fd, &peer.any, &length)) return 0;
    if (peer.any.sa_family == AF_INET) return ntohs(peer.four.sin_port) == port;
    return peer.any.sa_family == AF_INET6 && ntohs(peer.six.sin6_port) == port;
}

static int counts(int fd, const struct iovec *parts, size_t count) {
    if (port) return leads_to_port(fd);
    if (word) return fd == STDOUT_FILENO && count && parts->iov_len >= strlen(word) && !memcmp(parts->iov_base, word, strlen(word));
    return is_file(fd);
}

/* Puts out the first bytes of what was to be written, however long the other side takes. */
static void put(int fd, const struct iovec *parts, size_t count, size_t bytes) {
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    for (; count && bytes; parts++, count--) {
        size_t part = parts->iov_len < bytes ? parts->iov_len : bytes;
        if (REAL(write)(fd, parts->iov_base, part) < 0) return;
        bytes -= part;
    }
}

static void step_of(int fd, const struct iovec *parts, size_t count) {
    if (!counts(fd, parts, count) || !is_last()) return;
    size_t bytes = 0;
    for (size_t n = 0; n < count; n++) bytes += parts[n].iov_len;
    if (when != 'b') put(fd, parts, count, when == 'h' ? bytes / 2 : bytes);
    die();
}

static void step_of_one(int fd, const void *bytes, size_t count) {
    struct iovec part = {(void *)bytes, count};
    step_of(fd, &part, 1);
}

ssize_t write(int fd, const void *bytes, size_t count) {
    step_of_one(fd, bytes, count);
    return REAL(write)(fd, bytes, count);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    step_of(fd, parts, count);
    return REAL(writev)(fd, parts, count);
}

ssize_t send(int fd, const void *bytes, size_t count, int flags) {
    step_of_one(fd, bytes, count);
    return REAL(send)(fd, bytes, count, flags);
}

ssize_t sendto(int fd, const void *bytes, size_t count, int flags, const struct sockaddr *to, socklen_t length) {
    step_of_one(fd, bytes, count);
    return REAL(sendto)(fd, bytes, count, flags, to, length);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    step_of(fd, message->msg_iov, message->msg_iovlen);
    return REAL(sendmsg)(fd, message, flags);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) {
    if (!port && !word && is_last()) {
        if (when != 'b') REAL(pwrite64)(fd, bytes, when == 'h' ? count / 2 : count, offset);
        die();
    }
    return REAL(pwrite64)(fd, bytes, count, offset);
}

int fsync(int fd) { step(); return REAL(fsync)(fd); }
int fdatasync(int fd) { step(); return REAL(fdatasync)(fd); }
int ftruncate64(int fd, off64_t length) { step(); return REAL(ftruncate64)(fd, length); }
int link(const char *from, const char *to) { step(); return REAL(link)(from, to); }
int linkat(int a, const char *from, int b, const char *to, int flags) { step(); return REAL(linkat)(a, from, b, to, flags); }
int rename(const char *from, const char *to) { step(); return REAL(rename)(from, to); }
int unlink(const char *path) { step(); return REAL(unlink)(path); }
int unlinkat(int at_folder, const char *path, int flags) { step(); return REAL(unlinkat)(at_folder, path, flags); }
int mkdir(const char *path, mode_t mode) { step(); return REAL(mkdir)(path, mode); }

int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
    va_end(more);
    if (flags & O_CREAT) step();
    return REAL(open64)(path, flags, mode);
}
