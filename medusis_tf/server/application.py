"""The application: all addresses of the server behind its guard."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from medusis_tf.server import prediction, volumes
from medusis_tf.server.guard import Guard
from medusis_tf.server.inference import Inference
from medusis_tf.server.jobs import Jobs
from medusis_tf.server.monitoring import CONTENT_TYPE, Monitoring
from medusis_tf.server.served_models import ServedModels
from medusis_tf.server.settings import Refusal, ServerLimits

logger = logging.getLogger(__name__)

PAGE = Path(__file__).parent / "page"

router = APIRouter()


def create_application(
    models: ServedModels, limits: ServerLimits, token: str | None = None
) -> FastAPI:
    """Create the ASGI application of a server.

    Args:
        models: Models to serve.
        limits: Limits of all requests.
        token: Token that every request must have; None for a server that only this machine
            reaches.
    """
    monitoring = Monitoring()
    inference = Inference(limits, monitoring)
    application = FastAPI(
        title="medusis_tf",
        version=version("medusis_tf"),
        description="Synthetic MR for label maps: the REST API of TensorFlow Serving, and volumes.",
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        lifespan=_lifespan,
    )
    state = application.state
    state.models, state.limits, state.monitoring = models, limits, monitoring
    state.inference = inference
    state.jobs = Jobs(inference, limits, monitoring)
    state.needs_token = token is not None
    state.stopping, state.parsing = asyncio.Event(), asyncio.Lock()
    for each in (router, prediction.router, volumes.router):
        application.include_router(each)
    application.mount("/page", StaticFiles(directory=PAGE), name="page")
    for kind in (Refusal, RequestValidationError, HTTPException, Exception):
        application.add_exception_handler(kind, _answer_error)
    application.add_middleware(Guard, limits=limits, monitoring=monitoring, token=token)
    return application


@asynccontextmanager
async def _lifespan(application: FastAPI) -> AsyncIterator[None]:
    yield
    state = application.state
    state.stopping.set()
    state.jobs.stop()
    state.inference.stop()
    # A job that runs stops after its slice: then nothing writes into the folder any more.
    await asyncio.to_thread(state.inference.wait, state.limits.stop_seconds)
    state.jobs.close()


@router.get("/", include_in_schema=False)
async def page() -> FileResponse:
    """The page for people."""
    return FileResponse(PAGE / "index.html", media_type="text/html")


@router.get("/healthz", summary="Whether the server answers", tags=["Operation"])
async def healthz(request: Request) -> dict[str, Any]:
    """`ok` while the server accepts requests."""
    if request.app.state.stopping.is_set():
        raise Refusal(503, "the server is stopping.")
    return {"status": "ok"}


@router.get("/metrics", summary="Metrics for Prometheus", tags=["Operation"])
@router.get("/monitoring/prometheus/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """All metrics, in the text format of Prometheus."""
    return Response(request.app.state.monitoring.text(), media_type=CONTENT_TYPE)


@router.get("/api/models", summary="Models and limits", tags=["Volumes"])
async def models(request: Request) -> dict[str, Any]:
    """All models with their classes, and the limits of the server."""
    state = request.app.state
    shown = ("body_bytes", "voxels", "samples", "seconds")
    return {
        "models": [model.description() for model in state.models],
        "limits": {name: getattr(state.limits, name) for name in shown},
    }


async def _answer_error(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, Refusal):
        status, message = error.status, error.message
    elif isinstance(error, RequestValidationError):
        status, message = 400, _first_problem(error)
    elif isinstance(error, HTTPException):
        status, message = error.status_code, str(error.detail)
    else:
        logger.error("a request failed", exc_info=error)
        status, message = 500, "the server failed; its log says more."
    headers = {"retry-after": "5"} if status == 503 else None
    return JSONResponse({"error": message}, status, headers=headers)


def _first_problem(error: RequestValidationError) -> str:
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"][1:])
    return f"{place}: {problem['msg']}"
