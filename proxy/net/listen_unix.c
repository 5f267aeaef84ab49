/*
 * Listening on a Unix socket: never steal a live one, never stumble over a dead one.
 *
 * Beside the socket stands "<socket>.lock", as PostgreSQL does it, with our pid in its first line, so that a
 * server that is told to use the same directory and port sees that it is taken. The lock is an flock on that
 * file: the kernel lets go of it when the process dies, whatever pid comes next. A server that doesn't use
 * flock is found by connecting to its socket.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/net/listen_socket.h"

enum { LOCK_PATH = sizeof((struct sockaddr_un *)0)->sun_path + 8 };

static void lock_path(const struct sockaddr_un *address, char path[LOCK_PATH])
{
    snprintf(path, LOCK_PATH, "%s.lock", address->sun_path);
}

/* The locked file must be the one that bears the name: another process may have removed it in between. */
static bool still_named(int fd, const char *path)
{
    struct stat ours, named;
    return fstat(fd, &ours) == 0 && lstat(path, &named) == 0 && ours.st_dev == named.st_dev &&
           ours.st_ino == named.st_ino;
}

static int take_lock(const struct sockaddr_un *address, char *error, size_t size)
{
    char path[LOCK_PATH];
    lock_path(address, path);
    for (int attempt = 0; attempt < 10; attempt++) {
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0) {
            snprintf(error, size, "listen: %s: %s", path, strerrordesc_np(errno));
            return -1;
        }
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
            snprintf(error, size, "listen: %s: another pgsluice listens there", address->sun_path);
            close(fd);
            errno = EADDRINUSE;
            return -1;
        }
        if (still_named(fd, path))
            return fd;
        close(fd);
    }
    snprintf(error, size, "listen: %s: the lock file keeps changing", path);
    errno = EBUSY;
    return -1;
}

/* Is the file that stands there a socket that nobody serves any more (or nothing at all)? */
static bool is_stale(const struct sockaddr_un *address, char *error, size_t size)
{
    struct stat file;
    if (lstat(address->sun_path, &file) < 0)
        return errno == ENOENT;
    if (!S_ISSOCK(file.st_mode)) {
        snprintf(error, size, "listen: %s: is there already, and is not a socket", address->sun_path);
        errno = EEXIST;
        return false;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    int answer = connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 ? 0 : errno;
    close(fd);
    if (answer == ECONNREFUSED || answer == ENOENT)
        return true;
    if (answer == 0 || answer == EAGAIN)
        snprintf(error, size, "listen: %s: another program listens there", address->sun_path);
    errno = answer ? answer : EADDRINUSE;
    return false;
}

static void write_pid(int lock)
{
    char text[32];
    int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    /* For people and for PostgreSQL's own start; the lock holds without it. */
    if (ftruncate(lock, 0) == 0 && pwrite(lock, text, (size_t)n, 0) < 0)
        errno = 0;
}

static int bind_file(const struct sockaddr_un *address)
{
    if (unlink(address->sun_path) < 0 && errno != ENOENT)
        return -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    /* 0777 is PostgreSQL's default too: who may log in is the server's decision. */
    if (bind(fd, (const struct sockaddr *)address, sizeof *address) < 0 ||
        chmod(address->sun_path, 0777) < 0) {
        int why = errno;
        close(fd);
        errno = why;
        return -1;
    }
    return fd;
}

int listen_unix_bind(const struct sockaddr_un *address, int *lock, char *error, size_t size)
{
    *lock = take_lock(address, error, size);
    if (*lock < 0)
        return -1;
    error[0] = '\0';
    int fd = is_stale(address, error, size) ? bind_file(address) : -1;
    if (fd < 0) {
        int why = errno;
        if (!error[0])
            snprintf(error, size, "listen: %s: %s", address->sun_path, strerrordesc_np(why));
        /* The lock file stays: it may be the live server's own. An unlocked one hinders nobody of us. */
        close(*lock);
        errno = why;
        return -1;
    }
    write_pid(*lock);
    return fd;
}

void listen_unix_remove(const struct sockaddr_un *address, int lock)
{
    char path[LOCK_PATH];
    lock_path(address, path);
    unlink(address->sun_path);
    unlink(path);
    close(lock);
}
