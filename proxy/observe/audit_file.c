/*
 * Appending to the audit's file so that a record that counts as written is on the disk, and so that no crash
 * and no full disk leaves anything but whole lines behind after the next success.
 *
 * - O_APPEND in ordinary operation; the lock (flock) keeps a second proxy from writing into the same file.
 * - After a failed write or sync nobody knows what the disk holds: the same bytes are written over the same
 * place. (A second fsync after a failed one may report success for pages that were dropped, so syncing again
 * is not enough.) The space is reserved first, so that a full disk does not destroy what was torn before.
 */
#include "proxy/observe/audit_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/observe/log.h"

void chain_begin(struct chain *chain)
{
    chain->seq = 0;
    memset(chain->hash, '0', DIGEST_HEX);
    chain->hash[DIGEST_HEX] = '\0';
}

json_t *chain_read(const char *line, size_t n, uint64_t *seq, const char **prev, char *reason, size_t size)
{
    json_error_t mistake;
    json_t *record = json_loadb(line, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &mistake);
    if (!record) {
        snprintf(reason, size, "not a JSON object: %s", mistake.text);
        return NULL;
    }
    json_t *number = json_object_get(record, "seq");
    *prev = json_string_value(json_object_get(record, "prev"));
    bool whole = json_is_integer(number) && json_integer_value(number) > 0 && *prev &&
                 strlen(*prev) == DIGEST_HEX && json_is_string(json_object_get(record, "ts")) &&
                 json_is_string(json_object_get(record, "record"));
    if (!whole) {
        snprintf(reason, size, "not an audit record: ts, seq, prev or record is missing");
        json_decref(record);
        return NULL;
    }
    *seq = (uint64_t)json_integer_value(number);
    return record;
}

static bool fail(char *error, size_t size, const char *path, const char *what)
{
    char words[128];
    snprintf(error, size, "%s: %s: %s", path, what, strerror_r(errno, words, sizeof words));
    return false;
}

/* A new name in a directory is durable only when the directory is. */
static void sync_directory(const char *path)
{
    char *copy = strdup(path);
    if (!copy)
        return;
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        log_warning("audit: the directory of %s cannot be synced: %m", path);
    if (fd >= 0)
        close(fd);
    free(copy);
}

static ssize_t read_at(int fd, char *bytes, size_t n, off_t at)
{
    size_t done = 0;
    while (done < n) {
        ssize_t got = pread(fd, bytes + done, n - done, at + (off_t)done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        done += (size_t)got;
    }
    return (ssize_t)done;
}

/* What stands at the file's end, split at its newlines. */
struct tail {
    char *bytes;
    size_t length;
    const char *last, *torn; /* torn: behind the last newline; last: the whole line in front of it */
    size_t last_length, torn_length;
};

static void tail_split(struct tail *tail)
{
    const char *newline = memrchr(tail->bytes, '\n', tail->length);
    tail->torn = newline ? newline + 1 : tail->bytes;
    tail->torn_length = tail->length - (size_t)(tail->torn - tail->bytes);
    tail->last = tail->bytes;
    tail->last_length = 0;
    if (!newline)
        return;
    const char *before = memrchr(tail->bytes, '\n', (size_t)(newline - tail->bytes));
    tail->last = before ? before + 1 : tail->bytes;
    tail->last_length = (size_t)(newline - tail->last);
}

static bool chain_of(const char *line, size_t n, struct chain *chain, char *reason, size_t size)
{
    const char *prev;
    json_t *record = chain_read(line, n, &chain->seq, &prev, reason, size);
    if (!record)
        return false;
    json_decref(record);
    if (digest_sha256(line, n, chain->hash))
        return true;
    snprintf(reason, size, "out of memory");
    return false;
}

/* The last write may have been cut exactly in front of its newline: such a record is whole. */
static bool torn_is_whole(const struct tail *tail, struct chain *head)
{
    char reason[16];
    const char *prev;
    uint64_t seq;
    json_t *record = chain_read(tail->torn, tail->torn_length, &seq, &prev, reason, sizeof reason);
    bool whole = record && seq == head->seq + 1 && strcmp(prev, head->hash) == 0;
    json_decref(record);
    return whole && chain_of(tail->torn, tail->torn_length, head, reason, sizeof reason);
}

static bool tail_judge(struct audit_file *file, const struct tail *tail, char *error, size_t size)
{
    char reason[160] = "";
    if (tail->last_length && !chain_of(tail->last, tail->last_length, &file->head, reason, sizeof reason)) {
        snprintf(error, size, "%s: its last line is %s; move the file away, then a new chain begins",
                 file->path, reason);
        return false;
    }
    if (tail->torn_length == 0)
        return true;
    if (torn_is_whole(tail, &file->head)) {
        file->newline = true;
        return true;
    }
    bool ours = tail->last_length || tail->torn[0] == '{' || tail->torn[0] == '\0';
    if (!ours || tail->torn_length > AUDIT_LINE_MAX) {
        snprintf(error, size, "%s: is not an audit log; move the file away", file->path);
        return false;
    }
    file->torn = malloc(tail->torn_length);
    if (!file->torn) {
        snprintf(error, size, "%s: out of memory", file->path);
        return false;
    }
    memcpy(file->torn, tail->torn, tail->torn_length);
    file->torn_length = tail->torn_length;
    file->end -= (off_t)tail->torn_length;
    file->repair = true;
    return true;
}

static bool read_end(struct audit_file *file, char *error, size_t size)
{
    struct stat status;
    if (fstat(file->fd, &status) != 0)
        return fail(error, size, file->path, "cannot be examined");
    file->end = status.st_size;
    struct tail tail = {0};
    off_t from = status.st_size > (off_t)(2 * AUDIT_RECOVERED_MAX)
                     ? status.st_size - (off_t)(2 * AUDIT_RECOVERED_MAX)
                     : 0;
    tail.length = (size_t)(status.st_size - from);
    tail.bytes = malloc(tail.length + 1);
    ssize_t got = tail.bytes ? read_at(file->fd, tail.bytes, tail.length, from) : -1;
    if (got != (ssize_t)tail.length) {
        fail(error, size, file->path, "its end cannot be read");
        free(tail.bytes);
        return false;
    }
    tail_split(&tail);
    bool fine = tail_judge(file, &tail, error, size);
    free(tail.bytes);
    return fine;
}

static bool open_and_lock(struct audit_file *file, char *error, size_t size)
{
    const int flags = O_RDWR | O_APPEND | O_CLOEXEC | O_NONBLOCK;
    bool created = true;
    file->fd = open(file->path, flags | O_CREAT | O_EXCL, 0600);
    if (file->fd < 0 && errno == EEXIST) {
        created = false;
        file->fd = open(file->path, flags);
    }
    if (file->fd < 0)
        return fail(error, size, file->path, "cannot be opened");
    struct stat status;
    if (fstat(file->fd, &status) != 0)
        return fail(error, size, file->path, "cannot be examined");
    if (!S_ISREG(status.st_mode)) {
        snprintf(error, size, "%s: is not a regular file: the audit needs one that it can read back",
                 file->path);
        return false;
    }
    bool locked = flock(file->fd, LOCK_EX | LOCK_NB) == 0;
    if (!locked && errno == EWOULDBLOCK) {
        snprintf(error, size, "%s: another process writes this audit log; give each proxy a file of its own",
                 file->path);
        return false;
    }
    if (!locked)
        return fail(error, size, file->path, "cannot be locked");
    if (created && file->sync)
        sync_directory(file->path);
    return true;
}

bool audit_file_open(struct audit_file *file, const char *path, bool sync, char *error, size_t size)
{
    *file = (struct audit_file){.fd = -1, .sync = sync, .path = strdup(path)};
    chain_begin(&file->head);
    if (!file->path) {
        snprintf(error, size, "%s: out of memory", path);
        return false;
    }
    if (open_and_lock(file, error, size) && read_end(file, error, size))
        return true;
    audit_file_close(file);
    return false;
}

void audit_file_close(struct audit_file *file)
{
    if (file->fd >= 0 && file->repair && !file->torn && ftruncate(file->fd, file->end) != 0)
        log_warning("audit: %s ends in a torn line: %m", file->path);
    if (file->fd >= 0)
        close(file->fd);
    free(file->path);
    free(file->torn);
    *file = (struct audit_file){.fd = -1};
}

static bool write_all(int fd, const char *bytes, size_t n, off_t at)
{
    while (n) {
        ssize_t written = at < 0 ? write(fd, bytes, n) : pwrite(fd, bytes, n, at);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return false;
        if (written == 0) {
            errno = EIO;
            return false;
        }
        bytes += written;
        n -= (size_t)written;
        at += at < 0 ? 0 : written;
    }
    return true;
}

/* Over the place where the damage is; Linux appends even a pwrite while O_APPEND is set. */
static bool write_over(struct audit_file *file, const char *bytes, size_t n)
{
    int flags = fcntl(file->fd, F_GETFL);
    if (flags < 0 || fcntl(file->fd, F_SETFL, flags & ~O_APPEND) != 0)
        return false;
    size_t over = file->torn ? file->torn_length : 0; /* below n: the record that carries it is longer */
    bool fine = write_all(file->fd, bytes + over, n - over, file->end + (off_t)over) &&
                write_all(file->fd, bytes, over, file->end);
    int reason = errno;
    if (fcntl(file->fd, F_SETFL, flags) != 0)
        return false;
    errno = reason;
    return fine;
}

/* Somebody else cut the file (copytruncate) or wrote into it: go on behind what is there. The chain tells. */
static bool follow_size(struct audit_file *file)
{
    struct stat status;
    if (fstat(file->fd, &status) != 0)
        return false;
    if (status.st_size == file->end)
        return true;
    log_warning("audit: another program changed %s: it had %lld bytes and has %lld", file->path,
                (long long)file->end, (long long)status.st_size);
    file->end = status.st_size;
    file->newline = false;
    return true;
}

bool audit_file_append(struct audit_file *file, const char *bytes, size_t n, char *error, size_t size)
{
    if (file->repair ? !write_over(file, bytes, n)
                     : !follow_size(file) || !write_all(file->fd, bytes, n, -1)) {
        file->repair = true;
        return fail(error, size, file->path, "cannot be written");
    }
    if (file->sync && fdatasync(file->fd) != 0) {
        file->repair = true;
        return fail(error, size, file->path, "cannot be synced");
    }
    file->end += (off_t)n;
    file->repair = false;
    file->newline = false;
    free(file->torn);
    file->torn = NULL;
    return true;
}

bool audit_file_deleted(const struct audit_file *file)
{
    struct stat status;
    return fstat(file->fd, &status) == 0 && status.st_nlink == 0;
}

struct audit_identity audit_file_identity(const struct audit_file *file)
{
    struct stat status;
    if (fstat(file->fd, &status) != 0)
        return (struct audit_identity){.inode = 0};
    return (struct audit_identity){.device = status.st_dev, .inode = status.st_ino};
}

bool audit_identity_is(const struct audit_identity *identity, const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && status.st_dev == identity->device && status.st_ino == identity->inode;
}
