import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from datasets import digits
from tests.batches import epoch_of


@pytest.fixture(scope="module")
def data():
    return digits()


def test_attributes(data):
    assert data.sizes == {"train": 1437, "test": 360}
    assert data.num_classes == 10
    assert data.class_names == list("0123456789")
    assert data.image_size == 32
    assert digits().fingerprint == data.fingerprint


def test_the_split_is_stratified_and_holds_every_digit_once(data):
    source = load_digits()
    share = data.arrays("test")[1].bincount() / torch.tensor(source.target).bincount()
    assert share.sub(360 / 1797).abs().max() < 0.01
    images, labels = (torch.cat([data.arrays(split)[part] for split in ("train", "test")]) for part in (0, 1))
    wanted = torch.from_numpy(_upsampled(source.images))
    nearest = torch.cdist(images[..., 0].flatten(1).double(), wanted.flatten(1)).argmin(1)
    assert nearest.sort().values.tolist() == list(range(1797))
    assert labels.tolist() == source.target[nearest].tolist()


def _upsampled(images: np.ndarray) -> np.ndarray:
    scaled = [Image.fromarray((image * 255 / 16).astype(np.float32)) for image in images]
    return np.stack([np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR)) for image in scaled]).astype(float)


def test_images_are_the_digits_scaled_and_upsampled(data):
    images, _ = data.arrays("train")
    assert images.dtype == torch.uint8
    assert images.max() == 255
    assert images.min() == 0
    assert torch.equal(images[..., 0], images[..., 1])
    assert torch.equal(images[..., 0], images[..., 2])
    wanted = _upsampled(load_digits().images)
    for image in images[:5, :, :, 0].numpy():
        assert np.abs(wanted - image).max(axis=(1, 2)).min() <= 0.51


def test_normalised_training_images_have_mean_0_and_std_1(data):
    images = torch.cat([batch for batch, _ in data.eval_batches("train", 500)])
    assert images.mean().item() == pytest.approx(0, abs=1e-3)
    assert images.std().item() == pytest.approx(1, abs=1e-3)


def test_training_images_are_shifted_but_never_mirrored(data):
    raw, _ = data.arrays("train")
    batches = data.train_batches(200, seed=0)
    images, _ = next(epoch_of(batches, 0))
    from datasets.sampling import epoch_order

    index = epoch_order(1437, 0, 0)[:200]
    black = images.amin()
    for image, i in zip(images[:, 0], index, strict=True):
        pixels = (image - black) / (1 / 255 / data.std[0])
        padded = torch.nn.functional.pad(raw[i, :, :, 0].float(), (4, 4, 4, 4))
        windows = padded.unfold(0, 32, 1).unfold(1, 32, 1)
        assert (windows - pixels).abs().amax((2, 3)).min() < 0.01
