"""Networks run in a child that was forked after its parent had run them."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from micromotion import align
from micromotion.runtime.forking import hold_for_forks

pytestmark = pytest.mark.slow

CODE = """
import os, sys, torch
from micromotion import Animator, robust_pca

photo, model = sys.argv[1:]
torch.set_num_threads(2)
matrices = torch.randn(4, 40, 512, generator=torch.Generator().manual_seed(1))
big = torch.ones(1 << 20)

def work(animator):
    frames = list(animator.animate(photo, "smile", frames=2, refine=2))
    return [frame.tobytes() for frame in frames], robust_pca(matrices)[0], big.exp().sum().item()

robust_pca(matrices)
animator = Animator.load(model, "cpu")
frames, low_rank, total = work(animator)

def is_same_in_a_child(deeper):
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    good = torch.get_num_threads() == 1
    for threads in (1, 2):
        torch.set_num_threads(threads)
        theirs = work(animator)
        good &= theirs[0] == frames and torch.allclose(theirs[1], low_rank) and theirs[2] > 0
    if deeper:
        good &= is_same_in_a_child(False)
    os._exit(not good)

print(is_same_in_a_child(True), is_same_in_a_child(False), work(animator)[0] == frames)
"""


def test_children_grandchildren_and_the_parent_render(random_bundle: Path, astronaut_file: Path) -> None:
    command = [sys.executable, "-c", CODE, str(astronaut_file), str(random_bundle)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (done.stdout, done.stderr) == ("True True True\n", "")


def test_a_fork_waits_for_a_lock_that_another_thread_holds() -> None:
    lock = threading.Lock()
    hold_for_forks(lock)
    hold_for_forks(lock)  # once is enough: a second would wait for the first
    held = threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            threading.Event().wait(0.2)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:
        os._exit(0 if lock.acquire(timeout=1) else 1)
    assert os.waitpid(child, 0)[1] == 0
    thread.join()
    assert not lock.locked()


def test_the_detectors_lock_is_one_of_them(astronaut_file: Path) -> None:
    align(astronaut_file)
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        os._exit(0 if align(astronaut_file).score else 1)
    assert os.waitpid(child, 0)[1] == 0
