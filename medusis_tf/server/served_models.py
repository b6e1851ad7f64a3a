"""The models of a server, by name."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from medusis_tf.errors import UserError
from medusis_tf.server.settings import Refusal
from medusis_tf.serving.predictor import Endpoint, Predictor


class ServedModel(Predictor):
    """An exported model with the name and version of its folder.

    Args:
        model_dir: `saved_models/NAME`, for its newest version, or `saved_models/NAME/VERSION`.

    Attributes:
        name: Name in the addresses of the server.
        version: Version as text.
    """

    def __init__(self, model_dir: Path):
        super().__init__(model_dir)
        self.name = self.metadata.name
        folder = self.folder.resolve().name
        self.version = folder if folder.isdecimal() else "1"

    @property
    def endpoints(self) -> Mapping[str, Endpoint]:
        """Endpoints by name."""
        return self._endpoints

    @functools.cached_property
    def signatures(self) -> dict[str, Any]:
        """All signatures of the file, as TensorFlow Serving reports them."""
        from google.protobuf.json_format import MessageToDict
        from tensorflow.core.protobuf import saved_model_pb2

        content = (self.folder / "saved_model.pb").read_bytes()
        graph = saved_model_pb2.SavedModel.FromString(content).meta_graphs[0]
        return {
            name: MessageToDict(
                signature,
                preserving_proto_field_name=True,
                always_print_fields_with_no_presence=True,
            )
            for name, signature in graph.signature_def.items()
        }

    def description(self) -> dict[str, Any]:
        """What the page shows of a model."""
        metadata = self.metadata
        return {
            "name": self.name,
            "version": self.version,
            "step": metadata.step,
            "has_noise": metadata.has_noise,
            "axis": metadata.axis,
            "image_size": metadata.image_size,
            "spacing_mm": metadata.spacing_mm,
            "label_sources": sorted(metadata.label_sources),
            "classes": [
                {"id": entry.id, "name": entry.name, "colour": entry.colour}
                for entry in metadata.classes
            ],
        }


class ServedModels:
    """All models of a server.

    Args:
        folders: Folders of exported models; the first one is the default of the page.

    Raises:
        UserError: A model cannot be loaded, or two have the same name.
    """

    def __init__(self, folders: Iterable[Path]):
        self._models: dict[str, ServedModel] = {}
        for folder in folders:
            model = ServedModel(folder)
            if model.name in self._models:
                raise UserError(
                    f"{folder} and {self._models[model.name].folder} are both named {model.name}. "
                    "Give one of them."
                )
            self._models[model.name] = model
        if not self._models:
            raise UserError("give a model with --model saved_models/NAME.")

    def __iter__(self):
        return iter(self._models.values())

    def find(self, name: str | None, version: str | None = None) -> ServedModel:
        """Return a model; None is the first one.

        Raises:
            Refusal: There is no model of this name or version.
        """
        if name is None:
            return next(iter(self._models.values()))
        model = self._models.get(name)
        if model is None:
            known = ", ".join(self._models)
            raise Refusal(
                404, f"Servable not found for request: Latest({name[:100]}). Models: {known}"
            )
        if version is not None and version != model.version:
            raise Refusal(
                404,
                f"Servable not found for request: Specific({name}, {version[:20]}). "
                f"Version: {model.version}",
            )
        return model
