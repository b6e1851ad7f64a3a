"""Serve exported models over HTTP, with a page for people: `medusis serve`."""

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from medusis_tf.config.limits import LARGEST_COUNT
from medusis_tf.errors import UserError

logger = logging.getLogger(__name__)


def serve(
    model: Annotated[
        list[Path],
        typer.Option(help="Exported model, saved_models/NAME or a version; may be repeated."),
    ],
    host: Annotated[
        str, typer.Option(help="Address to listen on. Other machines reach all but 127.0.0.1.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for a free one.")] = 8501,
    token_file: Annotated[
        Path | None,
        typer.Option(help="File with the token that clients send; needed for other machines."),
    ] = None,
    max_mb: Annotated[
        int, typer.Option(min=1, max=10**6, help="Largest body of a request, in MB.")
    ] = 64,
    max_megavoxels: Annotated[
        int, typer.Option(min=1, max=10**6, help="Largest label map, in millions of voxels.")
    ] = 64,
    max_queue: Annotated[
        int,
        typer.Option(min=1, max=LARGEST_COUNT, help="Most requests that wait or run at a time."),
    ] = 128,
    max_seconds: Annotated[
        int, typer.Option(min=1, max=10**6, help="Longest time of a request, waiting included.")
    ] = 1800,
) -> None:
    """Serve exported models with the REST API of TensorFlow Serving, and a page to try them.

    Open the address that is printed in a browser: drop a label map, and see the synthetic MR. The
    page needs no connection to the internet. Volumes for programs: POST /synthesize. Ctrl-C or
    SIGTERM stops the server after the running requests.
    """
    needed = ("fastapi", "uvicorn", "prometheus_client", "orjson")
    if missing := [name for name in needed if find_spec(name) is None]:
        raise UserError(
            f"medusis serve needs {', '.join(missing)}. Install: pip install 'medusis_tf[serve]'"
        )
    from medusis_tf.server.process import check_address, read_token, run_server
    from medusis_tf.server.settings import ServerLimits

    token = read_token(token_file, host)
    check_address(host, port)
    from medusis_tf.server.application import create_application
    from medusis_tf.server.served_models import ServedModels

    limits = ServerLimits(
        body_bytes=max_mb * 2**20,
        all_bytes=max(512, 2 * max_mb) * 2**20,
        voxels=max_megavoxels * 10**6,
        queue=max_queue,
        seconds=float(max_seconds),
    )
    models = ServedModels(model)
    for served in models:
        logger.info("%s, version %s, from %s", served.metadata.title, served.version, served.folder)
    run_server(create_application(models, limits, token), host, port, limits)
