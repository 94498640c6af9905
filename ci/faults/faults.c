/* Preloaded into the server: makes its disk fail once a file says so. FAULTS names a directory; while it holds a file
   "sync", syncing fails with EIO, while it holds "full", writing fails with ENOSPC. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static int told(const char *what) {
    const char *dir = getenv("FAULTS");
    char path[4096];
    if (!dir) return 0;
    snprintf(path, sizeof path, "%s/%s", dir, what);
    return access(path, F_OK) == 0;
}

/* Sockets and terminals are not on the disk. */
static int is_file(int fd) {
    struct stat st;
    int saved = errno, file = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    errno = saved;
    return file && fd > 2;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define SYNC(name) \
    int name(int fd) { \
        if (told("sync")) { errno = EIO; return -1; } \
        return REAL(name)(fd); \
    }
SYNC(fsync)
SYNC(fdatasync)

#define FULL(fd) if (is_file(fd) && told("full")) { errno = ENOSPC; return -1; }
ssize_t write(int fd, const void *buf, size_t n) { FULL(fd) return REAL(write)(fd, buf, n); }
ssize_t pwrite(int fd, const void *buf, size_t n, off_t at) { FULL(fd) return REAL(pwrite)(fd, buf, n, at); }
ssize_t pwrite64(int fd, const void *buf, size_t n, off64_t at) { FULL(fd) return REAL(pwrite64)(fd, buf, n, at); }
ssize_t writev(int fd, const struct iovec *v, int n) { FULL(fd) return REAL(writev)(fd, v, n); }
