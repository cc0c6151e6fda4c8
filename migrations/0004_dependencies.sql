-- What an experiment waits for: the end of another (any = 1) or its success. An experiment that it needs was there before it, so there
-- are no circles; it may be deleted later, hence no reference.
CREATE TABLE dependency(
  experiment INTEGER NOT NULL REFERENCES experiment(id) ON DELETE CASCADE,
  needs INTEGER NOT NULL,
  any INTEGER NOT NULL,
  PRIMARY KEY(experiment, needs)
) WITHOUT ROWID, STRICT;
