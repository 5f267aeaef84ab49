/*
 * The names of tables that a session made, kept as hashes: a session that restores a dump makes thousands.
 */
#include "policy/policy.h"

/* FNV-1a, 64 bits. A table that only shares its hash must also have been made since the session began to ask.
 */
uint64_t policy_name_hash(const char *name)
{
    uint64_t hash = 0xcbf29ce484222325U;
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 0x100000001b3U;
    return hash;
}
