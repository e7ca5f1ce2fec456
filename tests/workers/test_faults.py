"""Workers that are killed, crash, hang, leak or want too much memory cost their item alone."""

import importlib
import math
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType

import psutil
import pytest

from archimed.workers import Crew, Lost, spread
from archimed.workers.crew import FIRST_SECONDS, LEAST_SECONDS, TimeLimit
from archimed.workers.limits import TimeUpError, time_limit

linux = pytest.mark.skipif(sys.platform != "linux", reason="memory of a process is limited on Linux alone")


@pytest.fixture(scope="module")
def odd() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))  # spawned processes inherit it
        yield importlib.import_module("odd_work")


def reasons(answers: list[object]) -> list[str]:
    return [answer.reason if isinstance(answer, Lost) else str(answer) for answer in answers]


@pytest.mark.slow
@linux
def test_killed_crashed_and_exhausting_items_are_lost_alone(odd: ModuleType, tmp_path: Path) -> None:
    words = ["a", "killed once", "b", "segfault", "c", "exhaust", "d"]
    make = partial(odd.OddWork, str(tmp_path))
    with spread(make, Crew(2, gib=1.0), 1, spent=odd.is_spent) as answers:
        found = reasons(list(answers(words)))
    assert [*found[:3], found[4], found[6]] == ["a", "killed once", "b", "c", "d"]
    assert found[3].startswith("its worker died 2 times (ended by SIGSEGV)")
    assert found[5] == "out of memory"


@pytest.mark.slow
@linux
def test_what_leaks_is_done_by_fresh_workers(odd: ModuleType, tmp_path: Path) -> None:
    make = partial(odd.OddWork, str(tmp_path))
    with spread(make, Crew(2, gib=0.1), 1, spent=odd.is_spent) as answers:
        found = [str(answer) for answer in answers(["leak"] * 9)]  # four fit into 0.1 GiB, with the interpreter's own
    assert all(answer.startswith("process ") for answer in found)
    assert len(set(found)) > 2


@pytest.mark.slow
def test_an_item_that_hangs_is_ended(odd: ModuleType, tmp_path: Path) -> None:
    make = partial(odd.OddWork, str(tmp_path))
    for crew in (Crew(1, seconds=1.0), Crew(2, seconds=1.0)):
        with spread(make, crew, 1) as answers:
            first, hanging, last = answers(["a", "hang", "b"])
        assert (first, last) == ("a", "b")
        assert isinstance(hanging, Lost)
        assert hanging.reason == "it was ended after 1 s: --set machine.candidate_seconds=SECONDS gives more time"
        assert 1.0 <= hanging.seconds < 60.0


@linux
def test_alone_an_item_that_wants_too_much_fails_and_the_next_is_answered(odd: ModuleType, tmp_path: Path) -> None:
    with spread(partial(odd.OddWork, str(tmp_path)), Crew(1, gib=0.2), 1) as answers:
        assert list(answers(["a", "exhaust", "b"])) == ["a", "out of memory", "b"]


def test_the_limit_adapts_to_what_was_done() -> None:
    limit = TimeLimit(None)
    assert limit.seconds == FIRST_SECONDS
    for seconds in (1.0, 2.0, 50.0):
        limit.add(seconds)
    assert limit.seconds == LEAST_SECONDS
    for _ in range(10):
        limit.add(10.0)
    assert limit.seconds == 200.0
    fixed = TimeLimit(5.0)
    fixed.add(100.0)
    assert fixed.seconds == 5.0
    assert TimeLimit(math.inf).seconds == math.inf


def test_a_time_limit_leaves_the_timers_of_others_alone() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: heard.append(number))
    earlier = signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(TimeUpError), time_limit(0.05):
            time.sleep(10)
        assert not heard
        with time_limit(math.inf):
            pass
        time.sleep(0.5)
        assert heard == [signal.SIGALRM]
    finally:
        signal.setitimer(signal.ITIMER_REAL, *earlier)
        signal.signal(signal.SIGALRM, before)


LEADER = """
import sys
sys.path.insert(0, sys.argv[1])
from functools import partial
from odd_work import OddWork
from archimed.workers import Crew, spread
if __name__ == "__main__":
    with spread(partial(OddWork, sys.argv[2]), Crew(2), 1) as answers:
        found = answers(["a", "b", "hang", "hang", "c"])
        print(next(found), next(found), flush=True)
        next(found)
"""


@pytest.mark.slow
def test_workers_die_with_the_process_that_leads_even_while_they_hang(tmp_path: Path) -> None:
    script = tmp_path / "leader.py"
    script.write_text(LEADER)
    words = [sys.executable, str(script), str(Path(__file__).parent), str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as leader:
        assert leader.stdout is not None
        assert leader.stdout.readline() == "a b\n"
        children = psutil.Process(leader.pid).children(recursive=True)
        leader.kill()
    assert len(children) >= 2
    _, alive = psutil.wait_procs(children, timeout=60)
    for process in alive:
        process.kill()
    assert not alive
