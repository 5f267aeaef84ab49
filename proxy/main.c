/*
 * pgsluice: one binary, one row a command.
 */
#include <stdio.h>
#include <string.h>

#include "conf/conf.h"

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf("pgsluice %s\n", PGSLUICE_VERSION);
        return 0;
    }
    fprintf(stderr, "usage: pgsluice --version\n");
    return 2;
}
