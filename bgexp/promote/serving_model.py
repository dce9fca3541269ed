"""A promoted model as MLflow serves it: a photograph's file in, a PNG out.

MLflow copies this file beside the model and runs it where the model is served; all else it needs
is bgexp as it is installed there. What comes out is what `bgexp batch` writes for the same file.
"""

import base64
import binascii
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from bgexp.images.decode import ImageError
from bgexp.promote.serving import open_remover
from bgexp.tracking.bundle import load_bundle


class BackgroundRemoval(PythonModel):
    """Takes a list of image files and returns a PNG for each; all of them base64."""

    def load_context(self, context: Any) -> None:  # noqa: ANN401
        """Load settings and weights, verified."""
        self.remove: Callable[[bytes], bytes] = open_remover(
            load_bundle(Path(context.artifacts["bundle"]))
        )

    def predict(self, context: Any, model_input: list[str], params: Any = None) -> list[str]:  # noqa: ANN401, ARG002
        """Remove the background of each image; files and PNGs are base64."""
        pngs = []
        for number, text in enumerate(model_input):
            try:
                data = base64.b64decode(text, validate=True)
                pngs.append(base64.b64encode(self.remove(data)).decode())
            except (ImageError, binascii.Error) as error:
                raise MlflowException.invalid_parameter_value(f"image {number}: {error}") from error
        return pngs


set_model(BackgroundRemoval())
