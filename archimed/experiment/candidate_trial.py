"""How candidates are measured where one worker is wanted: by all threads one at a time, or side by side."""

from dataclasses import replace

from archimed.experiment.search_stage import search_problem
from archimed.experiment.workbench import Workbench
from archimed.methods.protocol import spreads_its_search
from archimed.training.machine import Candidates

WORTH_A_TRIAL = 60.0  # seconds of a search
FEW_CANDIDATES = 100  # which seldom take so long; not even one is measured
START_SECONDS = 5.0  # of processes, which load PyTorch
LEAST_GAIN = 1.05  # of the foretold time, below which one process is simpler


def settle_candidates(bench: Workbench) -> Candidates:
    """As recorded or asked for, else the faster form by a short trial, which is said; short searches take threads.

    Two threads seldom halve the time of a small network, two processes do, but for the time that they take to start.
    """
    experiment, machine = bench.experiment, bench.machine
    if experiment.machine.candidates is not None:
        return experiment.machine.candidates
    searches = spreads_its_search(experiment.method) and not experiment.architecture
    may_choose = experiment.crew.alone and machine.device == "cpu" and machine.threads > 1
    if bench.run.experiment.exists() or not (searches and may_choose):
        return "threads"
    if experiment.method.search.planned_candidates < FEW_CANDIDATES:
        return "threads"
    problem = search_problem(bench, experiment.method, bench.searches()[0])

    def foretold(form: Candidates) -> float:
        return experiment.method.search_seconds(replace(problem, machine=replace(machine, candidates=form)))

    together = foretold("threads")
    if together < WORTH_A_TRIAL:
        return "threads"
    apart = foretold("processes") + START_SECONDS
    together = min(together, foretold("threads"))  # once more, as warm as the other was
    chosen: Candidates = "processes" if together > LEAST_GAIN * apart else "threads"
    words = {
        "threads": f"one at a time by {machine.threads} threads",
        "processes": f"{machine.threads} at a time by processes of one thread",
    }
    other = "processes" if chosen == "threads" else "threads"
    seconds = {"threads": together, "processes": apart}
    bench.observer.say(
        f"candidates are measured {words[chosen]}: {seconds[chosen]:.0f} s foretold for a search, "
        f"{seconds[other]:.0f} s {words[other]}"
    )
    return chosen
