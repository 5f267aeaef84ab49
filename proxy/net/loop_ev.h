/*
 * The inside of a loop, for the files of this folder only.
 *
 * What is rare (listeners, timers, foreign descriptors) hangs in libev. What is frequent, the streams, stands
 * in an epoll of the loop's own, in which libev's is one descriptor among others: watched for edges, so that
 * the kernel need not ask a socket again that was emptied, and waited for without a timeout, so that no wait
 * sets and takes back a timer of the kernel's.
 */
#ifndef PGSLUICE_PROXY_NET_LOOP_EV_H
#define PGSLUICE_PROXY_NET_LOOP_EV_H

#include <ev.h>

#include "proxy/net/loop.h"
#include "proxy/net/loop_edge.h"

/* Whoever asks for it is about to change something: libev runs before the loop waits again. */
struct ev_loop *loop_ev(struct loop *);

#endif
