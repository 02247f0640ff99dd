"""A registry made by an older version is brought up to the tables of today, with all it knows."""

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from crypto_anomaly.registry import migrations, rules, schema, tables
from crypto_anomaly.registry.errors import RegistryError
from crypto_anomaly.registry.registry import Registry

SHA = "ab" * 32
PAST = f"""INSERT INTO model VALUES ('anomaly_detector', 'simulated', '', '2026-01-01');
INSERT INTO model_version (model, version, status, artifact_sha256, run_id, created_at, facts)
VALUES ('anomaly_detector', 1, 'candidate', '{SHA}', 'r1', '2026-01-01', '{{}}'),
       ('anomaly_detector', 2, 'candidate', '{SHA}', 'r2', '2026-01-01', '{{}}');
INSERT INTO evaluation (version_id, artifact_sha256, passed, dataset, dataset_hash, gates,
                        metrics, run_id, created_at)
VALUES (1, '{SHA}', TRUE, 'd', '', '[]', '{{}}', '', ''),
       (2, '{SHA}', TRUE, 'd', '', '[]', '{{}}', '', '');
UPDATE model_version SET status = 'evaluated';
UPDATE model_version SET status = 'challenger'"""


def old_database(url):
    """A database as `tests/schema_0001.*.sql` has it, with two challengers in it."""
    u = sa.make_url(url)
    script = (Path(__file__).parent / f"schema_0001.{u.get_backend_name()}.sql").read_text()
    engine = sa.create_engine(u)
    with engine.begin() as c:
        for statement in script.split("\n-- next\n") + PAST.split(";\n"):
            c.exec_driver_sql(statement)
    engine.dispose()


def triggers(c):
    table = (
        "pg_trigger WHERE NOT tgisinternal"
        if c.dialect.name == "postgresql"
        else "sqlite_master WHERE type = 'trigger'"
    )
    return set(
        c.exec_driver_sql(
            f"SELECT {'tgname' if c.dialect.name == 'postgresql' else 'name'} FROM {table}"
        ).scalars()
    )


def test_an_old_database_becomes_what_a_new_one_is(db_url):
    old_database(db_url)
    r = Registry(db_url)
    with r.engine.connect() as c:
        assert compare_metadata(MigrationContext.configure(c), tables.METADATA) == []
        assert triggers(c) == {rule.name for rule in rules.TABLE_RULES} | (
            {f"{t}_is_not_emptied" for t in rules.HISTORY_TABLES}
            if "postgresql" in db_url
            else set()
        )
        assert {i["name"] for i in sa.inspect(c).get_indexes("model_version")} >= {
            "one_champion",
            "one_challenger",
        }
    assert [(v["version"], v["status"]) for v in r.list_model_versions()] == [
        (2, "challenger"),
        (1, "evaluated"),
    ]  # the newer trial goes on
    r.request_approval("v2", by="a")
    r.approve("v2", by="b", reason="still here")
    assert r.promote("v2")["version"] == 2
    assert r.record_data(
        "dataset_ready",
        {},
        dict(name="training_dataset", facts={}, made_from=["market_snapshot:v1"]),
    ) == ["training_dataset:v1"]
    for sql in (
        "INSERT INTO link VALUES (1, 'market_snapshot:latest')",
        "UPDATE asset SET version = 7",
        "DELETE FROM link",
    ):
        with (
            pytest.raises(sa.exc.IntegrityError),
            r.engine.connect().execution_options(write=True) as c,
            c.begin(),
        ):
            c.exec_driver_sql(sql)


def test_a_step_that_fails_leaves_the_old_database(db_url, monkeypatch):
    old_database(db_url)

    def broken(op):
        migrations.upgrade_to_0002(op)
        op.execute("SELECT no_such_function()")

    monkeypatch.setitem(migrations.MIGRATIONS, "0002", broken)
    with pytest.raises(sa.exc.DBAPIError):
        schema.open_engine(db_url)
    monkeypatch.setitem(migrations.MIGRATIONS, "0002", migrations.upgrade_to_0002)
    assert Registry(db_url).resolve("challenger")["version"] == 2


def test_a_newer_database_is_refused(tmp_path):
    Registry(url := f"sqlite:///{tmp_path}/r.db").register(SHA, {})
    with sqlite3.connect(tmp_path / "r.db") as db:
        db.execute("UPDATE alembic_version SET version_num = '9999'")
    schema.open_engine.cache_clear()
    with pytest.raises(RegistryError, match="newer version of crypto_anomaly"):
        Registry(url)
