"""The lifecycle against a model of it.

Whatever is tried in whatever order, the registry does what the model says and nothing else.
"""

import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from test_registry_races import SHA, ready, replay

from crypto_anomaly.registry.errors import InvalidInputError, RegistryError
from crypto_anomaly.registry.registry import Registry
from crypto_anomaly.registry.verbs import Verb

VERB_OF = {verb.name: verb.value for verb in Verb} | dict(request_approval="request-approval")


class Refused(Exception):
    """What may not be; any of the words is a fair answer."""


def refuse(**why):
    if words := [word.replace("_", " ") for word, true in why.items() if true]:
        raise Refused(words)


@dataclass
class Request:
    """What somebody was asked to approve."""

    evaluation: int  # how many there were
    champion: int | None
    by: str
    decision: str = ""
    used: bool = False
    moved: bool = False  # its version was retired, or its trial ended, since


@dataclass
class Version:
    status: str = "candidate"
    evaluations: list = field(default_factory=list)
    requests: list = field(default_factory=list)


class Model:
    """The same verbs in plain Python, one after the other."""

    def __init__(self, four_eyes):
        self.four_eyes, self.versions, self.aliases, self.champions, self.line = (
            four_eyes,
            {},
            {},
            [],
            [],
        )

    @property
    def champion(self):
        return self.champions[-1] if self.champions else None

    def meant(self, ref):
        ref, newest = ref.removeprefix("anomaly_detector:"), sorted(self.versions, reverse=True)
        if ref in ("champion", "challenger"):
            hits = [n for n in newest if self.versions[n].status == ref]
        elif ref.startswith("latest"):
            hits = newest[int(ref[7:] or 0) :]
        elif ref.removeprefix("v").isdigit():
            hits = [n for n in newest if n == int(ref.removeprefix("v"))]
        else:
            hits = [self.aliases[ref]] if ref in self.aliases else []
        refuse(there_is_no=not hits)
        return hits[0]

    def resolve(self, ref):
        return dict(version=(n := self.meant(ref)), status=self.versions[n].status)

    def stale(self, n, request):
        return (
            request.evaluation != len(self.versions[n].evaluations)
            or request.champion != self.champion
            or request.moved  # its version was on trial or retired since
        )

    def close_stale(self):
        for n in self.versions:
            if (waiting := self.open(n)) and self.stale(n, waiting):
                waiting.decision = "stale"

    def leave(self, n, status):
        v = self.versions[n]
        v.status = status
        for r in v.requests:
            r.moved = True
        self.close_stale()
        return dict(version=n)

    def open(self, n):
        return next((r for r in self.versions[n].requests if not r.decision), None)

    def register(self, sha, facts):
        refuse(is_not_resolved="latest" in facts["data_source"], is_not_a_SHA=len(sha) != 64)
        self.versions[n := len(self.versions) + 1] = Version()
        return n

    def record_evaluation(self, ref, passed):
        v = self.versions[self.meant(ref)]
        v.evaluations.append(passed)
        if passed and v.status == "candidate":
            v.status = "evaluated"
        self.close_stale()

    def request_approval(self, ref, by):
        v = self.versions[n := self.meant(ref)]
        refuse(
            is_champion_already=v.status == "champion",
            needs_a_passed_evaluation=v.status == "candidate"
            or not v.evaluations
            or not v.evaluations[-1],
        )
        if not self.open(n):
            v.requests.append(Request(len(v.evaluations), self.champion, by))

    def decide(self, ref, by, reason, decision):
        refuse(needs_a_name_and_a_reason=not by.strip() or not reason.strip())
        r = self.open(n := self.meant(ref))
        refuse(
            nobody_has_asked=not r,
            another_decision_needs_another_request=not r,
            is_stale=not r and any(q.decision == "stale" for q in self.versions[n].requests[-1:]),
        )
        refuse(somebody_else_must_decide=self.four_eyes and by == r.by)
        r.decision = decision
        if decision == "rejected" and self.versions[n].status == "challenger":
            self.leave(n, "evaluated")

    def approve(self, ref, by, reason):
        self.decide(ref, by, reason, "approved")

    def reject(self, ref, by, reason):
        self.decide(ref, by, reason, "rejected")

    def crown(self, n):
        old = self.champion
        if old:
            self.leave(old, "retired")
        self.versions[n].status = "champion"
        self.champions.append(n)
        self.line.append(n)
        self.close_stale()
        return dict(version=n, alias="champion", previous_holder=old)

    def promote(self, ref, by="", alias="champion"):
        v = self.versions[n := self.meant(ref)]
        if alias != "champion":
            refuse(
                cannot_be_an_alias=alias in ("latest", "latest-1", "challenger", "v3", "", "Ä"),
                without_a_passed_evaluation=v.status == "candidate"
                or not v.evaluations
                or not v.evaluations[-1],
            )
            old, self.aliases[alias] = self.aliases.get(alias), n
            return dict(version=n, alias=alias, previous_holder=old)
        decided = [r for r in v.requests if r.decision in ("approved", "rejected")]
        refuse(
            is_champion_already=v.status == "champion",
            has_no_approval_to_use=not decided
            or decided[-1].decision == "rejected"
            or decided[-1].used,
        )
        refuse(is_stale=self.stale(n, decided[-1]))
        decided[-1].used = True
        return self.crown(n)

    def rollback(self, by, reason, to=None):
        refuse(needs_a_name_and_a_reason=not reason.strip())
        refuse(there_is_no_champion=not self.champion)
        if to is None:
            refuse(there_is_no_earlier_champion=len(self.line) < 2)
            return self.back(self.line[-2])
        n = self.meant(to)
        refuse(never_was_champion=n not in self.champions, is_champion_already=n == self.champion)
        return self.back(n)

    def back(self, n):
        self.line = self.line[: self.line.index(n)] if n in self.line else self.line
        return dict(version=n, previous_holder=self.crown(n)["previous_holder"])

    def challenge(self, ref, by):
        v = self.versions[n := self.meant(ref)]
        refuse(
            cannot_become_challenger=v.status != "evaluated",
            last_evaluation=bool(v.evaluations) and not v.evaluations[-1],
            is_on_trial_already=any(w.status == "challenger" for w in self.versions.values()),
        )
        v.status = "challenger"
        return dict(version=n)

    def end_trial(self, ref, by, reason):
        refuse(needs_a_name_and_a_reason=not reason.strip())
        v = self.versions[n := self.meant(ref)]
        refuse(not_on_trial=v.status != "challenger")
        return self.leave(n, "evaluated")

    def retire(self, ref, by, reason):
        refuse(needs_a_name_and_a_reason=not reason.strip())
        v = self.versions[n := self.meant(ref)]
        refuse(
            is_champion=v.status == "champion",
            cannot_become_retired=v.status == "retired",
        )
        return self.leave(n, "retired")

    def publish(self, kind):
        pass


NAMES = [
    "latest",
    "latest-1",
    "champion",
    "challenger",
    "production",
    "latest-2",
    "anomaly_detector:v1",
    "2",
    "v0",
    "latest-50",
    "nobody",
]
refs = st.runner().flatmap(
    lambda machine: st.sampled_from([f"v{n}" for n in machine.model.versions] * 5 + NAMES)
)


def some(having):
    """Those that are worth a try."""
    return refs | st.runner().flatmap(
        lambda machine: st.sampled_from(
            [f"v{n}" for n, v in machine.model.versions.items() if having(v)] or ["latest"]
        )
    )


asked = some(lambda v: any(not r.decision for r in v.requests))
approved = some(lambda v: any(r.decision == "approved" for r in v.requests))
former = some(lambda v: any(r.used for r in v.requests))
MEANWHILE = dict(
    nothing=lambda both, ref: None,
    evaluated=lambda both, ref: both("record_evaluation", ref, passed=True),
    rejected=lambda both, ref: (
        both("request_approval", ref, by="ada"),
        both("reject", ref, by="bob", reason="no"),
    ),
    retired=lambda both, ref: both("retire", ref, by="ada", reason="it leaks"),
    tried=lambda both, ref: (
        both("challenge", ref, by="ada"),
        both("end_trial", ref, by="ada", reason="it lost"),
    ),
    rolled_back=lambda both, ref: both("rollback", by="ada", reason="alarms"),
    other_promoted=lambda both, ref: both("promote", "latest"),
)
meanwhile = st.sampled_from(["nothing", *MEANWHILE])
people = st.sampled_from(["bob"] * 6 + ["ada"] * 3 + [" "])
reasons = st.sampled_from(["gates pass"] * 8 + [" "])


LIFE = [
    ("record_evaluation", dict(passed=True)),
    ("request_approval", dict(by="ada")),
    ("approve", dict(by="bob", reason="gates pass")),
    ("promote", {}),
    ("promote", dict(by="ada", alias="production")),
]


class Lifecycle(RuleBasedStateMachine):
    """Every verb is done twice, to the registry and to the model; both do it or both refuse."""

    def __init__(self, folder):
        super().__init__()
        self.file = folder / "registry.db"
        shutil.copy(folder / "start.db", self.file)

    @initialize(
        four_eyes=st.booleans(),
        lives=st.sampled_from([[4, 2, 3], [5, 4, 3, 1], [4, 4, 4, 3], [3, 3, 0], []]),
    )
    def begin(self, four_eyes, lives):
        self.now, self.log, self.seen = datetime(2026, 1, 5, tzinfo=UTC), [], []
        self.model, self.registry = (
            Model(four_eyes),
            Registry(f"sqlite:///{self.file}", four_eyes=four_eyes, clock=lambda: self.now),
        )
        self.news()
        for steps in lives:
            self.both("register", SHA, dict(data_source="training_dataset:v1"))
            for verb, kw in LIFE[:steps]:
                self.both(verb, "latest", **kw)

    def news(self):
        """What the log has gained."""
        new = self.registry.events(limit=10**6, after=self.log[-1]["id"] if self.log else 0)[::-1]
        self.log += new
        return new

    def foretold(self, verb, args, kw):
        """The sentence that `refusals` has for a verb before it is used, None where it has none."""
        name = "alias" if kw.get("alias") else VERB_OF.get(verb)
        if len(self.log) % 3:  # now and then is enough, each look asks for nine verbs
            return None
        ref = next(iter(args), kw.get("to") or "champion")
        try:
            status = self.registry.resolve(ref)["status"]
            if verb == "rollback" and kw.get("to") and status == "champion":
                return None  # of the champion, `refusals` is about leaving it
            return self.registry.refusals(ref)[name] if name in list(Verb) else None
        except RegistryError:  # there is no such version
            return None

    def both(self, verb, *args, **kw):
        """The model's answer, None when it refuses."""
        try:
            expected, words = getattr(self.model, verb)(*args, **kw), None
        except Refused as e:
            expected, words = None, e.args[0]
        more = dict(gates=[], metrics={}, dataset="d") if verb == "record_evaluation" else {}
        foretold = self.foretold(verb, args, kw)
        try:
            answer = getattr(self.registry, verb)(*args, **kw, **more)
        except RegistryError as e:
            assert words, f"refused: {e}; the model: {words or 'allowed'}"
            assert any(w in str(e) for w in words), f"refused: {e}; the model: {words or 'allowed'}"
            assert not self.news()
            if foretold is not None and not isinstance(e, InvalidInputError):
                assert foretold == str(e) or "FOUR_EYES is on" in str(e)
            return
        assert not foretold or verb == "request_approval" and "awaits a decision" in foretold
        assert not words, f"done, but {words}"
        assert self.news() or verb in ("resolve", "request_approval")
        if isinstance(expected, dict):
            assert {k: answer[k] for k in expected} == expected
        elif expected:
            assert answer == expected

    @precondition(lambda self: len(self.model.versions) < 6)
    @rule(
        sha=st.sampled_from([SHA] * 8 + ["abc"]),
        source=st.sampled_from(["training_dataset:v1"] * 8 + ["training_dataset:latest"]),
        passed=st.booleans(),
    )
    def newcomer(self, sha, source, passed):
        self.both("register", sha, dict(data_source=source))
        self.both("record_evaluation", "latest", passed=passed)

    @rule(
        ref=refs,
        verb=st.sampled_from(["approve", "approve", "approve", "reject"]),
        by=people,
        asked=meanwhile,
        decided=meanwhile,
    )
    def whole_way(self, ref, verb, by, asked, decided):
        self.both("request_approval", ref, by="ada")
        MEANWHILE[asked](self.both, ref)
        self.both(verb, ref, by=by, reason="I looked at it")
        MEANWHILE[decided](self.both, ref)
        self.both("promote", ref)

    @rule(ref=approved, passed=st.sampled_from([True, True, False]))
    def record_evaluation(self, ref, passed):
        self.both("record_evaluation", ref, passed=passed)

    @rule(ref=approved, by=st.sampled_from(["ada", "bob"]))
    def request_approval(self, ref, by):
        self.both("request_approval", ref, by=by)

    @rule(
        verb=st.sampled_from(["approve", "approve", "reject"]), ref=asked, by=people, reason=reasons
    )
    def decide(self, verb, ref, by, reason):
        self.both(verb, ref, by=by, reason=reason)

    @rule(ref=approved)
    def promote(self, ref):
        self.both("promote", ref)

    @rule(
        ref=refs,
        alias=st.sampled_from(
            ["production"] * 6 + ["staging", "latest", "challenger", "v3", "", "Ä"]
        ),
    )
    def promote_to_an_alias(self, ref, alias):
        self.both("promote", ref, by="ada", alias=alias)

    @rule(to=st.none() | former, reason=reasons)
    def rollback(self, to, reason):
        self.both("rollback", by="ada", reason=reason, to=to)

    @rule(ref=refs)
    def challenge(self, ref):
        self.both("challenge", ref, by="ada")

    @rule(ref=st.just("challenger") | refs, reason=reasons)
    def end_trial(self, ref, reason):
        self.both("end_trial", ref, by="ada", reason=reason)

    @rule(ref=refs)
    def retire(self, ref):
        self.both("retire", ref, by="ada", reason="worn out")

    @rule(hours=st.integers(1, 3))
    def time_passes(self, hours):
        self.seen.append((self.now, self.model.champion))
        self.now += timedelta(hours=hours)

    @invariant()
    def they_agree(self):
        want = {n: v.status for n, v in self.model.versions.items()}
        assert {v["version"]: v["status"] for v in self.registry.list_model_versions(1000)} == want
        assert (self.registry.champion() or {}).get("version") == self.model.champion
        waiting = [n for n in want if self.model.open(n)]
        assert sorted(a["version"] for a in self.registry.open_requests()) == waiting
        assert not any(a["stale"] for a in self.registry.open_requests(approved=True))
        assert [self.registry.champion_at(t) for t, _ in self.seen] == [
            champion for _, champion in self.seen
        ]
        log = [e for e in self.log if e["model"] == self.registry.model]
        assert replay(log) == want
        assert (
            {e["payload"]["alias"]: e["version"] for e in log if e["kind"] == "alias_moved"}
            == self.model.aliases
            == {a: self.registry.resolve(a)["version"] for a in self.model.aliases}
        )

    def teardown(self):
        log = self.registry.events(limit=10**6)[::-1]
        self.registry.engine.dispose()
        assert log == self.log  # what was written has not changed


def test_the_registry_agrees_with_a_small_model(tmp_path):
    r = ready(
        f"sqlite:///{tmp_path}/start.db",
        model="twin",
        clock=lambda: datetime(2026, 1, 1, tzinfo=UTC),
    )  # another model in the same database is no business of ours
    r.promote("v1", by="a", alias="production")
    r.engine.dispose()
    run_state_machine_as_test(
        lambda: Lifecycle(tmp_path),
        settings=settings(
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            max_examples=90,
            stateful_step_count=25,
            deadline=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
