"""A network as an ONNX file, by torch's own exporter, and what the file computes."""

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from smoothmix.utils.errors import UserError
from smoothmix.utils.files import replacing

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-4  # of the logits, relative to the largest one


def check_packages() -> None:
    """Raise UserError unless what the export needs is installed."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise UserError(f"ONNX files need {' and '.join(missing)}; run `pip install {' '.join(missing)}`")


def write_onnx(model: nn.Module, images: Tensor, path: Path) -> float:
    """Write `model` to `path`, for any number of images, and return how far the file's logits are from its own.

    Args:
        model: in evaluation mode, on the CPU.
        images: float32 (N, 3, S, S), N at least 2, normalised, to compare the logits on.
        path: of the file; its input is called "images", its output "logits".

    Raises:
        UserError: a package is missing, torch cannot export this network, the file computes something else, or the file
            system refuses.
    """
    check_packages()
    import onnxruntime

    try:
        program = torch.onnx.export(
            model,
            (images[:2],),
            dynamo=True,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
    except Exception as error:  # whatever the exporter trips over in a network
        line = " ".join(str(error).split())[:200]
        raise UserError(f"torch cannot export this network as ONNX ({line}); leave out onnx=true") from error
    assert program is not None
    content = program.model_proto.SerializeToString()
    found = onnxruntime.InferenceSession(content).run(None, {"images": images.numpy()})[0]
    with torch.no_grad():
        expected = model(images)
    difference = float((torch.from_numpy(found) - expected).abs().max())
    if not difference <= TOLERANCE * float(expected.abs().max()):
        raise UserError(f"the ONNX file's logits differ by {difference:.2g}, so it is not kept; leave out onnx=true")
    with replacing(path, "wb") as file:
        file.write(content)
    return difference
