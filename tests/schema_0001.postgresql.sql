-- The registry as the first commits made it, before it had migrations: see test_migrations.py.
CREATE TABLE event (
 id SERIAL NOT NULL, 
 at TEXT NOT NULL, 
 kind TEXT NOT NULL, 
 model TEXT NOT NULL, 
 version INTEGER, 
 actor TEXT NOT NULL, 
 payload JSON NOT NULL, 
 PRIMARY KEY (id)
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
CREATE TABLE trigger (
 id SERIAL NOT NULL, 
 stage TEXT NOT NULL, 
 event_key TEXT NOT NULL, 
 claimed_by TEXT NOT NULL, 
 claimed_at TEXT NOT NULL, 
 PRIMARY KEY (id), 
 UNIQUE (stage, event_key)
)
-- next
CREATE TABLE model_version (
 id SERIAL NOT NULL, 
 model TEXT NOT NULL, 
 version INTEGER NOT NULL, 
 status TEXT NOT NULL, 
 artifact_sha256 TEXT NOT NULL, 
 run_id TEXT NOT NULL, 
 created_at TEXT NOT NULL, 
 facts JSON NOT NULL, 
 PRIMARY KEY (id), 
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
 id SERIAL NOT NULL, 
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
 id SERIAL NOT NULL, 
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
CREATE FUNCTION event_is_append_only_u() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF TRUE THEN RAISE EXCEPTION 'events are append-only' USING ERRCODE = 'integrity_constraint_violation'; END IF; IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END $$; CREATE TRIGGER event_is_append_only_u BEFORE UPDATE ON event FOR EACH ROW EXECUTE FUNCTION event_is_append_only_u()
-- next
CREATE FUNCTION event_is_append_only_d() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF TRUE THEN RAISE EXCEPTION 'events are append-only' USING ERRCODE = 'integrity_constraint_violation'; END IF; IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END $$; CREATE TRIGGER event_is_append_only_d BEFORE DELETE ON event FOR EACH ROW EXECUTE FUNCTION event_is_append_only_d()
-- next
CREATE FUNCTION evaluation_is_final_u() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF TRUE THEN RAISE EXCEPTION 'an evaluation is final' USING ERRCODE = 'integrity_constraint_violation'; END IF; IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END $$; CREATE TRIGGER evaluation_is_final_u BEFORE UPDATE ON evaluation FOR EACH ROW EXECUTE FUNCTION evaluation_is_final_u()
-- next
CREATE FUNCTION evaluation_is_final_d() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF TRUE THEN RAISE EXCEPTION 'an evaluation is final' USING ERRCODE = 'integrity_constraint_violation'; END IF; IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END $$; CREATE TRIGGER evaluation_is_final_d BEFORE DELETE ON evaluation FOR EACH ROW EXECUTE FUNCTION evaluation_is_final_d()
-- next
CREATE FUNCTION approval_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF TRUE THEN RAISE EXCEPTION 'approvals are kept' USING ERRCODE = 'integrity_constraint_violation'; END IF; IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END $$; CREATE TRIGGER approval_is_kept BEFORE DELETE ON approval FOR EACH ROW EXECUTE FUNCTION approval_is_kept()
-- next
CREATE FUNCTION version_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF TRUE THEN RAISE EXCEPTION 'versions are kept' USING ERRCODE = 'integrity_constraint_violation'; END IF; IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END $$; CREATE TRIGGER version_is_kept BEFORE DELETE ON model_version FOR EACH ROW EXECUTE FUNCTION version_is_kept()
-- next
CREATE FUNCTION decision_is_final() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF OLD.decision IS NOT NULL AND (NEW.decision <> OLD.decision OR NEW.version_id <> OLD.version_id OR NEW.evaluation_id <> OLD.evaluation_id OR OLD.used_at IS NOT NULL) THEN RAISE EXCEPTION 'a decision is final and used once' USING ERRCODE = 'integrity_constraint_violation'; END IF; IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END $$; CREATE TRIGGER decision_is_final BEFORE UPDATE ON approval FOR EACH ROW EXECUTE FUNCTION decision_is_final()
-- next
CREATE FUNCTION version_is_immutable() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.id <> OLD.id OR NEW.model <> OLD.model OR NEW.version <> OLD.version OR NEW.artifact_sha256 <> OLD.artifact_sha256 OR NEW.run_id <> OLD.run_id OR NEW.created_at <> OLD.created_at OR CAST(NEW.facts AS TEXT) <> CAST(OLD.facts AS TEXT) THEN RAISE EXCEPTION 'a version is immutable, only its status moves' USING ERRCODE = 'integrity_constraint_violation'; END IF; IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END $$; CREATE TRIGGER version_is_immutable BEFORE UPDATE ON model_version FOR EACH ROW EXECUTE FUNCTION version_is_immutable()
-- next
CREATE FUNCTION legal_transition() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.status <> OLD.status AND OLD.status || '>' || NEW.status NOT IN ('candidate>evaluated', 'candidate>retired', 'challenger>champion', 'challenger>evaluated', 'challenger>retired', 'champion>retired', 'evaluated>challenger', 'evaluated>champion', 'evaluated>retired', 'retired>champion') THEN RAISE EXCEPTION 'this change of status is not allowed' USING ERRCODE = 'integrity_constraint_violation'; END IF; IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END $$; CREATE TRIGGER legal_transition BEFORE UPDATE ON model_version FOR EACH ROW EXECUTE FUNCTION legal_transition()
-- next
CREATE FUNCTION starts_as_candidate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.status <> 'candidate' THEN RAISE EXCEPTION 'a version starts as candidate' USING ERRCODE = 'integrity_constraint_violation'; END IF; IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END $$; CREATE TRIGGER starts_as_candidate BEFORE INSERT ON model_version FOR EACH ROW EXECUTE FUNCTION starts_as_candidate()
-- next
CREATE FUNCTION evaluated_on_evidence() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.status = 'evaluated' AND OLD.status = 'candidate' AND NOT EXISTS (SELECT 1 FROM evaluation e WHERE e.version_id = NEW.id AND e.passed) THEN RAISE EXCEPTION 'evaluated needs a passed evaluation' USING ERRCODE = 'integrity_constraint_violation'; END IF; IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END $$; CREATE TRIGGER evaluated_on_evidence BEFORE UPDATE ON model_version FOR EACH ROW EXECUTE FUNCTION evaluated_on_evidence()
-- next
CREATE FUNCTION champion_is_approved() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.status = 'champion' AND OLD.status <> 'champion' AND NOT EXISTS (SELECT 1 FROM approval a WHERE a.version_id = NEW.id AND a.used_at IS NOT NULL) THEN RAISE EXCEPTION 'a champion needs an approval' USING ERRCODE = 'integrity_constraint_violation'; END IF; IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END $$; CREATE TRIGGER champion_is_approved BEFORE UPDATE ON model_version FOR EACH ROW EXECUTE FUNCTION champion_is_approved()
