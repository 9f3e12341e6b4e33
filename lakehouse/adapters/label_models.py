"""The registry of the models that tell genre and mood: JSON documents in the object store.

    s3://lake/models/<target>/<id>.json       a model; its name is the SHA-256 of all it was made from
    s3://lake/models/<target>/in_use.json     {"model": "<id>"} or {"model": null}: which one predicts

Nothing is ever changed but `in_use.json`: a model that was used can be used again.
"""

from __future__ import annotations

import json
from typing import Protocol

from lakehouse.adapters.objects import LAKE
from lakehouse.domain.audio.classifier import Model, from_json
from lakehouse.errors import FatalError, RejectedInputError

_IN_USE = "in_use"


class Documents(Protocol):
    """What the registry needs of `Objects`."""

    def names(self, bucket: str, prefix: str = "") -> set[str]:
        """Names of all objects in a bucket below `prefix`."""

    def read(self, bucket: str, name: str) -> bytes:
        """The whole object."""

    def write(self, bucket: str, name: str, data: bytes) -> None:
        """Put `data` under `name`."""


class Models:
    """The models of one target, `genre` or `mood`."""

    def __init__(self, documents: Documents, target: str) -> None:
        self._documents = documents
        self._target = target

    def ids(self) -> list[str]:
        """Ids of all models, sorted."""
        folder = self._name("").removesuffix(".json")
        names = self._documents.names(LAKE, folder)
        return sorted({name.removeprefix(folder).removesuffix(".json") for name in names} - {_IN_USE})

    def put(self, model: Model) -> bool:
        """Keep a model; False when it was there already."""
        if model.id in self.ids():
            return False
        self._documents.write(LAKE, self._name(model.id), model.to_json())
        return True

    def get(self, model_id: str) -> Model:
        """The model with this id.

        Raises:
            FatalError: its document is damaged, or of a method that this version does not compute.
        """
        name = self._name(model_id)
        try:
            model = from_json(self._documents.read(LAKE, name))
            if (model.id, model.target) != (model_id, self._target):
                raise ValueError(f"it calls itself {model.target} {model.id}")
        except ValueError as error:
            raise FatalError(
                f"s3://{LAKE}/{name} cannot be used: {error}.",
                hint=f"Train again, or go without: `wavehouse features use none --target {self._target}`.",
            ) from error
        return model

    def all(self) -> list[tuple[str, Model | FatalError]]:
        """Every model by its id, or why it can't be used."""
        found: list[tuple[str, Model | FatalError]] = []
        for model_id in self.ids():
            try:
                found.append((model_id, self.get(model_id)))
            except FatalError as error:
                found.append((model_id, error))
        return found

    def find(self, beginning: str) -> str:
        """The id that begins with `beginning`.

        Raises:
            RejectedInputError: `unknown_model`: none does, or several do.
        """
        found = [model_id for model_id in self.ids() if model_id.startswith(beginning)]
        if len(found) != 1:
            raise RejectedInputError(
                f"{len(found) or 'No'} {self._target} models begin with '{beginning}'.",
                reason="unknown_model",
                value=beginning,
                hint="`wavehouse features models` lists them.",
            )
        return found[0]

    def in_use(self) -> str | None:
        """Id of the model that predicts; None: no model does, the tag is used.

        Raises:
            FatalError: the document that names it is damaged.
        """
        name = self._name(_IN_USE)
        if name not in self._documents.names(LAKE, name):
            return None
        try:
            model_id = json.loads(self._documents.read(LAKE, name))["model"]
            if not (model_id is None or isinstance(model_id, str)):
                raise ValueError("its model is no text")
        except (ValueError, KeyError, TypeError) as error:
            raise FatalError(
                f"s3://{LAKE}/{name} cannot be read: {error}.",
                hint=f"Name a model again: `wavehouse features use MODEL --target {self._target}`.",
            ) from error
        return model_id

    def use(self, model_id: str | None) -> None:
        """Let this model predict from now on; None: no model."""
        self._documents.write(LAKE, self._name(_IN_USE), json.dumps({"model": model_id}).encode())

    def _name(self, name: str) -> str:
        return f"models/{self._target}/{name}.json"
