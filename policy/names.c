/*
 * The printable names of lock modes and answers.
 */
#include "policy/policy.h"

const char *lock_mode_name(enum lock_mode mode)
{
    static const char *const names[] = {
        [LOCK_NONE] = "none",
        [LOCK_ACCESS_SHARE] = "AccessShareLock",
        [LOCK_ROW_SHARE] = "RowShareLock",
        [LOCK_ROW_EXCLUSIVE] = "RowExclusiveLock",
        [LOCK_SHARE_UPDATE_EXCLUSIVE] = "ShareUpdateExclusiveLock",
        [LOCK_SHARE] = "ShareLock",
        [LOCK_SHARE_ROW_EXCLUSIVE] = "ShareRowExclusiveLock",
        [LOCK_EXCLUSIVE] = "ExclusiveLock",
        [LOCK_ACCESS_EXCLUSIVE] = "AccessExclusiveLock",
    };
    return names[mode];
}

const char *answer_name(enum answer answer)
{
    static const char *const names[] = {"no", "yes", "unknown"};
    return names[answer];
}
