/*
 * Edges: descriptors in the loop's own epoll (loop_ev.h). `happened` is told once of each change (EPOLLET);
 * who leaves something unread has to ask to be told again. Embedded in its owner; for this folder only.
 */
#ifndef PGSLUICE_PROXY_NET_LOOP_EDGE_H
#define PGSLUICE_PROXY_NET_LOOP_EDGE_H

#include <stdbool.h>
#include <stdint.h>

struct loop;

struct loop_edge {
    void (*happened)(struct loop_edge *,
                     uint32_t events); /* EPOLL…; 0: it was asked for. May free the edge */
    struct loop_edge *next, *previous; /* in the queue of those to be told; or NULL */
};

/* `events` as for epoll_ctl. False: errno. */
bool loop_edge_add(struct loop *, struct loop_edge *, int fd, uint32_t events);
bool loop_edge_change(struct loop *, struct loop_edge *, int fd, uint32_t events);
/* Before its descriptor is closed. Events that were fetched but not told yet are forgotten. */
void loop_edge_gone(struct loop *, struct loop_edge *);
/* `happened` will be called, in the loop's next round. */
void loop_edge_again(struct loop *, struct loop_edge *);
/* Did the edge whose `happened` is running survive so far? */
bool loop_edge_stands(const struct loop *, const struct loop_edge *);

#endif
