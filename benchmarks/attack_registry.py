"""Two people decide at the same moment: how often is there one winner, and is the other told?

    python benchmarks/attack_registry.py [COUNT] [URL]

Each pair of verbs is tried COUNT times (default 100) on a registry of its own, an SQLite file
or the database of URL. Both processes say what they saw. A line for each pair says what came out.
"""

import hashlib
import multiprocessing as mp
import sys
import tempfile
import time
from typing import Any, NamedTuple

from crypto_anomaly.registry.errors import RegistryError
from crypto_anomaly.registry.registry import Registry
from crypto_anomaly.registry.verify import verify

EVIDENCE = dict(passed=True, gates=[], metrics={}, dataset="eval_holdout:v1")
PATIENCE = 60  # seconds for one answer


class Deed(NamedTuple):
    """A verb with what the person saw."""

    verb: str
    args: tuple[Any, ...]
    options: dict[str, Any]


class Scene(NamedTuple):
    """What both see before they decide."""

    champion: str
    candidate: str  # approved against the champion
    other: str  # the same
    asked: str  # waits for a decision
    request: int  # id of its request
    tried: str  # on trial
    free: str  # evaluated, nothing asked


def evaluated(r: Registry) -> str:
    """A new version that passed."""
    sha = hashlib.sha256(str(time.perf_counter_ns()).encode()).hexdigest()
    version = r.register(sha, dict(data_source="training_dataset:v1"))
    r.record_evaluation(version, **EVIDENCE)
    return f"v{version}"


def approved(r: Registry) -> str:
    """A new version that was approved against the champion of now."""
    version = evaluated(r)
    r.request_approval(version, by="ada")
    r.approve(version, by="bob", reason="gates pass")
    return version


def set_scene(r: Registry) -> Scene:
    """Two champions to go back to, two approved versions, one asked for, one on trial, one free."""
    for trial in [v for v in r.list_model_versions(1000) if v["status"] == "challenger"]:
        r.end_trial(trial["version"], by="ada", reason="the next duel")
    for _ in range(2):
        r.promote(approved(r), by="ada")
    candidate, other = approved(r), approved(r)
    asked, tried, free = evaluated(r), evaluated(r), evaluated(r)
    request = r.request_approval(asked, by="ada")
    r.challenge(tried, by="ada")
    r.promote(candidate, by="ada", alias="production")
    champion = r.champion()
    assert champion is not None
    return Scene(f"v{champion['version']}", candidate, other, asked, request, tried, free)


def deeds(s: Scene) -> dict[str, Deed]:
    """Every verb, with what the person saw."""
    champion = dict(expect_champion=s.champion)
    holder = dict(alias="production", by="eve", expect_champion=s.candidate)
    fresh = dict(by="eve", expect_status="evaluated")
    why = dict(reason="attack", by="eve")
    return dict(
        promote=Deed("promote", (s.candidate,), dict(by="eve") | champion),
        promote_other=Deed("promote", (s.other,), dict(by="mal") | champion),
        rollback=Deed("rollback", (), why | dict(from_version=s.champion)),
        approve=Deed("approve", (s.asked,), why | dict(request=s.request)),
        reject=Deed("reject", (s.asked,), why | dict(request=s.request)),
        retire=Deed("retire", (s.asked,), why | dict(expect_status="evaluated")),
        retire_candidate=Deed("retire", (s.candidate,), why | dict(expect_status="evaluated")),
        retire_tried=Deed("retire", (s.tried,), why | dict(expect_status="challenger")),
        end_trial=Deed("end_trial", (s.tried,), why),
        challenge=Deed("challenge", (s.asked,), fresh),
        challenge_other=Deed("challenge", (s.free,), fresh),
        alias=Deed("promote", (s.free,), holder),
        alias_other=Deed("promote", (s.other,), holder),
    )


RIVALS = (  # pairs of which only one can be right
    ("rollback", "rollback"),
    ("promote", "rollback"),
    ("promote", "promote"),
    ("promote", "promote_other"),
    ("promote", "retire_candidate"),
    ("approve", "approve"),
    ("approve", "reject"),
    ("reject", "reject"),
    ("retire", "retire"),
    ("retire_tried", "end_trial"),
    ("end_trial", "end_trial"),
    ("challenge", "challenge"),
    ("challenge", "challenge_other"),
    ("alias", "alias"),
    ("alias", "alias_other"),
)
FRIENDS = (  # pairs of which both are right, in any order
    ("promote", "alias_other"),
    ("rollback", "end_trial"),
    ("retire", "alias"),
)
ONE_AT_LEAST = (
    ("promote", "approve"),
    ("approve", "retire"),
    ("reject", "retire"),
    ("approve", "rollback"),
    ("rollback", "reject"),  # a rollback first closes the request
    ("challenge", "end_trial"),
)


def person(url: str, jobs: Any, answers: Any, bar: Any) -> None:
    """Do what is told at the same moment as the other person."""
    r = Registry(url)
    while (deed := jobs.get()) is not None:
        bar.wait(PATIENCE)
        try:
            getattr(r, deed.verb)(*deed.args, **deed.options)
            answers.put((deed.verb, None))
        except RegistryError as e:
            answers.put((deed.verb, str(e)))
        except Exception as e:  # anything else is what this script is after
            answers.put((deed.verb, f"UNCLEAR {type(e).__name__}: {e}"))


class Duel:
    """Two processes and a registry."""

    def __init__(self, url: str) -> None:
        context = mp.get_context("spawn")
        self.bar = bar = context.Barrier(2)  # kept: a child opens it by its name
        self.registry, self.answers = Registry(url), context.Queue()
        self.jobs = [context.Queue(), context.Queue()]
        self.people = [
            context.Process(target=person, args=(url, q, self.answers, bar), daemon=True)
            for q in self.jobs
        ]
        for one in self.people:
            one.start()

    def fight(self, a: str, b: str) -> list[str | None]:
        """What both are told; None = it was done."""
        scene = set_scene(self.registry)
        if a.startswith("challenge") and b.startswith("challenge"):
            self.registry.end_trial(scene.tried, by="ada", reason="room for another")
        chosen = deeds(scene)
        for queue, name in zip(self.jobs, (a, b), strict=True):
            queue.put(chosen[name])
        return [self.answers.get(timeout=PATIENCE)[1] for _ in range(2)]

    def end(self) -> None:
        """Let both go home."""
        for queue in self.jobs:
            queue.put(None)
        for one in self.people:
            one.join(10)


def is_right(told: list[str | None], least: int, most: int) -> bool:
    """As many winners as there may be, and a clear word for who has lost."""
    won = sum(text is None for text in told)
    clear = not any(text and text.startswith("UNCLEAR") for text in told)
    return least <= won <= most and clear


def attack(url: str, count: int) -> list[str]:  # what went wrong
    """Every pair `count` times."""
    duel, wrong = Duel(url), []
    bounds = [(RIVALS, 1, 1), (FRIENDS, 2, 2), (ONE_AT_LEAST, 1, 2)]
    try:
        duel.registry.promote(approved(duel.registry), by="ada")
        for pairs, least, most in bounds:
            for a, b in pairs:
                told = [duel.fight(a, b) for _ in range(count)]
                bad = [answers for answers in told if not is_right(answers, least, most)]
                said = next((t for answers in told for t in answers if t), "")
                print(f"{a:>16} beside {b:<16} {count - len(bad)} of {count} right; {said[:90]}")
                wrong += [f"{a} beside {b}: {answers}" for answers in bad]
    finally:
        duel.end()
    return wrong + verify(duel.registry).problems


def main() -> None:
    """Attack, and say how it went."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    url = sys.argv[2] if len(sys.argv) > 2 else f"sqlite:///{tempfile.mkdtemp()}/registry.db"
    wrong = attack(url, count)
    for text in wrong[:20]:
        print("WRONG", text)
    pairs = len(RIVALS) + len(FRIENDS) + len(ONE_AT_LEAST)
    print(f"{pairs} pairs, {pairs * count} duels, {len(wrong)} wrong; the log is whole")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
