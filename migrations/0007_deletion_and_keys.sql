-- A deleted experiment is gone for everybody; its row stays until its worker, folder and points are gone, so that a start of the daemon goes on.
ALTER TABLE experiment ADD COLUMN deleted_ms INTEGER NOT NULL DEFAULT 0;
CREATE INDEX experiment_deleted ON experiment(id) WHERE deleted_ms<>0;
-- Whether what an experiment needs had succeeded when it was deleted; while it is there its own row tells.
ALTER TABLE dependency ADD COLUMN succeeded INTEGER NOT NULL DEFAULT 0;
CREATE INDEX dependency_needs ON dependency(needs);
-- Keys are looked up by age to be forgotten.
CREATE INDEX idempotency_age ON idempotency(at_ms);
