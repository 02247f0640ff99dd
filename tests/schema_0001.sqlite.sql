-- The registry as the first commits made it, before it had migrations: see test_migrations.py.
CREATE TABLE event (
 id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
 at TEXT NOT NULL, 
 kind TEXT NOT NULL, 
 model TEXT NOT NULL, 
 version INTEGER, 
 actor TEXT NOT NULL, 
 payload JSON NOT NULL
)
-- next
CREATE INDEX event_kind ON event (kind, id)
-- next
CREATE TABLE model (
 name TEXT NOT NULL, 
 workspace TEXT NOT NULL, 
 description TEXT NOT NULL, 
 created_at TEXT NOT NULL, 
 PRIMARY KEY (name)
)
-- next
CREATE TABLE run (
 id TEXT NOT NULL, 
 stage TEXT NOT NULL, 
 status TEXT NOT NULL, 
 started_at TEXT NOT NULL, 
 finished_at TEXT, 
 parameters JSON NOT NULL, 
 result JSON, 
 notebook TEXT, 
 report TEXT, 
 error TEXT, 
 code_version TEXT NOT NULL, 
 PRIMARY KEY (id), 
 CONSTRAINT legal_run_status CHECK (status IN ('running', 'succeeded', 'failed'))
)
-- next
CREATE TABLE "trigger" (
 id INTEGER NOT NULL, 
 stage TEXT NOT NULL, 
 event_key TEXT NOT NULL, 
 claimed_by TEXT NOT NULL, 
 claimed_at TEXT NOT NULL, 
 PRIMARY KEY (id), 
 UNIQUE (stage, event_key)
)
-- next
CREATE TABLE model_version (
 id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
 model TEXT NOT NULL, 
 version INTEGER NOT NULL, 
 status TEXT NOT NULL, 
 artifact_sha256 TEXT NOT NULL, 
 run_id TEXT NOT NULL, 
 created_at TEXT NOT NULL, 
 facts JSON NOT NULL, 
 UNIQUE (model, version), 
 FOREIGN KEY(model) REFERENCES model (name), 
 CONSTRAINT legal_status CHECK (status IN ('candidate', 'evaluated', 'challenger', 'champion', 'retired'))
)
-- next
CREATE UNIQUE INDEX one_champion ON model_version (model) WHERE status = 'champion'
-- next
CREATE TABLE alias (
 model TEXT NOT NULL, 
 name TEXT NOT NULL, 
 version_id INTEGER NOT NULL, 
 set_at TEXT NOT NULL, 
 PRIMARY KEY (model, name), 
 FOREIGN KEY(version_id) REFERENCES model_version (id)
)
-- next
CREATE TABLE evaluation (
 id INTEGER NOT NULL, 
 version_id INTEGER NOT NULL, 
 artifact_sha256 TEXT NOT NULL, 
 passed BOOLEAN NOT NULL, 
 dataset TEXT NOT NULL, 
 dataset_hash TEXT NOT NULL, 
 compared_to INTEGER, 
 gates JSON NOT NULL, 
 metrics JSON NOT NULL, 
 run_id TEXT NOT NULL, 
 created_at TEXT NOT NULL, 
 PRIMARY KEY (id), 
 FOREIGN KEY(version_id) REFERENCES model_version (id), 
 FOREIGN KEY(compared_to) REFERENCES model_version (id)
)
-- next
CREATE TABLE approval (
 id INTEGER NOT NULL, 
 version_id INTEGER NOT NULL, 
 evaluation_id INTEGER NOT NULL, 
 champion_id INTEGER, 
 requested_by TEXT NOT NULL, 
 requested_at TEXT NOT NULL, 
 notes TEXT NOT NULL, 
 decision TEXT, 
 decided_by TEXT, 
 decided_at TEXT, 
 reason TEXT, 
 used_at TEXT, 
 PRIMARY KEY (id), 
 CONSTRAINT legal_decision CHECK (decision IN ('approved', 'rejected', 'stale')), 
 CONSTRAINT only_approved_is_used CHECK (used_at IS NULL OR decision = 'approved'), 
 FOREIGN KEY(version_id) REFERENCES model_version (id), 
 FOREIGN KEY(evaluation_id) REFERENCES evaluation (id), 
 FOREIGN KEY(champion_id) REFERENCES model_version (id)
)
-- next
CREATE UNIQUE INDEX one_open_request ON approval (version_id) WHERE decision IS NULL
-- next
CREATE TRIGGER event_is_append_only_u BEFORE UPDATE ON event WHEN TRUE BEGIN SELECT RAISE(ABORT, 'events are append-only'); END
-- next
CREATE TRIGGER event_is_append_only_d BEFORE DELETE ON event WHEN TRUE BEGIN SELECT RAISE(ABORT, 'events are append-only'); END
-- next
CREATE TRIGGER evaluation_is_final_u BEFORE UPDATE ON evaluation WHEN TRUE BEGIN SELECT RAISE(ABORT, 'an evaluation is final'); END
-- next
CREATE TRIGGER evaluation_is_final_d BEFORE DELETE ON evaluation WHEN TRUE BEGIN SELECT RAISE(ABORT, 'an evaluation is final'); END
-- next
CREATE TRIGGER approval_is_kept BEFORE DELETE ON approval WHEN TRUE BEGIN SELECT RAISE(ABORT, 'approvals are kept'); END
-- next
CREATE TRIGGER version_is_kept BEFORE DELETE ON model_version WHEN TRUE BEGIN SELECT RAISE(ABORT, 'versions are kept'); END
-- next
CREATE TRIGGER decision_is_final BEFORE UPDATE ON approval WHEN OLD.decision IS NOT NULL AND (NEW.decision <> OLD.decision OR NEW.version_id <> OLD.version_id OR NEW.evaluation_id <> OLD.evaluation_id OR OLD.used_at IS NOT NULL) BEGIN SELECT RAISE(ABORT, 'a decision is final and used once'); END
-- next
CREATE TRIGGER version_is_immutable BEFORE UPDATE ON model_version WHEN NEW.id <> OLD.id OR NEW.model <> OLD.model OR NEW.version <> OLD.version OR NEW.artifact_sha256 <> OLD.artifact_sha256 OR NEW.run_id <> OLD.run_id OR NEW.created_at <> OLD.created_at OR CAST(NEW.facts AS TEXT) <> CAST(OLD.facts AS TEXT) BEGIN SELECT RAISE(ABORT, 'a version is immutable, only its status moves'); END
-- next
CREATE TRIGGER legal_transition BEFORE UPDATE ON model_version WHEN NEW.status <> OLD.status AND OLD.status || '>' || NEW.status NOT IN ('candidate>evaluated', 'candidate>retired', 'challenger>champion', 'challenger>evaluated', 'challenger>retired', 'champion>retired', 'evaluated>challenger', 'evaluated>champion', 'evaluated>retired', 'retired>champion') BEGIN SELECT RAISE(ABORT, 'this change of status is not allowed'); END
-- next
CREATE TRIGGER starts_as_candidate BEFORE INSERT ON model_version WHEN NEW.status <> 'candidate' BEGIN SELECT RAISE(ABORT, 'a version starts as candidate'); END
-- next
CREATE TRIGGER evaluated_on_evidence BEFORE UPDATE ON model_version WHEN NEW.status = 'evaluated' AND OLD.status = 'candidate' AND NOT EXISTS (SELECT 1 FROM evaluation e WHERE e.version_id = NEW.id AND e.passed) BEGIN SELECT RAISE(ABORT, 'evaluated needs a passed evaluation'); END
-- next
CREATE TRIGGER champion_is_approved BEFORE UPDATE ON model_version WHEN NEW.status = 'champion' AND OLD.status <> 'champion' AND NOT EXISTS (SELECT 1 FROM approval a WHERE a.version_id = NEW.id AND a.used_at IS NOT NULL) BEGIN SELECT RAISE(ABORT, 'a champion needs an approval'); END
