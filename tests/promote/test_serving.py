"""What a served model answers to what is no image: one reason, no traceback."""

import base64
import warnings

import pytest
from mlflow.exceptions import MlflowException

from bgexp.images.decode import ImageError
from bgexp.promote import serving


@pytest.fixture
def model(monkeypatch):
    def remove(data):
        if data == b"image":
            raise ImageError("not an image")
        if data == b"broken":
            raise RuntimeError("/home/me/secret.py failed")
        return data

    monkeypatch.setattr(serving, "load_bundle", lambda _: None)
    monkeypatch.setattr(serving, "open_remover", lambda _: remove)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's, of its own signature
        from bgexp.promote.serving_model import BackgroundRemoval
    model = BackgroundRemoval()
    model.remove_backgrounds = serving.open_service(None)
    return model


def encode(data):
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("text", "code", "reason"),
    [
        ("\xe9\xe9", "INVALID_PARAMETER_VALUE", "image 1: no base64: "),
        ("a", "INVALID_PARAMETER_VALUE", "image 1: no base64: "),
        ("\ud800", "INVALID_PARAMETER_VALUE", "image 1: no base64: "),
        (None, "INVALID_PARAMETER_VALUE", "image 1: no base64: "),
        ("/etc/passwd", "INVALID_PARAMETER_VALUE", "image 1: no base64: "),
        ("file:///etc/passwd", "INVALID_PARAMETER_VALUE", "image 1: no base64: "),
        ("http://a.b/cde.jpeg", "INVALID_PARAMETER_VALUE", "image 1: no base64: "),
        ("data:image/png;base64,AAAA", "INVALID_PARAMETER_VALUE", "image 1: no base64: "),
        (encode(b"image"), "INVALID_PARAMETER_VALUE", "image 1: not an image"),
        (encode(b"broken"), "INTERNAL_ERROR", "the server failed: RuntimeError"),
    ],
)
def test_what_is_no_image_is_answered_with_one_reason(model, text, code, reason):
    with pytest.raises(MlflowException) as caught:
        model.predict.__wrapped__(model, None, [encode(b"good"), text])
    assert caught.value.error_code == code
    assert caught.value.message.startswith(reason)
    assert "\n" not in caught.value.message
    assert "stack_trace" not in caught.value.serialize_as_json()


def test_images_are_answered_in_their_order(model):
    files = [encode(b"a"), encode(b"b")]
    assert model.predict.__wrapped__(model, None, files) == files
