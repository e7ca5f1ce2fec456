"""Blocks that compute: their threads, denormal numbers and memory, each as its own process or system tells it."""

import platform
import subprocess
import sys

import pytest
import torch

from archimed.processor import computing

GLIBC = sys.platform == "linux" and platform.libc_ver()[0] == "glibc"

FRESH_PAGES = """
import resource, torch
from archimed.processor import computing

def fresh_pages(mib, rounds=5):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        torch.ones(mib * 2**18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident_mib():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20

torch.set_num_threads(1)
print(fresh_pages(64))
with computing(1):
    fresh_pages(64, rounds=20)  # until blocks have found their places
    print(fresh_pages(64))
    print(fresh_pages(16))
    within = resident_mib()
print(within - resident_mib())
"""


def is_denormal_kept() -> bool:
    """Whether half of the smallest normal number is a number."""
    return bool(torch.tensor(2.0**-126) * 0.5 > 0)


def test_threads_are_the_blocks_own_and_come_back() -> None:
    before = torch.get_num_threads()
    with computing(before + 1):
        assert torch.get_num_threads() == before + 1
        with computing(before):
            assert torch.get_num_threads() == before
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="this processor cannot flush denormal numbers")
def test_denormal_numbers_are_zero_until_the_outermost_block_ends() -> None:
    assert is_denormal_kept()
    with computing(1):
        with computing(1):
            assert not is_denormal_kept()
        assert not is_denormal_kept(), "the inner block undid what the outer one needs"
    assert is_denormal_kept()


def test_what_a_block_changed_is_undone_after_an_error() -> None:
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), computing(before + 1):
        raise ZeroDivisionError
    assert torch.get_num_threads() == before
    assert is_denormal_kept()


@pytest.mark.skipif(not GLIBC, reason="only glibc is told to keep memory")
def test_freed_memory_is_used_again_within_and_given_back_after() -> None:
    script = [sys.executable, "-c", FRESH_PAGES]
    told = subprocess.run(script, capture_output=True, text=True, check=True).stdout.split()
    outside, large, small, returned = map(float, told)
    pages_of_64_mib = 64 * 2**20 / 4096
    assert outside > 4 * pages_of_64_mib  # every round cleared its pages anew: what the block avoids
    assert large < 0.01 * outside
    assert small < 0.01 * outside
    assert returned > 60  # MiB
