-- People, their tokens and sessions, and what they asked for. Of a secret only its SHA-256 is here. Times are ms since 1970 UTC.
-- A user: seen on this machine (uid) or known by tokens alone. role NULL: as the account on this machine has it.
CREATE TABLE user(
  name TEXT PRIMARY KEY,
  uid INTEGER,
  role TEXT CHECK(role IN('viewer','user','admin')),
  disabled INTEGER NOT NULL DEFAULT 0,
  created_ms INTEGER NOT NULL
) WITHOUT ROWID, STRICT;

-- expires_ms 0 = never, last_used_ms 0 = not yet.
CREATE TABLE token(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  hash BLOB NOT NULL UNIQUE,
  user TEXT NOT NULL REFERENCES user(name),
  name TEXT NOT NULL,
  role TEXT NOT NULL CHECK(role IN('viewer','user','admin')),
  created_ms INTEGER NOT NULL,
  expires_ms INTEGER NOT NULL DEFAULT 0,
  last_used_ms INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX token_user ON token(user);

-- A page that logged in with a token; ends with it.
CREATE TABLE session(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  hash BLOB NOT NULL UNIQUE,
  token INTEGER NOT NULL REFERENCES token(id) ON DELETE CASCADE,
  created_ms INTEGER NOT NULL,
  last_used_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX session_token ON session(token);

-- Every request of a person that changes something, written before it is done. status 0: the daemon ended before it
-- had answered.
CREATE TABLE request_audit(
  seq INTEGER PRIMARY KEY,
  at_ms INTEGER NOT NULL,
  actor TEXT NOT NULL,
  role TEXT NOT NULL,
  via TEXT NOT NULL,
  token INTEGER,
  method TEXT NOT NULL,
  path TEXT NOT NULL,
  object TEXT NOT NULL,
  status INTEGER NOT NULL,
  request_id TEXT NOT NULL
) STRICT;
