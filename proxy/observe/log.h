/*
 * The program's own log: one line a message on standard error, as text or JSON. Any thread may call. Never
 * blocks on a full pipe for longer than one write; a line is at most 8 kB. Client text is escaped: a log line
 * can't be forged by a newline in a user's name. Secrets (passwords, cancel keys, conninfo) never go in.
 */
#ifndef PGSLUICE_PROXY_OBSERVE_LOG_H
#define PGSLUICE_PROXY_OBSERVE_LOG_H

#include "conf/conf.h"

void log_configure(enum log_level, enum log_format);
void log_write(enum log_level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_debug(...)   log_write(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)    log_write(LOG_INFO, __VA_ARGS__)
#define log_warning(...) log_write(LOG_WARNING, __VA_ARGS__)
#define log_error(...)   log_write(LOG_ERROR, __VA_ARGS__)

#endif
