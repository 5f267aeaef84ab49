/*
 * The inside of a loop, for the files of this folder only: they hang their libev watchers into it directly.
 */
#ifndef PGSLUICE_PROXY_NET_LOOP_EV_H
#define PGSLUICE_PROXY_NET_LOOP_EV_H

#include <ev.h>

#include "proxy/net/loop.h"

struct ev_loop *loop_ev(const struct loop *);

#endif
