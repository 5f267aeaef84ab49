/*
 * Installing the schema `pgsluice` in one database, and taking it away.
 */
#ifndef PGSLUICE_PROXY_CHANGE_INSTALL_H
#define PGSLUICE_PROXY_CHANGE_INSTALL_H

#include "proxy/change/command.h"

struct install {
    struct command command;
    const char *asked; /* --worker, or NULL */
    bool published;    /* --published */
    char worker[64];   /* the role's name */
    char was[64];      /* the worker of an earlier installation; "" if there is none */
    int version;       /* of an earlier installation; 0: there is none */
    bool made;         /* the role was made */
    bool superuser;    /* the installer is one */
    bool may_set;      /* its functions may set what a superuser may */
};

/* One transaction. An exit code; why it isn't 0 has been said. */
int install_run(struct install *);
/* On standard output: what was done, and what remains to be done by people. */
int install_report(struct install *);
int uninstall_run(struct command *, bool force);

#endif
