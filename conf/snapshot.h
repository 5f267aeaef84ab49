/*
 * What a struct conf really is. Its members besides `conf` are known to this folder only.
 */
#ifndef PGSLUICE_CONF_SNAPSHOT_H
#define PGSLUICE_CONF_SNAPSHOT_H

#include "conf/conf.h"

#include <stdatomic.h>

enum { SNAPSHOT_MAGIC = 0x536c7543 };

struct snapshot {
    struct conf conf;        /* first, so that one pointer is both */
    struct conf_host single; /* upstream.host and upstream.port, where there is no list of hosts */
    atomic_uint references;
    unsigned magic; /* cleared on release */
};

/* With every default and one reference; NULL: out of memory. */
struct snapshot *snapshot_new(void);

#endif
