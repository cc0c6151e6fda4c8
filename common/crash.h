/* crash: named places where a test build kills itself with SIGKILL, so that tests can ask what is
 * left of a half-done change. Any thread, any process.
 *
 * Built with -DSPIKED_CRASH_POINTS (build/chaos/spiked, build/chaos/spiked-worker) and started with
 * SPIKED_CRASH=submit.before_commit:2, a process dies when it comes to that place for the second
 * time. Before it dies it appends "submit.before_commit PID" to the file SPIKED_CRASH_LOG. In every
 * other build a crash point is no code at all. */
#ifndef COMMON_CRASH_H
#define COMMON_CRASH_H

#define CRASH_POINTS(X)                                                                            \
    /* Daemon. "before": written, the transaction is open; "after": committed, nobody was told. */ \
    X(CRASH_MIGRATION_BEFORE_COMMIT, "migration.before_commit")                                    \
    X(CRASH_MIGRATION_AFTER_COMMIT, "migration.after_commit")                                      \
    X(CRASH_SUBMIT_BEFORE_COMMIT, "submit.before_commit")                                          \
    X(CRASH_SUBMIT_AFTER_COMMIT, "submit.after_commit")                                            \
    X(CRASH_SWEEP_BEFORE_COMMIT, "sweep.before_commit") /* all members */                          \
    X(CRASH_SWEEP_AFTER_COMMIT, "sweep.after_commit")                                              \
    X(CRASH_RUNG_BEFORE_COMMIT, "rung.before_commit") /* who goes on, and who does not */          \
    X(CRASH_RUNG_AFTER_COMMIT, "rung.after_commit")   /* decided, and not told */                  \
    X(CRASH_PRUNE_BEFORE_COMMIT, "prune.before_commit")                                            \
    X(CRASH_PRUNE_AFTER_COMMIT, "prune.after_commit")                                              \
    X(CRASH_ACTION_BEFORE_COMMIT, "action.before_commit") /* what people ask for */                \
    X(CRASH_ACTION_AFTER_COMMIT, "action.after_commit")                                            \
    X(CRASH_CLAIM_BEFORE_COMMIT, "claim.before_commit")                                            \
    X(CRASH_CLAIM_AFTER_COMMIT, "claim.after_commit")     /* a claim without any worker */         \
    X(CRASH_SPAWN_BEFORE_PID_ROW, "spawn.before_pid_row") /* a process that no row knows */        \
    X(CRASH_HELLO_CUT_BEFORE_COMMIT, "hello_cut.before_commit")                                    \
    X(CRASH_HELLO_CUT_AFTER_COMMIT, "hello_cut.after_commit") /* points are cut, still starting */ \
    X(CRASH_HELLO_BEFORE_COMMIT, "hello.before_commit")                                            \
    X(CRASH_HELLO_AFTER_COMMIT, "hello.after_commit")                                              \
    X(CRASH_POINTS_BEFORE_COMMIT, "points.before_commit")                                          \
    X(CRASH_POINTS_AFTER_COMMIT, "points.after_commit")                                            \
    X(CRASH_FAULT_BEFORE_COMMIT, "fault.before_commit") /* a worker was seen dead */               \
    X(CRASH_FAULT_AFTER_COMMIT, "fault.after_commit")                                              \
    X(CRASH_FINISH_BEFORE_COMMIT, "finish.before_commit")                                          \
    X(CRASH_FINISH_AFTER_COMMIT, "finish.after_commit")                                            \
    X(CRASH_BACKUP_SLICE, "backup.slice")   /* a part of a database is copied */                   \
    X(CRASH_BACKUP_COPIED, "backup.copied") /* both copies are checked, nothing was sent */        \
    X(CRASH_BACKUP_BEFORE_RENAME, "backup.before_rename") /* spiked backup: the file is whole */   \
    X(CRASH_PURGE_FOLDER_GONE,                                                                     \
      "purge.folder_gone") /* of a deleted experiment; its rows are there */                       \
    X(CRASH_PURGE_POINTS_GONE, "purge.points_gone") /* and these, too, but for its own */          \
    /* Worker. */                                                                                  \
    X(CRASH_ATTEMPT_LINKED, "attempt.linked")   /* has the earlier checkpoint, not said hello */   \
    X(CRASH_SPOOL_NOT_SENT, "spool.not_sent")   /* points are in the spool alone */                \
    X(CRASH_SPOOL_NOT_ACKED, "spool.not_acked") /* the daemon has them, the spool knows not */     \
    X(CRASH_CHECKPOINT_BEFORE_RENAME, "checkpoint.before_rename") /* also weights and the best */  \
    X(CRASH_CHECKPOINT_AFTER_RENAME, "checkpoint.after_rename")   /* older ones are still there */ \
    X(CRASH_FINISH_NOT_SENT, "finish.not_sent") /* all points are in, the end is not said */

enum crash_point {
#define CRASH_ENUM(code, name) code,
    CRASH_POINTS(CRASH_ENUM)
#undef CRASH_ENUM
        CRASH_POINT_COUNT
};

/* Variables that a daemon hands on to its workers, so that they have the same faults;
 * NULL-terminated, empty in release builds. */
extern const char *const crash_environment[];

#ifdef SPIKED_CRASH_POINTS
void crash_here(enum crash_point p); /* returns unless it is time to die */
#define crash_point(p) crash_here(p)
#else
#define crash_point(p) ((void)(p))
#endif

#endif
