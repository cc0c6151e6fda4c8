-- Buckets of 16, 256, 4096 ... points of a series, so that a chart of a long one costs its own length.
-- A row of level L has 32 buckets of 16^L points: those of the chunks [seq * 16^(L-1), (seq + 1) * 16^(L-1)).
CREATE TABLE rollup(
  id INTEGER PRIMARY KEY,
  series INTEGER NOT NULL,
  level INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  step1 INTEGER NOT NULL,
  buckets BLOB NOT NULL,
  UNIQUE(series, level, seq)
) STRICT;

-- What a chunk holds, without its points.
CREATE INDEX chunk_span ON chunk(series, seq, step0, step1, length(points));

-- Chunks with this id or a lower one are from before the buckets; the daemon makes theirs as it runs.
CREATE TABLE rollup_old(
  chunk INTEGER NOT NULL
) STRICT;
INSERT INTO rollup_old SELECT max(id) FROM chunk HAVING max(id) IS NOT NULL;
