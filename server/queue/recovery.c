/* recovery: what a starting daemon finds: loads every experiment, adopts workers that still run,
 * and puts the others back into the queue. Loop thread, at start. */
#include "server/queue/queue_internal.h"

#include "common/clock.h"
#include "common/log.h"
#include "server/launcher/process_id.h"
#include "server/store/metrics_store.h"
#include "server/store/stmt.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define USAGE_DAYS 10 /* what is older counts a thousandth */

static void split_tags(struct experiment *x, const char *text)
{
    while (*text != '\0' && x->n_tags < SPEC_TAGS_MAX) {
        const size_t n = strcspn(text, "\n");
        (void)snprintf(x->tags[x->n_tags++], sizeof x->tags[0], "%.*s", (int)n, text);
        text += n + (text[n] == '\n');
    }
}

/* What is left of a backoff; never more than the whole, whatever the wall clock says by now. */
static void restore_backoff(const struct queue *q, struct entry *e, int64_t not_before_ms)
{
    const int64_t most = change_backoff_ms(q, e, e->faults);
    int64_t left = not_before_ms - clock_wall_ms();
    if (left > most) left = most;
    e->backoff_until_ms = clock_mono_ms() + (left > 0 ? left : 0);
}

static int row_to_entry(struct queue *q, const struct stmt *s, struct err *e)
{
    struct experiment x = { .id = stmt_int(s, 0),
                            .owner_uid = (uid_t)stmt_int(s, 4),
                            .time_steps = stmt_int(s, 7),
                            .priority = stmt_int(s, 8),
                            .max_attempts = stmt_int(s, 9),
                            .attempt = stmt_int(s, 14),
                            .rev = stmt_int(s, 16),
                            .created_ms = stmt_int(s, 17),
                            .queued_ms = stmt_int(s, 18),
                            .started_ms = stmt_int(s, 19),
                            .ended_ms = stmt_int(s, 20),
                            .step = stmt_int(s, 22),
                            .steps_total = stmt_int(s, 23),
                            .epoch = stmt_int(s, 24),
                            .epochs = stmt_int(s, 25),
                            .retry_on = (unsigned)stmt_int(s, 27),
                            .time_limit_s = stmt_int(s, 28),
                            .no_progress_s = stmt_int(s, 29),
                            .memory_mib = stmt_int(s, 30),
                            .threads = stmt_int(s, 31),
                            .ran_ms = stmt_int(s, 32),
                            .run_began_ms = stmt_int(s, 33),
                            .place = stmt_int(s, 34),
                            .lift = stmt_int(s, 35),
                            .sweep = stmt_int(s, 36) };
    (void)snprintf(x.uid, sizeof x.uid, "%s", stmt_text(s, 1));
    (void)snprintf(x.name, sizeof x.name, "%s", stmt_text(s, 2));
    (void)snprintf(x.user, sizeof x.user, "%s", stmt_text(s, 3));
    split_tags(&x, stmt_text(s, 5));
    (void)snprintf(x.dataset, sizeof x.dataset, "%s", stmt_text(s, 6));
    (void)snprintf(x.message, sizeof x.message, "%s", stmt_text(s, 13));
    if (state_from_name(stmt_text(s, 10), &x.state) != 0 ||
        desired_from_name(stmt_text(s, 11), &x.desired) != 0 ||
        reason_from_name(stmt_text(s, 12), &x.reason) != 0)
        return err_set(e, ERR_DB, "experiment %lld has an unknown state", (long long)x.id);
    struct entry *entry = queue_add(q, &x, e);
    if (entry == NULL) return (int)e->code;
    entry->faults = stmt_int(s, 15);
    restore_backoff(q, entry, stmt_int(s, 21));
    entry->crashes = stmt_int(s, 26);
    if (x.run_began_ms != 0) { /* what passed while no daemon ran was run, too */
        const int64_t since = clock_wall_ms() - x.run_began_ms;
        entry->run_began_ms = clock_mono_ms() - (since > 0 ? since : 0);
    }
    return 0;
}

static int load_experiments(struct queue *q, struct err *e)
{
    struct stmt s;
    int rc = stmt_prepare(
        &s, store_db_at_start(q->main),
        "SELECT id,uid,name,user,owner_uid,tags,dataset,time_steps,priority,max_attempts,"
        "state,desired,reason,message,attempt,faults,rev,created_ms,queued_ms,started_ms,"
        "ended_ms,not_before_ms,step,steps_total,epoch,epochs,crashes,retry_on,time_limit_s,"
        "no_progress_s,memory_mib,threads,ran_ms,run_began_ms,place,lift,sweep FROM experiment"
        " ORDER BY id",
        e);
    int got = 0;
    while (rc == 0 && (got = stmt_step(&s, e)) == 1) rc = row_to_entry(q, &s, e);
    stmt_finish(&s);
    return rc != 0 ? rc : got < 0 ? (int)e->code : 0;
}

static int load_attempts(struct queue *q, struct err *e)
{
    struct stmt s;
    int rc = stmt_prepare(
        &s, store_db_at_start(q->main),
        "SELECT a.experiment,a.secret_hash,a.pid,a.start_ticks,a.boot_id,a.started_ms,a.seen_ms"
        " FROM attempt a"
        " JOIN experiment x ON x.id=a.experiment AND x.attempt=a.n",
        e);
    int got = 0;
    while (rc == 0 && (got = stmt_step(&s, e)) == 1) {
        struct entry *entry = queue_entry(q, stmt_int(&s, 0));
        size_t bytes;
        const void *hash = stmt_blob(&s, 1, &bytes);
        if (entry == NULL || bytes != DIGEST_BYTES) continue;
        memcpy(entry->secret_hash, hash, DIGEST_BYTES);
        entry->process.pid = stmt_int(&s, 2);
        entry->process.start_ticks = stmt_int(&s, 3);
        (void)snprintf(entry->process.boot_id, sizeof entry->process.boot_id, "%s",
                       stmt_text(&s, 4));
        entry->signs.began_ms = stmt_int(&s, 5);
        entry->signs.seen_ms = entry->signs.written_ms = stmt_int(&s, 6);
    }
    stmt_finish(&s);
    return rc != 0 ? rc : got < 0 ? (int)e->code : 0;
}

static int load_headlines(struct queue *q, struct err *e)
{
    struct stmt s;
    int rc = stmt_prepare(
        &s, store_db_at_start(q->metrics),
        "SELECT experiment,name,last,last_step FROM series WHERE name IN('train/loss',"
        "'train/accuracy','val/loss','val/accuracy','test/loss','test/accuracy')",
        e);
    int got = 0;
    while (rc == 0 && (got = stmt_step(&s, e)) == 1) {
        struct entry *entry = queue_entry(q, stmt_int(&s, 0));
        for (int i = 0; entry != NULL && i < EXPERIMENT_HEADLINES_MAX; i++)
            if (strcmp(stmt_text(&s, 1), experiment_headlines[i]) == 0)
                entry->x.headline[i] = stmt_double(&s, 2);
        if (entry != NULL && stmt_int(&s, 3) > entry->x.step) entry->x.step = stmt_int(&s, 3);
    }
    stmt_finish(&s);
    return rc != 0 ? rc : got < 0 ? (int)e->code : 0;
}

/* Fair share goes on over restarts: what was run is in the attempts. Those that have not ended are
 * charged when it is known how far they came (charge_present). */
static int load_usage(struct queue *q, struct err *e)
{
    struct stmt s;
    const int64_t now = clock_wall_ms(), mono = clock_mono_ms();
    int rc = stmt_prepare(&s, store_db_at_start(q->main),
                          "SELECT x.user,a.started_ms,a.ended_ms FROM attempt a JOIN experiment x"
                          " ON x.id=a.experiment WHERE a.ended_ms>?1",
                          e);
    if (rc != 0) return rc;
    stmt_bind(&s, "i", now - USAGE_DAYS * 24 * 3600 * 1000);
    int got;
    while ((got = stmt_step(&s, e)) == 1) {
        struct order_user *u = order_user(&q->order, stmt_text(&s, 0));
        const int64_t begin = stmt_int(&s, 1), end = stmt_int(&s, 2);
        if (u != NULL && begin < end && end <= now) order_ran_before(u, begin, end, now, mono);
    }
    stmt_finish(&s);
    return got < 0 ? (int)e->code : 0;
}

int recovery_load(struct queue *q, struct err *e)
{
    int rc = sweeps_load(q, e);
    if (rc == 0) rc = load_experiments(q, e);
    if (rc == 0) rc = dependencies_load(q, e);
    if (rc == 0) rc = load_attempts(q, e);
    if (rc == 0) rc = load_usage(q, e);
    if (rc == 0) rc = queue_load_switches(q, e);
    if (rc == 0) rc = load_headlines(q, e);
    if (rc == 0) rc = rungs_load(q, e);
    return rc;
}

/* A worker that lives has used its slot until now. */
static void charge_present(const struct entry *e)
{
    const int64_t now = clock_wall_ms();
    const int64_t end = e->signs.gone_ms != 0 ? e->signs.gone_ms : now;
    if (e->signs.began_ms < end && end <= now)
        order_ran_before(e->item.user, e->signs.began_ms, end, now, clock_mono_ms());
}

static void go_on(const struct queue *q, struct entry *e)
{
    const int64_t mono = clock_mono_ms();
    e->lease_until_ms = mono + RESTART_GRACE_MS;
    if (!entry_active(e)) return;
    e->progress_ms = mono;
    e->start_until_ms = mono + 1000 * q->o.start_timeout_s;
    e->pause_grace_s = LIMIT_GRACE_S;
    if (e->x.state == STATE_STOPPING) e->grace_until_ms = mono + LEASE_MS;
    charge_present(e);
}

/* begun: a process was made, which may have waited to be released. */
static void put_back(struct queue *q, struct entry *e, bool begun, bool rebooted)
{
    signs_gone(q, e);
    charge_present(e);
    if (!begun || (!rebooted && e->x.state == STATE_STARTING))
        scheduler_fault(q, e, REASON_DAEMON_RESTART, "the daemon ended before the worker began");
    else if (rebooted) scheduler_fault(q, e, REASON_HOST_REBOOT, "the machine was restarted");
    else scheduler_fault(q, e, REASON_WORKER_LOST, "the worker ended while the daemon was away");
}

static enum launcher_adoption adopt(struct queue *q, struct entry *e)
{
    struct err fault = { 0 };
    const enum launcher_adoption a = q->launcher->ops->adopt(q->launcher, e->x.id, e->x.attempt,
                                                             &e->process, &fault);
    if (a == ADOPTION_UNKNOWN && !e->unwatched)
        log_warn("server.queue", "experiment %lld: whether worker %lld lives is not known yet: %s",
                 (long long)e->x.id, (long long)e->process.pid, fault.text);
    if (a == ADOPTION_DONE)
        log_info("server.queue", "experiment %lld: worker %lld still runs", (long long)e->x.id,
                 (long long)e->process.pid);
    e->unwatched = a == ADOPTION_UNKNOWN;
    return a;
}

void recovery_adopt(struct queue *q)
{
    char boot[40];
    process_boot_id(boot);
    list_for_each_safe(it, &q->entries)
    {
        struct entry *e = container_of(it, struct entry, link);
        const bool begun = e->process.pid != 0;
        const bool rebooted = begun && boot[0] != '\0' && e->process.boot_id[0] != '\0' &&
                              strcmp(e->process.boot_id, boot) != 0;
        const bool there = begun && !rebooted && adopt(q, e) != ADOPTION_GONE;
        if (!there) e->process = (struct launched){ 0 };
        queue_place(q, e);
        if (there) go_on(q, e);
        else if (entry_active(e)) put_back(q, e, begun, rebooted);
        if (!entry_active(e)) dependencies_check(q, e);
    }
    q->launcher->ops->settle(q->launcher);
}

void recovery_adopt_again(struct queue *q, struct entry *e)
{
    const enum launcher_adoption a = adopt(q, e);
    if (a == ADOPTION_DONE && e->killed)
        q->launcher->ops->stop(q->launcher, e->x.id, e->x.attempt, true);
    if (a != ADOPTION_GONE) return;
    if (entry_active(e)) signs_gone(q, e);
    scheduler_worker_exit(q, e->x.id, e->x.attempt, (struct launcher_exit){ .code = -1 });
}
