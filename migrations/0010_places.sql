-- What a batch answered, for the request that comes again with its key; of anything else the row names what was made.
ALTER TABLE idempotency ADD COLUMN answer TEXT;
-- Where an experiment was moved to in the queue (queue_order.h): a place among its user's, 0 = the time it was queued; and a lift, of
-- all users', that an admin gave it.
ALTER TABLE experiment ADD COLUMN place INTEGER NOT NULL DEFAULT 0;
ALTER TABLE experiment ADD COLUMN lift INTEGER NOT NULL DEFAULT 0;
