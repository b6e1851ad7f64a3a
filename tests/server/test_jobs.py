"""The queue, what is kept, and what is deleted."""

import asyncio
import threading
from pathlib import Path

import numpy as np
import pytest

from medusis_tf.server.bodies import Bodies, Body
from medusis_tf.server.inference import Inference
from medusis_tf.server.jobs import Jobs
from medusis_tf.server.monitoring import Monitoring
from medusis_tf.server.painting import Painting, PaintingRequest
from medusis_tf.server.settings import Refusal, ServerLimits
from medusis_tf.server.uploads import Upload


class Model:
    """A model that checks nothing."""

    name = "model"


class Gate:
    """Replaces the work of paintings: it waits to be opened, then writes 100 bytes."""

    def __init__(self):
        self.entered, self.opened = threading.Event(), threading.Event()


@pytest.fixture
def gate(monkeypatch):
    made = Gate()

    def paint(painting, label_map, sample, report):
        made.entered.set()
        made.opened.wait(10)
        painting.folder.mkdir(parents=True, exist_ok=True)
        painting.volume_path(sample).write_bytes(bytes(100))
        report(1, 1)

    monkeypatch.setattr(PaintingRequest, "check", lambda *_: None)
    monkeypatch.setattr(Painting, "read", lambda *_: np.zeros(1))
    monkeypatch.setattr(Painting, "paint", paint)
    return made


class Server:
    """Jobs without HTTP."""

    def __init__(self, **limits):
        self.limits = ServerLimits(**limits)
        self.bodies = Bodies(self.limits)
        self.inference = Inference(self.limits, Monitoring())
        self.jobs = Jobs(self.inference, self.limits, Monitoring())

    def start(self, client="", size=10):
        """A request that ends as soon as its job is in the queue."""
        body = Body(self.bodies)
        try:
            body.add(size)
            upload = Upload(bytes(size))
            return self.jobs.start(Model(), PaintingRequest(), upload, body, client)
        finally:
            body.release()

    @property
    def root(self):
        return Path(self.jobs._folder.name)


async def over(job):
    while not job.is_over:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)  # until the event loop knows it


async def running(gate):
    while not gate.entered.is_set():
        await asyncio.sleep(0.01)


def test_bodies_of_queued_jobs_are_counted_until_they_are_read_or_cancelled(gate):
    async def scenario():
        server = Server(all_bytes=25)
        first = server.start()
        await running(gate)
        assert server.bodies.total == 0  # it is a file
        second, third = server.start(), server.start()
        assert server.bodies.total == 20
        with pytest.raises(Refusal, match="busy with large requests"):
            server.start()
        assert server.bodies.total == 20
        server.jobs.remove(third)
        assert server.bodies.total == 10
        gate.opened.set()
        await over(second)
        assert (first.state, second.state, server.bodies.total) == ("done", "done", 0)
        server.inference.stop()
        server.jobs.close()

    asyncio.run(scenario())


def test_cancelled_jobs_leave_the_queue(gate):
    async def scenario():
        server = Server(queue=2)
        server.start()
        await running(gate)
        waiting = server.start()
        with pytest.raises(Refusal, match="2 requests wait already"):
            server.start()
        assert server.bodies.total == 10
        server.jobs.remove(waiting)
        await asyncio.sleep(0)
        last = server.start()
        gate.opened.set()
        await over(last)
        assert (waiting.state, last.state) == ("cancelled", "done")
        assert not waiting.painting.folder.exists()
        server.inference.stop()
        server.jobs.close()

    asyncio.run(scenario())


def test_a_running_job_that_is_removed_leaves_nothing_even_when_it_was_nearly_done(gate):
    async def scenario():
        server = Server()
        job = server.start()
        await running(gate)
        server.jobs.remove(job)
        with pytest.raises(Refusal, match="no such job"):
            server.jobs.find(job.id)
        gate.opened.set()
        await over(job)
        assert job.state == "cancelled"
        assert list(server.root.iterdir()) == []
        server.inference.stop()
        server.jobs.close()

    asyncio.run(scenario())


def test_jobs_of_one_client_do_not_evict_those_of_another(gate):
    gate.opened.set()

    async def scenario():
        server = Server(kept_jobs=2)
        patient = server.start("a")
        await over(patient)
        slider = [server.start("b") for _ in range(5)]
        await over(slider[-1])
        assert server.jobs.find(patient.id) is patient
        kept = [job for job in slider if job.painting.folder.exists()]
        assert kept == slider[-2:]
        server.inference.stop()
        server.jobs.close()

    asyncio.run(scenario())


def test_bytes_are_bounded_and_the_newest_of_each_client_goes_last(gate):
    gate.opened.set()

    async def scenario():
        server = Server(kept_bytes=350)
        jobs = []
        for client in ("a", "a", "b", "b", "b"):
            jobs.append(server.start(client))
            await over(jobs[-1])
        assert [job.painting.folder.exists() for job in jobs] == [False, True, False, True, True]
        jobs += [server.start("c"), server.start("d")]
        await over(jobs[-1])
        assert sum(job.painting.folder.exists() for job in jobs) == 3
        assert jobs[-1].painting.folder.exists()
        with server.jobs.waiting(jobs[-1]):  # a request that reads it
            for client in "efgh":
                last = server.start(client)
                await over(last)
        assert jobs[-1].painting.folder.exists()
        server.inference.stop()
        server.jobs.close()

    asyncio.run(scenario())


def test_nothing_is_left_when_the_server_stops_during_a_job(gate):
    async def scenario():
        server = Server()
        job = server.start()
        queued = server.start()
        await running(gate)
        server.jobs.stop()
        server.inference.stop()
        assert not await asyncio.to_thread(server.inference.wait, 0.1)
        server.jobs.close()
        assert not server.root.exists()
        gate.opened.set()  # it creates its folder again
        assert await asyncio.to_thread(server.inference.wait, 10)
        assert (job.state, queued.state) == ("cancelled", "cancelled")
        assert not server.root.exists()

    asyncio.run(scenario())


def test_a_lost_folder_is_an_error_of_the_job(gate, caplog):
    async def scenario():
        server = Server()
        server.root.rmdir()
        server.root.touch()
        job = server.start()
        await over(job)
        assert (job.state, job.error.status) == ("failed", 500)
        server.root.unlink()
        server.inference.stop()
        server.jobs.close()

    asyncio.run(scenario())


def test_predictions_of_clients_that_have_gone_leave_the_queue():
    opened = threading.Event()

    async def stays():
        return False

    async def has_gone():
        return True

    async def scenario():
        inference = Inference(ServerLimits(queue=2), Monitoring())
        first = asyncio.create_task(inference.run(lambda: opened.wait(10), stays))
        await asyncio.sleep(0.01)
        with pytest.raises(Refusal, match="the client has gone"):
            await inference.run(lambda: 1 / 0, has_gone)
        await asyncio.sleep(0)
        last = asyncio.create_task(inference.run(lambda: "image", stays))
        await asyncio.sleep(0.01)
        opened.set()
        assert (await first, await last) == (True, "image")
        inference.stop()

    asyncio.run(scenario())
