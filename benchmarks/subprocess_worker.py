"""The process of a peer as seen from the command, and peers taking turns."""

import json
import os
import subprocess
from collections.abc import Callable, Iterable

from benchmarks.baselines import PEERS, PROJECT, Peer, PeerFailed, python_of, reason_in

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OMP_THREAD_LIMIT", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)


class Worker:
    """A running `benchmarks.worker`, on the last core there is."""

    def __init__(self, peer: Peer) -> None:
        core = max(os.sched_getaffinity(0))
        command = [python_of(peer.environment), "-m", "benchmarks.worker"]
        self.log = PEERS / f"{peer.module}.{peer.key}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, peer.module, peer.variant, str(core)],
                cwd=PROJECT,
                env=os.environ | ONE_THREAD,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def ask(self, command: str, **arguments):
        """Have one command done.

        Raises:
            PeerFailed: the process ended instead.
        """
        try:
            self.process.stdin.write(json.dumps({"command": command} | arguments) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # there is no answer to read either
        answer = self.process.stdout.readline()
        if not answer:
            self.process.wait()
            told = self.log.read_text(encoding="utf-8", errors="replace")
            raise PeerFailed(f"failed: {reason_in(told)}")
        return json.loads(answer)

    def close(self) -> None:
        """Let the process end."""
        self.process.communicate()


def in_turn(
    members: Iterable[Peer], failures: dict[str, str], measure: Callable[[Peer], None]
) -> None:
    """Measure every peer that has not failed yet; note those that fail now, and why."""
    for peer in members:
        if peer.key in failures:
            continue
        try:
            measure(peer)
        except PeerFailed as failure:
            failures[peer.key] = str(failure)
            print(f"{peer.title}: {failure}", flush=True)
