/*
 * The program's own log. A line is put together on the caller's stack and goes out with one write, so that
 * lines of several threads do not mix. Nothing is shared but three atomics.
 *
 * Where standard error takes no more (a full pipe that does not block, a disk that is full), the line is lost
 * and counted; the next one that gets through says how many. A write that was cut short makes the next line
 * start with a newline, so that the damage stays with the one line.
 */
#include "proxy/observe/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proxy/observe/line.h"

enum {
    LOG_LINE = 8192,
    LOG_TAIL = 8 /* room for the mark of a cut, the closing quote and brace, and the newline */
};

static _Atomic int least = LOG_INFO;
static _Atomic int shape = LOG_TEXT;
static _Atomic unsigned lost;
static atomic_bool torn;

static const char *const level_names[] = {"debug", "info", "warning", "error"};

void log_configure(enum log_level level, enum log_format format)
{
    atomic_store_explicit(&least, (int)level, memory_order_relaxed);
    atomic_store_explicit(&shape, (int)format, memory_order_relaxed);
}

static void emit(struct line *line)
{
    /* the line was built behind one byte of room for this newline */
    const char *bytes = line->bytes;
    size_t n = line->length;
    if (!atomic_exchange_explicit(&torn, false, memory_order_relaxed)) {
        bytes++;
        n--;
    }
    ssize_t written;
    do {
        written = write(STDERR_FILENO, bytes, n);
    } while (written < 0 && errno == EINTR);
    if (written == (ssize_t)n)
        return;
    atomic_fetch_add_explicit(&lost, 1, memory_order_relaxed);
    if (written > 0)
        atomic_store_explicit(&torn, true, memory_order_relaxed);
}

static void compose(enum log_level level, const char *text, size_t n)
{
    char bytes[LOG_LINE];
    struct line line;
    bool json = atomic_load_explicit(&shape, memory_order_relaxed) == LOG_JSON;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);

    line_fixed(&line, bytes, sizeof bytes - LOG_TAIL);
    line_text(&line, json ? "\n{\"ts\":\"" : "\n");
    line_time(&line, &now, 3);
    if (json)
        line_printf(&line, "\",\"level\":\"%s\",\"message\":", level_names[level]);
    else
        line_printf(&line, " %-7s ", level_names[level]);
    if (json)
        line_json(&line, text, n);
    else
        line_plain(&line, text, n);

    bool cut = line.full;
    line.full = false;
    line.size = sizeof bytes;
    if (cut)
        line_text(&line, json ? "…\"" : "…");
    line_text(&line, json ? "}\n" : "\n");
    emit(&line);
}

void log_write(enum log_level level, const char *format, ...)
{
    if ((int)level < atomic_load_explicit(&least, memory_order_relaxed))
        return;
    int saved = errno; /* for %m, and so that a line in between changes nothing for the caller */
    char text[LOG_LINE];
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (n < 0)
        n = 0;
    unsigned missing = atomic_exchange_explicit(&lost, 0, memory_order_relaxed);
    if (missing) {
        char words[64];
        int length = snprintf(words, sizeof words, "%u lines of this log could not be written", missing);
        compose(LOG_WARNING, words, (size_t)length);
    }
    compose(level, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
    errno = saved;
}
