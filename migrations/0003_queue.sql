-- What an admin told the queue: 'paused' and 'draining', 0 or 1; no row = 0.
CREATE TABLE setting(
  name TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) WITHOUT ROWID, STRICT;
