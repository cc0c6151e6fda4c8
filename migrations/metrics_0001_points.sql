-- Series with their summaries, points in chunks of 24 bytes each (step u64, time i64, value f64), the
-- highest frame committed of every attempt, and the index of records (their bytes are in records.bin).
CREATE TABLE series(
  id INTEGER PRIMARY KEY,
  experiment INTEGER NOT NULL,
  name TEXT NOT NULL,
  n INTEGER NOT NULL,
  last REAL, last_step INTEGER NOT NULL,
  min REAL, min_step INTEGER NOT NULL,
  max REAL, max_step INTEGER NOT NULL,
  UNIQUE(experiment, name)
) STRICT;

CREATE TABLE chunk(
  id INTEGER PRIMARY KEY,
  series INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  step0 INTEGER NOT NULL,
  step1 INTEGER NOT NULL,
  points BLOB NOT NULL,
  UNIQUE(series, seq)
) STRICT;

CREATE TABLE ack(
  experiment INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  frame INTEGER NOT NULL,
  PRIMARY KEY(experiment, attempt)
) WITHOUT ROWID, STRICT;

CREATE TABLE record(
  id INTEGER PRIMARY KEY,
  experiment INTEGER NOT NULL,
  layer TEXT NOT NULL,
  kind TEXT NOT NULL,
  idx INTEGER NOT NULL,
  step INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  time_ms INTEGER NOT NULL,
  dims TEXT NOT NULL,
  encoding INTEGER NOT NULL,
  place INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  UNIQUE(experiment, layer, kind, idx)
) STRICT;
