/*
 * A sink: bytes on their way to one peer, in order, without a copy where that can be had.
 *
 * The engine puts slices; neighbouring slices of the same buffer melt into one run; a run is handed to `emit`
 * when another slice does not continue it, or at sink_flush. What is put is borrowed: it must stay valid
 * until the next sink_flush (sink_put) or only during the call (sink_put_now).
 */
#ifndef PGSLUICE_PROXY_WIRE_SINK_H
#define PGSLUICE_PROXY_WIRE_SINK_H

#include <stddef.h>
#include <stdint.h>

struct sink {
    void (*emit)(void *argument, const uint8_t *bytes, size_t n); /* takes all of it: sends or keeps a copy */
    void *argument;
    const uint8_t *run;
    size_t length;
};

static inline void sink_flush(struct sink *sink)
{
    if (sink->length) {
        size_t length = sink->length;
        sink->length = 0;
        sink->emit(sink->argument, sink->run, length);
    }
}

static inline void sink_put(struct sink *sink, const uint8_t *bytes, size_t n)
{
    if (sink->length && sink->run + sink->length == bytes) {
        sink->length += n;
        return;
    }
    sink_flush(sink);
    sink->run = bytes;
    sink->length = n;
}

static inline void sink_put_now(struct sink *sink, const void *bytes, size_t n)
{
    sink_flush(sink);
    if (n)
        sink->emit(sink->argument, bytes, n);
}

#endif
