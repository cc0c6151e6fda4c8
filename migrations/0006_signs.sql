-- When the worker of an attempt was last heard: what its running time and its user's share end with if nobody saw it end.
ALTER TABLE attempt ADD COLUMN seen_ms INTEGER NOT NULL DEFAULT 0;
