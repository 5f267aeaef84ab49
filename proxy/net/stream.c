/*
 * The socket side of a stream: what the kernel tells, the buffer of unsent bytes, errors. TLS is a layer in
 * between (tls_session.c): what it writes goes through stream_raw_write like everything else, so there is one
 * place that knows about sockets that take only a part.
 *
 * The kernel tells of each change once (loop_edge.h), so turning reading on and off is a matter of this file
 * alone: `ready` remembers what the kernel has said until a read finds the socket empty, and while something
 * is ready and wanted `readable` is called in each round of the loop, as if the kernel told it again.
 *
 * Invariants: what is ready and wanted, or woken, is in the loop's queue, but for the callback that deals
 * with it; EPOLLOUT is asked for while `out` holds bytes or a connect is under way, and taken back only when
 * it has told something in vain (a TCP socket never does, a Unix socket with each message its peer reads);
 * `out` is NULL while nothing is unsent; after `ended` or a failed read nothing is wanted, so a dead socket
 * cannot spin.
 */
#include "proxy/net/stream.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/net/loop.h"
#include "proxy/net/stream_raw.h"

enum {
    OUT_FIRST = 4096,      /* the smallest buffer for unsent bytes */
    OUT_MOST = 0x7fffffff, /* far above any limit an owner keeps; guards the 32 bit counters */
    /* Behind these more can be read though a read has come back short: the end, an error, and what stands
     * behind an urgent byte, at which the kernel stops. */
    MORE = EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI,
};

static const uint32_t watched = EPOLLIN | EPOLLPRI | EPOLLRDHUP | (uint32_t)EPOLLET;

/* ---- what is watched for ------------------------------------------------------------------------------ */

static inline bool wants_read(const struct stream *stream)
{
    return !stream->connecting && !stream->ended && (stream->reading || stream->handshaking);
}

static void watch_out(struct stream *stream, bool on)
{
    stream->watches_out = on;
    /* It was watched before: this asks for no memory, and so does not fail. */
    (void)loop_edge_change(stream->loop, &stream->edge, stream->fd, on ? watched | EPOLLOUT : watched);
}

/* Something has changed of what is wanted. */
static void arm(struct stream *stream)
{
    if (stream->fd < 0)
        return;
    if (stream->woken || (stream->ready && wants_read(stream)))
        loop_edge_again(stream->loop, &stream->edge);
    if ((stream->connecting || stream->out) && !stream->watches_out)
        watch_out(stream, true);
}

void stream_wake(struct stream *stream)
{
    stream->woken = true;
    arm(stream);
}

static void drop_unsent(struct stream *stream)
{
    free(stream->out);
    stream->out = NULL;
    stream->out_size = stream->out_start = stream->out_end = 0;
}

void stream_fail(struct stream *stream, int error)
{
    if (!stream->error)
        stream->error = error ? error : EIO;
    drop_unsent(stream);
    stream_wake(stream);
}

/* ---- sending ------------------------------------------------------------------------------------------ */

static bool out_reserve(struct stream *stream, size_t n)
{
    uint32_t kept = stream->out_end - stream->out_start;
    if (n > (size_t)OUT_MOST - kept) {
        errno = ENOBUFS;
        return false;
    }
    if (n <= stream->out_size - stream->out_end)
        return true;
    if (kept + n <= stream->out_size && stream->out_start >= stream->out_size / 2) {
        memmove(stream->out, stream->out + stream->out_start, kept);
        stream->out_start = 0;
        stream->out_end = kept;
        return true;
    }
    uint32_t size = stream->out_size ? stream->out_size : OUT_FIRST;
    while (size < kept + n)
        size *= 2; /* OUT_MOST is below 2^31: ends at 2^31 at the latest */
    uint8_t *bigger = malloc(size);
    if (!bigger)
        return false;
    if (kept)
        memcpy(bigger, stream->out + stream->out_start, kept);
    free(stream->out);
    stream->out = bigger;
    stream->out_size = size;
    stream->out_start = 0;
    stream->out_end = kept;
    return true;
}

static void keep(struct stream *stream, const void *bytes, size_t n)
{
    if (!out_reserve(stream, n)) {
        stream_fail(stream, errno);
        return;
    }
    memcpy(stream->out + stream->out_end, bytes, n);
    stream->out_end += (uint32_t)n;
    arm(stream);
}

/* How many bytes the socket took: 0 when it is full, -1 when it is broken (errno). */
static ssize_t send_some(struct stream *stream, const void *bytes, size_t n)
{
    ssize_t sent;
    do
        sent = send(stream->fd, bytes, n, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return 0;
    return sent;
}

void stream_raw_write(struct stream *stream, const void *bytes, size_t n)
{
    if (stream->error || stream->shut || !n)
        return;
    if (stream->connecting || stream->out) {
        keep(stream, bytes, n);
        return;
    }
    ssize_t sent = send_some(stream, bytes, n);
    if (sent < 0) {
        stream_fail(stream, errno);
        return;
    }
    if ((size_t)sent < n)
        keep(stream, (const uint8_t *)bytes + sent, n - (size_t)sent);
}

void stream_write(struct stream *stream, const void *bytes, size_t n)
{
    assert(!stream->handshaking && !stream->shutting);
    if (stream->error || !n)
        return;
    if (stream->tls)
        tls_session_write(stream, bytes, n);
    else
        stream_raw_write(stream, bytes, n);
}

size_t stream_unsent(const struct stream *stream)
{
    return stream->out_end - stream->out_start;
}

static void shut_if_sent(struct stream *stream)
{
    if (!stream->shutting || stream->shut || stream->out || stream->connecting)
        return;
    stream->shut = true;
    shutdown(stream->fd, SHUT_WR);
}

void stream_shutdown(struct stream *stream)
{
    if (stream->shutting || stream->error)
        return;
    if (stream->tls)
        tls_session_shutdown(stream);
    stream->shutting = true;
    shut_if_sent(stream);
}

/* ---- events ------------------------------------------------------------------------------------------- */

static void read_happens(struct stream *stream)
{
    stream->woken = false;
    if (!stream->handshaking) {
        stream->calls->readable(stream);
        return;
    }
    if (!stream->error) {
        int step = tls_session_handshake(stream);
        if (step == 0)
            return;
    }
    stream->handshaking = false;
    stream->woken = false;
    if (!stream->error && stream->reading && tls_session_pending(stream))
        stream_wake(stream);
    stream->calls->opened(stream);
}

static void end_connect(struct stream *stream)
{
    int error = 0;
    socklen_t length = sizeof error;
    if (getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
        error = errno;
    stream->connecting = false;
    if (error) {
        stream->error = error;
        drop_unsent(stream);
        stream->ended = true;
    }
}

/* What is left of `out` after the socket took its part. */
static void flush_out(struct stream *stream)
{
    ssize_t sent = send_some(stream, stream->out + stream->out_start, stream->out_end - stream->out_start);
    if (sent < 0) {
        stream_fail(stream, errno);
        return;
    }
    stream->out_start += (uint32_t)sent;
    if (stream->out_start == stream->out_end)
        drop_unsent(stream);
}

static void write_happens(struct stream *stream)
{
    if (stream->connecting) {
        end_connect(stream);
        if (stream->out)
            watch_out(stream, true); /* asks again: that it takes bytes has been told just now */
        arm(stream);
        stream->calls->opened(stream);
        return;
    }
    flush_out(stream);
    arm(stream);
    if (stream->error || stream->out)
        return;
    shut_if_sent(stream);
    if (!stream->handshaking && stream->calls->drained)
        stream->calls->drained(stream);
}

/* One callback an event: what is ready besides has its turn in the next round. */
static void happened(struct loop_edge *edge, uint32_t events)
{
    struct stream *stream = (struct stream *)((char *)edge - offsetof(struct stream, edge));
    struct loop *loop = stream->loop;
    if (events & (EPOLLIN | MORE))
        stream->ready = true;
    if (events & MORE)
        stream->more = true;
    bool told_out = events & (EPOLLOUT | EPOLLHUP | EPOLLERR) && (stream->connecting || stream->out);
    if (told_out)
        write_happens(stream);
    else if (stream->woken || (stream->ready && wants_read(stream)))
        read_happens(stream);
    else if (events == EPOLLOUT && stream->watches_out)
        watch_out(stream, false);
    if (loop_edge_stands(loop, edge) && (stream->woken || (stream->ready && wants_read(stream))))
        loop_edge_again(loop, edge);
}

/* ---- reading ------------------------------------------------------------------------------------------ */

ssize_t stream_raw_read(struct stream *stream, void *buffer, size_t size)
{
    ssize_t got;
    do
        got = recv(stream->fd, buffer, size, 0);
    while (got < 0 && errno == EINTR);
    /* A socket that gives less than was asked for is empty, and what comes later is told. */
    if (got < 0 || ((size_t)got < size && !stream->more))
        stream->ready = false;
    return got;
}

static ssize_t plain_read(struct stream *stream, void *buffer, size_t size)
{
    ssize_t got = stream_raw_read(stream, buffer, size);
    if (got > 0)
        return got;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return stream->error ? STREAM_ERROR : STREAM_AGAIN;
    if (got < 0 && !stream->error)
        stream->error = errno;
    return got == 0 && !stream->error ? 0 : STREAM_ERROR;
}

ssize_t stream_read(struct stream *stream, void *buffer, size_t size)
{
    assert(!stream->handshaking && size > 0);
    if (stream->connecting)
        return STREAM_AGAIN;
    if (stream->ended)
        return stream->error ? STREAM_ERROR : 0;
    ssize_t got = stream->tls ? tls_session_read(stream, buffer, size) : plain_read(stream, buffer, size);
    if (got == 0 || got == STREAM_ERROR) {
        if (got == STREAM_ERROR)
            drop_unsent(stream);
        stream->ended = true; /* nothing else will come: the socket is no longer watched for it */
        arm(stream);
    }
    return got;
}

ssize_t stream_peek(struct stream *stream, void *buffer, size_t size)
{
    assert(!stream->tls);
    if (stream->connecting)
        return STREAM_AGAIN;
    if (stream->ended)
        return stream->error ? STREAM_ERROR : 0;
    ssize_t got;
    do
        got = recv(stream->fd, buffer, size, MSG_PEEK);
    while (got < 0 && errno == EINTR);
    if (got >= 0)
        return got;
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        return STREAM_AGAIN;
    stream->error = errno;
    stream->ended = true;
    drop_unsent(stream);
    arm(stream);
    return STREAM_ERROR;
}

void stream_reading(struct stream *stream, bool on)
{
    if (stream->reading == on)
        return;
    stream->reading = on;
    arm(stream);
    if (on && stream->tls && !stream->handshaking && tls_session_pending(stream))
        stream_wake(stream);
}

/* ---- life --------------------------------------------------------------------------------------------- */

void stream_init(struct stream *stream, struct loop *loop, const struct stream_calls *calls, int fd)
{
    *stream = (struct stream){.edge.happened = happened, .loop = loop, .calls = calls, .fd = fd};
    if (loop_edge_add(loop, &stream->edge, fd, watched))
        return;
    stream->error = errno;
    stream->ended = true;
    stream_wake(stream);
}

void stream_opening(struct stream *stream)
{
    stream->connecting = true; /* a socket that stands already is writable at once */
    arm(stream);
}

void stream_handshaking(struct stream *stream)
{
    stream->handshaking = true;
    arm(stream);
    stream_wake(stream); /* the first step: also for what has arrived already */
}

void stream_close(struct stream *stream)
{
    if (stream->fd < 0)
        return;
    if (stream->tls) {
        if (!stream->shutting && !stream->error && !stream->handshaking)
            tls_session_shutdown(stream);
        tls_session_free(stream);
    }
    loop_edge_gone(stream->loop, &stream->edge);
    drop_unsent(stream);
    close(stream->fd); /* the last of its descriptors: that takes it out of the epoll, too */
    stream->fd = -1;
    stream->ended = true;
}

bool stream_has_tls(const struct stream *stream)
{
    return stream->tls != NULL;
}

bool stream_pending(const struct stream *stream)
{
    return stream->tls && !stream->handshaking && tls_session_pending(stream);
}

const char *stream_error_text(const struct stream *stream)
{
    const char *text = stream->tls ? tls_session_error(stream) : NULL;
    if (text)
        return text;
    if (!stream->error)
        return "";
    text = strerrordesc_np(stream->error);
    return text ? text : "unknown error";
}
