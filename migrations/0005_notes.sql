-- What people write about an experiment, as long as they like; read with the experiment alone, never with lists.
ALTER TABLE experiment ADD COLUMN notes TEXT NOT NULL DEFAULT '';
