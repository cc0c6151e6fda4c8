-- Limits of an experiment, which may be changed after its spec was stored, what it has used of them, and how attempts ended.
ALTER TABLE experiment ADD COLUMN crashes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE experiment ADD COLUMN retry_on INTEGER NOT NULL DEFAULT 0;
ALTER TABLE experiment ADD COLUMN time_limit_s INTEGER NOT NULL DEFAULT 0;
ALTER TABLE experiment ADD COLUMN no_progress_s INTEGER NOT NULL DEFAULT 1800;
ALTER TABLE experiment ADD COLUMN memory_mib INTEGER NOT NULL DEFAULT 0;
ALTER TABLE experiment ADD COLUMN threads INTEGER NOT NULL DEFAULT 2;
ALTER TABLE experiment ADD COLUMN ran_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE experiment ADD COLUMN run_began_ms INTEGER NOT NULL DEFAULT 0;
UPDATE experiment SET
  time_limit_s = coalesce(json_extract(spec, '$.resources.time_limit_s'), 0),
  memory_mib = coalesce(json_extract(spec, '$.resources.memory_mib'), 0),
  threads = coalesce(json_extract(spec, '$.resources.threads'), 2);
ALTER TABLE attempt ADD COLUMN exit_code INTEGER;
ALTER TABLE attempt ADD COLUMN signal INTEGER;
ALTER TABLE attempt ADD COLUMN memory_limit TEXT NOT NULL DEFAULT 'none';
