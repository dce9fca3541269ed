/* Loaded before libc: sees each call by which a process, or a child of it, opens or changes files
   below a folder. It notes the calls, and makes one of them fail or kill its process. See calls.py. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

struct control { /* as calls.py packs it */
    uint64_t counts[2]; /* calls until now: those whose order is the same each time, and those on a
                           store's files and their folder, which threads of MLflow's make */
    uint64_t of_store;  /* whether the call that goes wrong is one of a store's */
    uint64_t target;    /* its number, from 1; 0: none */
    uint64_t fault;     /* an errno; 0: SIGKILL */
    uint64_t data;      /* whether written bytes are noted, too */
    char root[512];
    char log[512];
};
static struct control *control;

__attribute__((constructor)) static void attach(void) {
    const char *path = getenv("BGEXP_TEST_CALLS");
    if (!path) return;
    int file = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    if (file < 0) return;
    void *place = mmap(0, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (place != MAP_FAILED) control = place;
    syscall(SYS_close, file);
}

static int find_path(int file, char *path) { /* of an open file */
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t size = readlink(link, path, PATH_MAX - 1);
    path[size < 0 ? 0 : size] = 0;
    return size > 0;
}

static void resolve(int folder, const char *name, char *path) {
    char base[PATH_MAX] = "";
    if (name[0] == '/') {
        snprintf(path, PATH_MAX, "%s", name);
        return;
    }
    if (folder != AT_FDCWD) find_path(folder, base);
    else if (syscall(SYS_getcwd, base, PATH_MAX) < 0) base[0] = 0;
    if (snprintf(path, PATH_MAX, "%s/%s", base, name) >= PATH_MAX) path[0] = 0;
}

static int is_inside(const char *path) {
    size_t size = control ? strlen(control->root) : 0;
    return size && !strncmp(path, control->root, size) && (path[size] == '/' || !path[size]);
}

struct call {
    int seen, log;
    uint64_t of_store, number;
    const char *name;
    char path[PATH_MAX], other[PATH_MAX];
    long offset;
    const void *data;
    size_t size;
};

static int is_of_store(const char *path) {
    const char *end = strrchr(path, '/');
    return strstr(path, "/mlflow.db") || (end && !strcmp(end, "/runs"));
}

static void note(struct call *call, const char *outcome, size_t size) {
    char line[3 * PATH_MAX];
    int length = snprintf(line, sizeof line, "%s\t%lu\t%lu\t%s\t%s\t%s\t%ld\t%zu\n", outcome,
                          call->of_store, call->number, call->name, call->path, call->other,
                          call->offset, size);
    struct iovec parts[] = {{line, length}, {(void *)call->data, size}};
    syscall(SYS_writev, call->log, parts, 2);
    syscall(SYS_close, call->log);
}

/* Returns whether the call may go on. While a call is noted no other one is made. */
static int begin(struct call *call, const char *name) {
    call->seen = is_inside(call->path) || is_inside(call->other);
    call->name = name, call->log = -1;
    if (!call->seen) return 1;
    call->of_store = is_of_store(call->path);
    call->number = __atomic_add_fetch(&control->counts[call->of_store], 1, __ATOMIC_SEQ_CST);
    int hit = call->number == control->target && call->of_store == control->of_store;
    if (control->log[0]) {
        call->log = syscall(SYS_openat, AT_FDCWD, control->log,
                            O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        syscall(SYS_flock, call->log, 2);
    }
    if (!hit) return 1;
    if (call->log >= 0) note(call, "hit", 0);
    if (!control->fault) syscall(SYS_kill, getpid(), SIGKILL), pause();
    errno = control->fault;
    return 0;
}

static long end(struct call *call, long result) {
    int error = errno;
    if (call->seen && call->log >= 0)
        note(call, result < 0 ? "failed" : "done", result > 0 && control->data && call->data ? result : 0);
    errno = error;
    return result;
}

static int open_file(int folder, const char *name, int flags, mode_t mode) {
    struct call call = {.seen = 0};
    resolve(folder, name, call.path);
    int changes = flags & (O_CREAT | O_WRONLY | O_RDWR | O_TRUNC);
    int is_new = changes && syscall(SYS_faccessat, folder, name, F_OK) < 0;
    const char *kind = !changes ? "read" : is_new ? "create" : flags & O_TRUNC ? "empty" : "open";
    if ((flags & O_TMPFILE) == O_TMPFILE) call.path[0] = 0;
    if (!begin(&call, kind)) return -1;
    return end(&call, syscall(SYS_openat, folder, name, flags, mode));
}

#define MODE                                                                                   \
    va_list rest;                                                                              \
    va_start(rest, flags);                                                                     \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;                    \
    va_end(rest)

int open(const char *name, int flags, ...) { MODE; return open_file(AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...) { MODE; return open_file(AT_FDCWD, name, flags, mode); }
int openat(int f, const char *name, int flags, ...) { MODE; return open_file(f, name, flags, mode); }
int openat64(int f, const char *name, int flags, ...) { MODE; return open_file(f, name, flags, mode); }
int __open_2(const char *name, int flags) { return open_file(AT_FDCWD, name, flags, 0); }
int __open64_2(const char *name, int flags) { return open_file(AT_FDCWD, name, flags, 0); }

static long change_file(const char *name, int file, long number, const void *data, size_t size,
                        off_t offset) {
    struct call call = {.data = data, .size = size, .offset = offset};
    if (control && control->root[0]) find_path(file, call.path);
    if (is_inside(call.path) && number == SYS_write) {
        struct stat status;
        int appends = syscall(SYS_fcntl, file, F_GETFL) & O_APPEND;
        call.offset = appends && !syscall(SYS_fstat, file, &status) ? status.st_size
                                                                    : syscall(SYS_lseek, file, 0L, SEEK_CUR);
    }
    if (!begin(&call, name)) return -1;
    return end(&call, number == SYS_write       ? syscall(number, file, data, size)
                      : number == SYS_pwrite64 ? syscall(number, file, data, size, offset)
                      : number == SYS_ftruncate ? syscall(number, file, offset)
                                                : syscall(number, file));
}

ssize_t write(int f, const void *d, size_t n) { return change_file("write", f, SYS_write, d, n, 0); }
ssize_t pwrite(int f, const void *d, size_t n, off_t o) { return change_file("write", f, SYS_pwrite64, d, n, o); }
ssize_t pwrite64(int f, const void *d, size_t n, off_t o) { return change_file("write", f, SYS_pwrite64, d, n, o); }
int ftruncate(int f, off_t n) { return change_file("truncate", f, SYS_ftruncate, 0, 0, n); }
int ftruncate64(int f, off_t n) { return change_file("truncate", f, SYS_ftruncate, 0, 0, n); }
int fsync(int f) { return change_file("sync", f, SYS_fsync, 0, 0, 0); }
int fdatasync(int f) { return change_file("sync", f, SYS_fdatasync, 0, 0, 0); }

/* What copies inside the kernel shows no bytes: programs copy by writes where there is none. */
ssize_t sendfile(int o, int i, off_t *p, size_t n) { errno = ENOSYS; return -1; }
ssize_t sendfile64(int o, int i, off_t *p, size_t n) { errno = EINVAL; return -1; }
ssize_t copy_file_range(int i, off_t *p, int o, off_t *q, size_t n, unsigned f) { errno = ENOSYS; return -1; }

static long change_name(const char *kind, int f, const char *name, int g, const char *other, long number,
                        long argument) {
    struct call call = {.seen = 0};
    resolve(f, name, call.path);
    if (other) resolve(g, other, call.other);
    if (!begin(&call, kind)) return -1;
    return end(&call, number == SYS_renameat  ? syscall(number, f, name, g, other)
                      : number == SYS_linkat  ? syscall(number, f, name, g, other, argument)
                                              : syscall(number, f, name, argument));
}

#define HERE AT_FDCWD
int rename(const char *a, const char *b) { return change_name("rename", HERE, a, HERE, b, SYS_renameat, 0); }
int renameat(int f, const char *a, int g, const char *b) { return change_name("rename", f, a, g, b, SYS_renameat, 0); }
int link(const char *a, const char *b) { return change_name("link", HERE, a, HERE, b, SYS_linkat, 0); }
int linkat(int f, const char *a, int g, const char *b, int x) { return change_name("link", f, a, g, b, SYS_linkat, x); }
int unlink(const char *a) { return change_name("unlink", HERE, a, 0, 0, SYS_unlinkat, 0); }
int rmdir(const char *a) { return change_name("unlink", HERE, a, 0, 0, SYS_unlinkat, AT_REMOVEDIR); }
int unlinkat(int f, const char *a, int x) { return change_name("unlink", f, a, 0, 0, SYS_unlinkat, x); }
int mkdir(const char *a, mode_t m) { return change_name("mkdir", HERE, a, 0, 0, SYS_mkdirat, m); }
int mkdirat(int f, const char *a, mode_t m) { return change_name("mkdir", f, a, 0, 0, SYS_mkdirat, m); }
