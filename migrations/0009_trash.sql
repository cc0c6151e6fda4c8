-- A deleted experiment can be taken back until it is purged: then its folder, points and rows go. What was deleted before there was a
-- way back stays purged.
ALTER TABLE experiment ADD COLUMN purged_ms INTEGER NOT NULL DEFAULT 0;
UPDATE experiment SET purged_ms=deleted_ms WHERE deleted_ms<>0;
