"""Pictures: what a network sees of one, and a batch as one, images side by side with a caption below each."""

import io
from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw
from PIL.Image import Resampling
from torch import Tensor

from smoothmix.utils.errors import UserError

CELL = 128  # pixels, side of the largest image
LINE = 12  # pixels, height of a line of a caption
MARGIN = 4  # pixels
# What files may hold, whatever they are called. Pillow would try all it knows, and hand PostScript to Ghostscript.
FORMATS = ("JPEG", "PNG", "PPM", "BMP", "GIF", "TIFF", "WEBP")
STRIP = 256  # of the longer to the shorter side of an image, at most


def to_rgb(image: Image.Image) -> Image.Image:
    """Return an image of any mode as RGB, loaded: grey is repeated, a palette looked up, alpha dropped.

    Raises:
        UserError: it has more than 8 bits per channel.
    """
    if image.mode[0] in "IF":  # convert would cut off what is above 255, and not scale it
        raise UserError(f"it has more than 8 bits per channel, in mode {image.mode}; save it with 8")
    image.load()
    return image if image.mode == "RGB" else image.convert("RGB")  # convert() always copies


def center_crop(image: Image.Image, size: int, resize: int) -> Image.Image:
    """Resize the shorter side to `resize` (bilinear, antialiased) and cut out the central square of side `size`.

    Raises:
        UserError: the image is a strip, which would become huge.
    """
    short = min(image.size)
    if max(image.size) > STRIP * short:
        raise UserError(f"it has {image.width}x{image.height} pixels, more than {STRIP}:1")
    width, height = (int(resize * side / short) for side in image.size)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.resize((width, height), Resampling.BILINEAR).crop((left, top, left + size, top + size))


def grid(rows: Sequence[Tensor], captions: Sequence[str] = ()) -> bytes:
    """Return a PNG of `rows` of images, one below the other.

    Args:
        rows: of images (N, 3, H, W), float in [0, 1].
        captions: below the last row, a text of some lines for each image.
    """
    pictures = [[_sized(image) for image in row] for row in rows]
    width, height = pictures[0][0].width + MARGIN, pictures[0][0].height + MARGIN
    lines = max((caption.count("\n") + 1 for caption in captions), default=0)
    sheet = Image.new("RGB", (len(rows[0]) * width + MARGIN, len(rows) * height + MARGIN + lines * LINE), "white")
    for down, row in enumerate(pictures):
        for across, picture in enumerate(row):
            sheet.paste(picture, (MARGIN + across * width, MARGIN + down * height))
    draw = ImageDraw.Draw(sheet)
    for across, caption in enumerate(captions):
        draw.multiline_text((MARGIN + across * width, MARGIN + len(rows) * height - 2), caption, "black", spacing=0)
    file = io.BytesIO()
    sheet.save(file, "PNG", optimize=True)
    return file.getvalue()


def describe(targets: Tensor, names: Sequence[str], most: int = 3) -> list[str]:
    """Return a caption per image: its largest label weights in %, one per line, of those above half a percent.

    Args:
        targets: (N, K), label weights.
        names: of the K classes.
        most: how many at most.
    """
    weights, classes = (part.tolist() for part in targets.float().topk(min(most, targets.shape[1])))
    return [
        "\n".join(f"{100 * part:.0f} % {names[number][:14]}" for part, number in zip(*of, strict=True) if part > 0.005)
        for of in zip(weights, classes, strict=True)
    ]


def _sized(image: Tensor) -> Image.Image:
    pixels = (image.detach().float().cpu().clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous()
    picture = Image.fromarray(pixels.numpy())
    side = max(picture.size)
    if side > CELL:
        return picture.resize((picture.width * CELL // side, picture.height * CELL // side), Image.Resampling.BOX)
    scale = CELL // side
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)
