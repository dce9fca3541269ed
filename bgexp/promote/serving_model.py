"""A promoted model as MLflow serves it: a photograph's file in, a PNG out.

MLflow copies this file beside the model and runs it where the model is served; all else it needs
is `bgexp.promote.serving.open_service` of the bgexp that is installed there, and so that name
stays. What comes out is what `bgexp batch` writes for the same file.
"""

import logging
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from bgexp.promote.serving import open_service

_log = logging.getLogger(__name__)


class BackgroundRemoval(PythonModel):
    """Takes a list of image files and returns a PNG for each; all of them base64."""

    def load_context(self, context: Any) -> None:  # noqa: ANN401
        """Load settings and weights, verified."""
        self.remove_backgrounds = open_service(Path(context.artifacts["bundle"]))

    def predict(self, context: Any, model_input: list[str], params: Any = None) -> list[str]:  # noqa: ANN401, ARG002
        """Remove the background of each image; files and PNGs are base64."""
        try:
            return self.remove_backgrounds(model_input)
        except ValueError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error
        except Exception as error:  # MLflow would answer with the traceback
            _log.exception("a request could not be answered")
            raise MlflowException(f"the server failed: {type(error).__name__}") from error


set_model(BackgroundRemoval())
