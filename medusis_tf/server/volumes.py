"""The addresses for volumes: `POST /synthesize`, and the jobs behind it."""

from __future__ import annotations

import asyncio
import math
import re
import time
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse

from medusis_tf.config.problems import suggestion
from medusis_tf.server.bodies import SCOPE_KEY, Body
from medusis_tf.server.job import Job
from medusis_tf.server.jobs import Jobs
from medusis_tf.server.painting import PaintingRequest, nifti_bytes
from medusis_tf.server.phantom_label_map import phantom_label_map
from medusis_tf.server.settings import Refusal
from medusis_tf.server.uploads import Upload


def _refuse_unknown_parameters(request: Request) -> None:
    """Refuse a misspelt parameter, which would otherwise do nothing.

    Raises:
        Refusal: The address has a parameter that this address does not know.
    """
    known = [each.alias for each in request.scope["route"].dependant.query_params]
    for name in request.query_params:
        if name not in known:
            raise Refusal(400, f"unknown parameter {name[:50]!r}{suggestion(name[:50], known)}")


router = APIRouter(tags=["Volumes"], dependencies=[Depends(_refuse_unknown_parameters)])

_NIFTI = "application/gzip"
_POLL_SECONDS = 0.05
_CLIENT = re.compile("[A-Za-z0-9_-]{1,64}")
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.post("/synthesize", summary="Synthesize volumes for a label map", openapi_extra=_BODY)
async def synthesize(
    request: Request,
    model: str | None = None,
    seed: int = 0,
    truncation: float = math.inf,
    samples: int = 1,
    other_seed: int | None = None,
    blend: Annotated[float | None, Query(description="Between seed, 0, and other_seed, 1.")] = None,
    label_source: str | None = None,
    unlisted: str | None = None,
    assume_axes: Annotated[str | None, Query(description="If the file has no orientation.")] = None,
    not_finite: Annotated[str | None, Query(description="error or replace")] = None,
    file_name: Annotated[str | None, Query(description="Only its suffix counts.")] = None,
) -> Response:
    """Label map in, NIfTI out.

    The body is a NIfTI, NRRD, MetaImage, MGH or DICOM file, or a ZIP archive of a DICOM series.
    With `Prefer: respond-async` the answer is the address of a job, with `Accept:
    text/event-stream` the events of the job; otherwise the volume, after some time.
    """
    state = request.app.state
    jobs: Jobs = state.jobs
    body = await request.body()
    if not body:
        raise Refusal(400, "send the label map, such as a NIfTI file, as the body of the request.")
    wanted = PaintingRequest(
        seed,
        truncation,
        samples,
        other_seed,
        blend,
        label_source,
        unlisted,
        assume_axes,
        not_finite,
    )
    is_async = "respond-async" in request.headers.get("prefer", "")
    streams = "text/event-stream" in request.headers.get("accept", "")
    if samples > 1 and not (is_async or streams):
        raise Refusal(400, "several samples need the header Prefer: respond-async.")
    counted: Body = request.scope[SCOPE_KEY]
    upload = Upload(body, file_name)
    job = jobs.start(state.models.find(model), wanted, upload, counted, _client(request))
    if streams:
        return _stream(job, state.stopping)
    if is_async:
        address = f"/jobs/{job.id}"
        return JSONResponse(job.snapshot(), 202, headers={"location": address})
    return await _volume(request, job)


@router.get("/jobs/{job}", summary="State of a job")
async def job_state(request: Request, job: str) -> dict[str, Any]:
    """State, progress, and addresses of finished volumes."""
    return request.app.state.jobs.find(job).snapshot()


@router.get("/jobs/{job}/events", summary="Progress of a job")
async def job_events(request: Request, job: str) -> StreamingResponse:
    """Server-sent events: `progress`, and at last `done`, `failed` or `cancelled`."""
    state = request.app.state
    return _stream(state.jobs.find(job), state.stopping)


@router.delete("/jobs/{job}", summary="Cancel a job", status_code=204)
async def cancel(request: Request, job: str) -> Response:
    """Cancel a job, and delete its files if it is over."""
    jobs: Jobs = request.app.state.jobs
    jobs.remove(jobs.find(job))
    return Response(status_code=204)


@router.get("/jobs/{job}/label_map.nii.gz", summary="Label map in the classes of the model")
async def label_map(request: Request, job: str) -> FileResponse:
    """The label map in the classes of the model, on its own grid."""
    found: Job = request.app.state.jobs.find(job)
    if not found.label_map_ready:
        raise Refusal(404, "the label map is not read yet.")
    return _file(found.painting.label_map_path, _NIFTI)


@router.get("/jobs/{job}/volumes/{number}.nii.gz", summary="MR volume of a sample")
async def volume(request: Request, job: str, number: int) -> FileResponse:
    """The MR volume of a sample, counted from 1."""
    found = _finished(request, job, number)
    return _file(found.painting.volume_path(number - 1), _NIFTI)


@router.get("/jobs/{job}/records/{number}.json", summary="Origin of a sample")
async def record(request: Request, job: str, number: int) -> FileResponse:
    """The record of a sample: that it is synthetic, its model, seed and label map."""
    found = _finished(request, job, number)
    return _file(found.painting.record_path(number - 1), "application/json")


@router.get("/phantom.nii.gz", summary="A label map without a patient")
async def phantom(request: Request, model: str | None = None, seed: int = 0) -> Response:
    """A label map of the phantom in the classes of a model."""
    if not 0 <= seed < 2**31:
        raise Refusal(400, "seed must be from 0 to 2**31 - 1.")
    served = request.app.state.models.find(model)
    content = await asyncio.to_thread(
        lambda: nifti_bytes(*phantom_label_map(served.metadata, seed))
    )
    return Response(content, media_type=_NIFTI)


async def _volume(request: Request, job: Job) -> Response:
    jobs: Jobs = request.app.state.jobs
    try:
        with jobs.waiting(job):
            await _finished_job(request, job)
        if job.error is not None:
            raise job.error
        if job.state == "cancelled":
            raise Refusal(503, "the server is stopping.")
        content = job.painting.volume_path(0).read_bytes()
        headers = {"link": f'</jobs/{job.id}/records/1.json>; rel="describedby"'}
        return Response(content, media_type=_NIFTI, headers=headers)
    except BaseException:
        jobs.remove(job)
        raise


async def _finished_job(request: Request, job: Job) -> None:
    state, latest = request.app.state, math.inf
    while not job.is_over:
        if await request.is_disconnected():
            raise Refusal(499, "the client has gone.")
        if state.stopping.is_set():
            # A little before the server would cut the connection.
            latest = min(latest, time.monotonic() + 0.9 * state.limits.stop_seconds)
            if time.monotonic() > latest:
                raise Refusal(503, "the server is stopping.")
        await asyncio.sleep(_POLL_SECONDS)


def _client(request: Request) -> str:
    """Who asks: the page names itself, because many people may share one address."""
    named = request.headers.get("x-client", "")
    address = request.client.host if request.client else ""
    return f"{address} {named}" if _CLIENT.fullmatch(named) else address


def _finished(request: Request, id_: str, number: int) -> Job:
    job: Job = request.app.state.jobs.find(id_)
    if not 1 <= number <= job.finished:
        raise Refusal(404, f"there is no sample {number}; {job.finished} are finished.")
    return job


def _file(path: Path, media_type: str) -> FileResponse:
    if not path.is_file():
        raise Refusal(404, "this file is not kept any more.")
    return FileResponse(path, media_type=media_type, filename=path.name)


def _stream(job: Job, stopping: asyncio.Event) -> StreamingResponse:
    return StreamingResponse(job.events(stopping), media_type="text/event-stream")
