-- Sweeps: experiments made from one base spec and a search space. definition: what was sent. members: how many were made, from number `first` on, without
-- a gap. higher: 1 = the larger value of the metric is the better one. eta 0: nobody is stopped early. unit: 0 = epochs, 1 = steps.
CREATE TABLE sweep(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL,
  user TEXT NOT NULL,
  definition TEXT NOT NULL,
  strategy TEXT NOT NULL,
  metric TEXT NOT NULL,
  higher INTEGER NOT NULL,
  eta INTEGER NOT NULL,
  budget_min INTEGER NOT NULL,
  budget_max INTEGER NOT NULL,
  unit INTEGER NOT NULL,
  max_parallel INTEGER NOT NULL,
  max_fails INTEGER NOT NULL,
  first INTEGER NOT NULL,
  members INTEGER NOT NULL,
  created_ms INTEGER NOT NULL
) STRICT;
-- What an experiment is a member of, 0 = of none, and what it got from the space, as a JSON object.
ALTER TABLE experiment ADD COLUMN sweep INTEGER NOT NULL DEFAULT 0;
ALTER TABLE experiment ADD COLUMN parameters TEXT;
-- Decisions of successive halving, in the order they were taken. value NULL: it was not a number. goes_on: 0 = the member stops, 1 = it goes on, 2 = somebody
-- had it go on all the same.
CREATE TABLE rung(
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  sweep INTEGER NOT NULL REFERENCES sweep(id) ON DELETE CASCADE,
  rung INTEGER NOT NULL,
  experiment INTEGER NOT NULL,
  step INTEGER NOT NULL,
  value REAL,
  rank INTEGER NOT NULL,
  of INTEGER NOT NULL,
  goes_on INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  UNIQUE(sweep, rung, experiment)
) STRICT;
CREATE INDEX rung_experiment ON rung(experiment);
