-- Experiments, their attempts, idempotency keys and the audit trail. Times are ms since 1970 UTC.
CREATE TABLE experiment(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  uid TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  user TEXT NOT NULL,
  owner_uid INTEGER NOT NULL,
  tags TEXT NOT NULL,
  dataset TEXT NOT NULL,
  time_steps INTEGER NOT NULL,
  priority INTEGER NOT NULL,
  max_attempts INTEGER NOT NULL,
  spec TEXT NOT NULL,
  result_hash TEXT NOT NULL,
  state TEXT NOT NULL CHECK(state IN('held','blocked','backoff','queued','starting','running','stopping','paused',
                                     'succeeded','failed','cancelled')),
  desired TEXT NOT NULL,
  reason TEXT NOT NULL,
  message TEXT NOT NULL,
  attempt INTEGER NOT NULL DEFAULT 0,
  faults INTEGER NOT NULL DEFAULT 0,
  rev INTEGER NOT NULL DEFAULT 1,
  created_ms INTEGER NOT NULL,
  queued_ms INTEGER NOT NULL DEFAULT 0,
  started_ms INTEGER NOT NULL DEFAULT 0,
  ended_ms INTEGER NOT NULL DEFAULT 0,
  not_before_ms INTEGER NOT NULL DEFAULT 0,
  step INTEGER NOT NULL DEFAULT 0,
  steps_total INTEGER NOT NULL DEFAULT 0,
  epoch INTEGER NOT NULL DEFAULT 0,
  epochs INTEGER NOT NULL DEFAULT 0,
  summary TEXT,
  CHECK((ended_ms = 0) = (state NOT IN('succeeded','failed','cancelled')))
) STRICT;

CREATE TABLE attempt(
  experiment INTEGER NOT NULL REFERENCES experiment(id) ON DELETE CASCADE,
  n INTEGER NOT NULL,
  secret_hash BLOB NOT NULL,
  host TEXT NOT NULL DEFAULT '',
  pid INTEGER NOT NULL DEFAULT 0,
  start_ticks INTEGER NOT NULL DEFAULT 0,
  boot_id TEXT NOT NULL DEFAULT '',
  started_ms INTEGER NOT NULL,
  ended_ms INTEGER NOT NULL DEFAULT 0,
  resume_step INTEGER NOT NULL DEFAULT 0,
  reason TEXT NOT NULL DEFAULT 'none',
  PRIMARY KEY(experiment, n)
) WITHOUT ROWID, STRICT;

CREATE TABLE idempotency(
  user TEXT NOT NULL,
  key TEXT NOT NULL,
  body_sha BLOB NOT NULL,
  experiment INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  PRIMARY KEY(user, key)
) WITHOUT ROWID, STRICT;

CREATE TABLE audit(
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  at_ms INTEGER NOT NULL,
  actor TEXT NOT NULL,
  experiment INTEGER NOT NULL,
  event TEXT NOT NULL,
  state TEXT NOT NULL
) STRICT;
